//! Which crate may depend on which: the picture in ARCHITECTURE.md, read against `cargo metadata`.

use serde_json::{Value, json};

use super::assert_none;
use crate::support::repository;

/// Each crate of the workspace and the crates of the workspace that it may use.
const EDGES: [(&str, &[&str]); 7] = [
    ("hyperspace-inner", &[]),
    ("hyperspace-core", &["hyperspace-inner"]),
    ("hyperspace-wasm", &["hyperspace-core"]),
    ("hyperspace-module", &["hyperspace-wasm"]),
    ("hyperspace-server", &["hyperspace-core"]),
    ("hyperspace-bench", &["hyperspace-core"]),
    ("hyperspace-tests", &["hyperspace-core", "hyperspace-wasm", "hyperspace-server"]),
];

/// What core and its inner loops may use from outside: crates that build without std; and `crc32c`, which comes with core's feature `std` only,
/// because without std nobody can ask the machine for its checksum instruction.
const CORE_MAY_USE: [&str; 8] = ["blake3", "bytemuck", "crc32c", "fearless_simd", "hashbrown", "libm", "rkyv", "serde"];

/// Every edge of `metadata` (`cargo metadata --no-deps`) that the picture does not have.
fn complaints(metadata: &Value) -> Vec<String> {
    let packages = metadata["packages"].as_array().expect("cargo metadata lists packages");
    let mut found = Vec::new();
    for package in packages {
        let name = text(&package["name"]);
        let Some((_, may_use)) = EDGES.iter().find(|(of, _)| *of == name) else {
            found.push(format!("crate {name} is not in the picture: add it to ARCHITECTURE.md and to EDGES"));
            continue;
        };
        for dependency in package["dependencies"].as_array().expect("a package lists dependencies") {
            let used = text(&dependency["name"]);
            let is_ours = EDGES.iter().any(|(of, _)| *of == used) || dependency["path"].is_string();
            let is_for_tests = dependency["kind"] == "dev";
            if is_ours && !may_use.contains(&used) {
                found.push(format!("{name} depends on {used}, an edge that is not drawn"));
            } else if !is_ours
                && ["hyperspace-core", "hyperspace-inner"].contains(&name)
                && !is_for_tests
                && !CORE_MAY_USE.contains(&used)
            {
                found.push(format!("{name} depends on {used}, which is not one of {CORE_MAY_USE:?}"));
            }
        }
    }
    found
}

fn text(value: &Value) -> &str {
    value.as_str().expect("cargo metadata gives a name")
}

#[test]
fn crates_depend_only_along_the_drawn_edges() {
    let cargo = std::env::var_os("CARGO").expect("cargo runs the tests");
    let output = std::process::Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--offline", "--no-deps"])
        .current_dir(repository())
        .output()
        .unwrap();
    assert!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let names: Vec<&str> = metadata["packages"].as_array().unwrap().iter().map(|p| text(&p["name"])).collect();
    assert!(names.contains(&"hyperspace-core") && names.contains(&"hyperspace-tests"), "saw only {names:?}");
    assert_none(&complaints(&metadata));
}

#[test]
fn an_edge_that_is_not_drawn_is_found() {
    let package =
        |name: &str, dependencies: &[Value]| json!({ "packages": [{ "name": name, "dependencies": dependencies }] });
    let on = |name: &str, kind: Option<&str>, path: Option<&str>| json!({ "name": name, "kind": kind, "path": path });

    let allowed = [
        package("hyperspace-core", &[on("rkyv", None, None), on("anything", Some("dev"), None)]),
        package("hyperspace-server", &[on("hyperspace-core", None, Some("core")), on("anything", None, None)]),
        package("hyperspace-tests", &[on("hyperspace-server", Some("dev"), Some("native-server"))]),
    ];
    for metadata in &allowed {
        assert_none(&complaints(metadata));
    }
    let forbidden = [
        package("hyperspace-core", &[on("rand", None, None)]),
        package("hyperspace-inner", &[on("rand", None, None)]),
        package("hyperspace-inner", &[on("hyperspace-core", None, Some("core"))]),
        package("hyperspace-server", &[on("hyperspace-inner", None, Some("core/inner"))]),
        package("hyperspace-core", &[on("cc", Some("build"), None)]),
        package("hyperspace-core", &[on("hyperspace-tests", Some("dev"), Some("tests"))]),
        package("hyperspace-wasm", &[on("hyperspace-server", None, Some("native-server"))]),
        package("hyperspace-server", &[on("hyperspace-wasm", Some("dev"), Some("wasm"))]),
        package("hyperspace-server", &[on("unheard-of", None, Some("../elsewhere"))]),
        package("hyperspace-extra", &[]),
    ];
    for metadata in &forbidden {
        assert_eq!(complaints(metadata).len(), 1, "{metadata}");
    }
}
