//! What the tests share: servers, clients, and what the documents say, written down a second time.

pub(crate) mod client;
pub(crate) mod contract;
pub(crate) mod frames;
pub(crate) mod http1;
pub(crate) mod model;
pub(crate) mod program;
pub(crate) mod random;
pub(crate) mod refusal;
pub(crate) mod server;

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long anything may take that a test waits for; far more than it needs on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// Records that the calling test did not run, and why: `npm test` reads the file that `HS_SKIPS` names.
pub(crate) fn skip(reason: &str) {
    let thread = std::thread::current();
    let line = format!("{}\t{reason}\n", thread.name().unwrap_or("?"));
    eprint!("skipped: {line}");
    let Some(list) = std::env::var_os("HS_SKIPS") else { return };
    let mut file = OpenOptions::new().create(true).append(true).open(list).expect("npm test made the folder");
    file.write_all(line.as_bytes()).expect("the list of skipped tests takes a line");
}

/// Waits until something is so, looking again and again.
pub(crate) async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let start = Instant::now();
    while !is_so().await {
        assert!(start.elapsed() < PATIENCE, "waited {PATIENCE:?} in vain until {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Paths of everything below a folder, relative to it, in order; folders end in `/`.
pub(crate) fn everything_below(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_path_buf()];
    while let Some(next) = open.pop() {
        for entry in std::fs::read_dir(&next).unwrap() {
            let path = entry.unwrap().path();
            let shown = path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned();
            if path.is_dir() {
                found.push(shown + "/");
                open.push(path);
            } else {
                found.push(shown);
            }
        }
    }
    found.sort();
    found
}

/// Bytes of all files below a folder, without those below `except`.
pub(crate) fn bytes_below(folder: &Path, except: &str) -> u64 {
    let files = everything_below(folder).into_iter().filter(|path| !path.ends_with('/') && !path.starts_with(except));
    files.map(|path| std::fs::metadata(folder.join(path)).map_or(0, |m| m.len())).sum()
}
