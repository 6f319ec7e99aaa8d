//! A file is short enough to read in one sitting: 100 to 400 lines is usual, 800 the most.

use std::path::Path;

use super::{assert_none, files_below, shown};
use crate::support::repository;

const MOST_LINES: usize = 800;

/// Files that are longer, each with the reason why it is one file all the same.
const LONGER: &[(&str, &str)] = &[];

/// Every file that is too long without a reason, and every reason that is not needed (any more).
fn complaints(lengths: &[(String, usize)], longer: &[(&str, &str)]) -> Vec<String> {
    let mut found = Vec::new();
    for (path, lines) in lengths {
        if *lines > MOST_LINES && !longer.iter().any(|(allowed, _)| allowed == path) {
            found.push(format!("{path} has {lines} lines, {MOST_LINES} are the most: split it"));
        }
    }
    for (path, reason) in longer {
        if reason.is_empty() || !lengths.iter().any(|(long, lines)| long == path && *lines > MOST_LINES) {
            found.push(format!("{path} is in the list of longer files without need or reason: take it out"));
        }
    }
    found
}

#[test]
fn no_file_is_longer_than_can_be_read_at_once() {
    let root = repository();
    let length = |path: &Path| std::fs::read_to_string(path).unwrap().lines().count();
    let files = files_below(root, &["rs", "ts", "tsx", "mjs", "js", "py"]);
    let lengths: Vec<_> = files.iter().map(|path| (shown(path, root), length(path))).collect();
    assert!(lengths.iter().any(|(path, _)| path == "tests/integration/main.rs"), "the walk missed this very crate");
    assert_none(&complaints(&lengths, LONGER));
}

#[test]
fn a_file_that_is_too_long_is_found() {
    let files = [("a.rs".to_string(), 800), ("b.ts".to_string(), 801)];
    assert_eq!(complaints(&files, &[]), ["b.ts has 801 lines, 800 are the most: split it"]);
    assert_none(&complaints(&files, &[("b.ts", "one table")]));
    assert_eq!(complaints(&files, &[("b.ts", "")]).len(), 1, "a reason is needed");
    assert_eq!(complaints(&files[..1], &[("a.rs", "it was long once")]).len(), 1, "an idle entry is found");
}
