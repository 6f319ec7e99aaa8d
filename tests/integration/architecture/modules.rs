//! Inside core a module imports only what stands before it, so that each can be read knowing the earlier ones.

use std::path::Path;

use super::source::{code_only, tokens};
use super::{assert_none, files_below, shown};
use crate::support::repository;

const ORDER: [&str; 17] = [
    "error",
    "sort",
    "map",
    "kernel",
    "metric",
    "quant",
    "hnsw",
    "metadata",
    "filter",
    "types",
    "bytes",
    "text",
    "log",
    "sync",
    "segment",
    "collection",
    "archive",
];

/// The modules up to this one are the crate of the inner loops, the others are core's own.
const LAST_INNER: &str = "filter";

/// What a host must lend: any module may speak of it, and it speaks of any.
const ANYWHERE: &str = "port";

/// Every import in `text`, the file at `path` (from the `src` of its crate, such as `hnsw/build.rs`), that reaches forward.
fn complaints(path: &str, text: &str) -> Vec<String> {
    let parts: Vec<&str> = path.trim_end_matches(".rs").split('/').filter(|part| *part != "mod").collect();
    let own = parts[0];
    if own == "lib" || own == ANYWHERE {
        return Vec::new();
    }
    let Some(place) = ORDER.iter().position(|module| *module == own) else {
        return vec![format!("{path}: module `{own}` has no place in the order: {}", ORDER.join(", "))];
    };
    let code = code_only(text);
    let mut found = Vec::new();
    for (line, module) in reached_from_root(&code, parts.len()) {
        let Some(at) = ORDER.iter().position(|other| *other == module) else {
            if module != ANYWHERE {
                found.push(format!(
                    "{path}:{line}: `crate::{module}` is no module of the order: name the module itself"
                ));
            }
            continue;
        };
        if at > place {
            found.push(format!("{path}:{line}: `{own}` reaches forward to `{module}`"));
        }
    }
    found
}

/// The first name after the crate's root in every path of `code`, with its line: after `crate::`, in the groups
/// behind it, and after as many `super::` as lead out of a file whose module is `depth` deep.
fn reached_from_root(code: &str, depth: usize) -> Vec<(usize, &str)> {
    let tokens = tokens(code);
    let token = |at: usize| tokens.get(at).map_or("", |(_, t)| *t);
    let mut found = Vec::new();
    let (mut braces, mut inner_modules) = (0_usize, Vec::new());
    let mut at = 0;
    while at < tokens.len() {
        match token(at) {
            "{" => {
                braces += 1;
                if at >= 2 && token(at - 2) == "mod" {
                    inner_modules.push(braces);
                }
            }
            "}" => {
                if inner_modules.last() == Some(&braces) {
                    inner_modules.pop();
                }
                braces = braces.saturating_sub(1);
            }
            "crate" if token(at + 1) == "::" => {
                names_after(&tokens, at + 2, &mut found);
            }
            "super" if at == 0 || token(at - 1) != "::" => {
                let mut climbed = 0;
                while token(at) == "super" && token(at + 1) == "::" {
                    climbed += 1;
                    at += 2;
                }
                if climbed >= depth + inner_modules.len() {
                    names_after(&tokens, at, &mut found);
                }
                if climbed > 0 {
                    continue;
                }
            }
            _ => {}
        }
        at += 1;
    }
    found
}

/// The name at `at`, or the first names of a `{ a, b::c, d::{e, f} }` group there.
fn names_after<'a>(tokens: &[(usize, &'a str)], at: usize, found: &mut Vec<(usize, &'a str)>) {
    if tokens.get(at).is_none_or(|(_, token)| *token != "{") {
        found.extend(tokens.get(at).copied());
        return;
    }
    let (mut depth, mut expects_name) = (0, false);
    for &(line, token) in &tokens[at..] {
        match token {
            "{" => (depth, expects_name) = (depth + 1, depth == 0),
            "}" => depth -= 1,
            "," => expects_name = depth == 1,
            name => {
                if expects_name && depth == 1 {
                    found.push((line, name));
                }
                expects_name = false;
            }
        }
        if depth == 0 {
            return;
        }
    }
}

#[test]
fn modules_of_core_import_only_what_stands_before_them() {
    let last_inner = ORDER.iter().position(|module| *module == LAST_INNER).unwrap();
    for (folder, is_inner) in [("core/src", false), ("core/inner/src", true)] {
        let root = repository().join(folder);
        let files = files_below(&root, &["rs"]);
        assert!(files.len() >= 3, "saw only {files:?}");
        let of = |path: &Path| complaints(&shown(path, &root), &std::fs::read_to_string(path).unwrap());
        assert_none(&files.iter().flat_map(|path| of(path)).collect::<Vec<_>>());
        for (at, module) in ORDER.iter().enumerate() {
            let is_there = root.join(module).is_dir() || root.join(format!("{module}.rs")).is_file();
            assert!(!is_there || is_inner == (at <= last_inner), "{folder} is not the place of `{module}`");
        }
    }
}

#[test]
fn an_import_that_reaches_forward_is_found() {
    let forward = [
        ("types.rs", "use crate::segment::Segment;"),
        ("hnsw/build.rs", "fn f() { crate::filter::go() }"),
        ("hnsw/mod.rs", "use crate::{error::Error, kernel, log::{Record, hlc}};"),
        ("hnsw/build.rs", "use super::super::collection::Collection;"),
        ("hnsw/mod.rs", "use super::segment;"),
        ("hnsw.rs", "mod inner { use super::super::segment; }"),
        ("error.rs", "macro_rules! m { () => { $crate::types::X } }"),
        ("metric/mod.rs", "#[cfg(test)] mod tests { use crate::hnsw::Graph; }"),
        ("metric/mod.rs", "use crate::Error;"),
        ("metric/mod.rs", "use crate::*;"),
        ("helpers.rs", ""),
    ];
    for (path, text) in forward {
        assert_eq!(complaints(path, text).len(), 1, "{path}: {text}");
    }
}

#[test]
fn an_import_of_what_stands_before_is_fine() {
    let backward = [
        ("hnsw/build.rs", "use crate::{error::{Error, Result}, kernel, metric::VectorSpace};\nuse super::Graph;"),
        ("hnsw/build.rs", "use crate::hnsw::graph; use crate::port::Entropy; // crate::sync comes later"),
        ("hnsw/mod.rs", "mod tests { use super::*; fn segment() {} }"),
        ("hnsw/mod.rs", "pub(crate) mod build; const HELP: &str = \"crate::sync\"; /// [`crate::sync`]\nfn f() {}"),
        ("port.rs", "use crate::types::Tenant;"),
        ("lib.rs", "pub mod sync; pub use crate::collection::Collection;"),
    ];
    for (path, text) in backward {
        assert_none(&complaints(path, text));
    }
}
