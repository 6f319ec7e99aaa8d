//! A tenant is made in one place of each host, from what that host has verified: no request can name another one.

use super::source::{code_only, tokens, without_test_modules};
use super::{assert_none, files_below, shown};
use crate::support::repository;

/// How often the code of a crate, its tests aside, may call `Tenant::local` and `Tenant::verified`.
const MOST_CALLS: [(&str, usize, usize); 3] = [("core", 0, 0), ("wasm", 1, 0), ("native-server", 1, 1)];

/// Every constructor of `Tenant` that the files of one crate call more often than they may.
fn complaints(files: &[(String, String)], most_local: usize, most_verified: usize) -> Vec<String> {
    let mut found = Vec::new();
    for (constructor, most) in [("local", most_local), ("verified", most_verified)] {
        let mut calls = Vec::new();
        for (path, text) in files {
            let code = without_test_modules(&code_only(text));
            let tokens = tokens(&code);
            let is_call = |window: &&[(usize, &str)]| {
                window[0].1 == "Tenant" && window[1].1 == "::" && window[2].1 == constructor
            };
            calls.extend(tokens.windows(3).filter(is_call).map(|window| format!("{path}:{}", window[0].0)));
        }
        if calls.len() > most {
            found.push(format!(
                "Tenant::{constructor} is named {} times, {most} allowed: {}",
                calls.len(),
                calls.join(", ")
            ));
        }
    }
    found
}

/// Whether a file is a module of tests by its name: `tests.rs`, or anything in a folder `tests`.
fn is_for_tests(path: &str) -> bool {
    path.ends_with("/tests.rs") || path.ends_with("_tests.rs") || path.contains("/tests/")
}

#[test]
fn a_host_makes_tenants_in_one_place() {
    let root = repository();
    for (name, most_local, most_verified) in MOST_CALLS {
        let source = root.join(name).join("src");
        if !source.is_dir() {
            continue;
        }
        let files: Vec<_> = files_below(&source, &["rs"])
            .iter()
            .map(|path| (shown(path, root), std::fs::read_to_string(path).unwrap()))
            .filter(|(path, _)| !is_for_tests(path))
            .collect();
        assert_none(&complaints(&files, most_local, most_verified));
    }
}

#[test]
fn a_second_place_that_makes_tenants_is_found() {
    let file = |text: &str| ("wasm/src/lib.rs".to_string(), text.to_string());
    let once = file("fn a() { let t = Tenant::local(); }\n#[cfg(test)] mod tests { fn t() { Tenant::local(); } }");
    assert_none(&complaints(std::slice::from_ref(&once), 1, 0));
    assert_eq!(complaints(&[once.clone(), file("let f = types::Tenant::local;")], 1, 0).len(), 1);
    assert_eq!(complaints(&[once], 0, 0).len(), 1);
    assert_eq!(complaints(&[file("Tenant :: verified (name)?")], 1, 0).len(), 1);
    assert_none(&complaints(&[file("// Tenant::verified(name)")], 0, 0));
}
