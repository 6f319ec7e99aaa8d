//! The shape of the code, checked: which crate and which module may know which, how long a file may be, and where a
//! tenant is made. Every check is a function from text to complaints, so that a test can show that it can fail.

mod edges;
mod files;
mod modules;
mod source;
mod tenants;

use std::path::{Path, PathBuf};

/// Fails with every complaint, one a line.
fn assert_none(complaints: &[String]) {
    assert!(complaints.is_empty(), "\n  {}", complaints.join("\n  "));
}

/// Folders that hold what tools made or fetched.
const NOT_OURS: [&str; 7] = ["target", "node_modules", "dist", "pkg", "fixtures", "data", "test-results"];

/// All files below `folder` with one of the endings, in order of their names.
fn files_below(folder: &Path, endings: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_path_buf()];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display())) {
            let path = entry.unwrap().path();
            let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
            if path.is_symlink() || name.starts_with('.') {
                continue;
            }
            if path.is_dir() {
                if !NOT_OURS.contains(&name) {
                    open.push(path);
                }
            } else if path.extension().and_then(|e| e.to_str()).is_some_and(|e| endings.contains(&e)) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// The path as complaints name it: from the root of the repository, with `/`.
fn shown(path: &Path, root: &Path) -> String {
    path.strip_prefix(root)
        .unwrap_or(path)
        .components()
        .map(|c| c.as_os_str().to_string_lossy())
        .collect::<Vec<_>>()
        .join("/")
}
