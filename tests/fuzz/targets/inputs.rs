//! Files that people hand in: vectors to import, and settings.

use std::io::Write as _;
use std::path::Path;

use hyperspace_core::types::PointId;
use hyperspace_server::cli::fuzzing::{Rows, import_state};
use hyperspace_server::settings::{Chosen, Invocation, Refused, read};
use tempfile::NamedTempFile;

use super::accepted;
use super::allocation::bounded;

pub(super) fn npy(bytes: &[u8]) -> bool {
    import(bytes, ".npy")
}

pub(super) fn fvecs(bytes: &[u8]) -> bool {
    import(bytes, ".fvecs")
}

/// A line is read into a tree where it has metadata.
pub(super) fn jsonl(bytes: &[u8]) -> bool {
    import(bytes, ".jsonl")
}

type Point = (Option<PointId>, Vec<u64>, String);

/// Files of vectors: read to the end there are as many rows as are said to be, all bytes were read, and a reader that
/// skipped some rows goes on with the next one.
fn import(bytes: &[u8], ending: &str) -> bool {
    let file = file(bytes, ending);
    let tree = if ending == ".jsonl" { 128 } else { 16 };
    // A reader has a buffer of a megabyte, and the parser of headers takes up to two for the longest one.
    let allowed = tree * bytes.len() + (3 << 20);
    let Some(mut rows) = bounded(allowed, || accepted(Rows::open(file.path()))) else { return false };
    assert!(rows.dimension() > 0 || ending == ".jsonl");
    let Some(all) = accepted(rest(&mut rows)) else { return true };
    assert!(ending == ".jsonl" || all.iter().all(|(_, vector, _)| vector.len() == rows.dimension()));
    assert!(rows.total().is_none_or(|total| total == all.len() as u64));
    assert_eq!(rows.position(), bytes.len() as u64);
    let skipped = all.len() / 2;
    let mut behind = Rows::open(file.path()).expect("it was opened before");
    behind.skip(skipped as u64).expect("so many rows are there");
    assert_eq!(rest(&mut behind).expect("they were read before"), all[skipped..]);
    true
}

/// How far an import came: what is understood is written as the same.
pub(super) fn state(bytes: &[u8]) -> bool {
    let Some(written) = bounded(16 * bytes.len() + (4 << 10), || import_state(bytes)) else { return false };
    assert_eq!(import_state(&written).as_ref(), Some(&written));
    true
}

fn rest(rows: &mut Rows) -> hyperspace_core::error::Result<Vec<Point>> {
    let mut all = Vec::new();
    while let Some((id, vector, metadata)) = rows.read()? {
        all.push((id.cloned(), vector.iter().map(|x| x.to_bits()).collect(), metadata.to_owned()));
    }
    Ok(all)
}

fn file(bytes: &[u8], ending: &str) -> NamedTempFile {
    let mut file = tempfile::Builder::new().suffix(ending).tempfile().expect("there is a place for small files");
    file.write_all(bytes).expect("there is room for small files");
    file
}

/// Settings in TOML: those that are taken are printed as a file of the same settings.
pub(super) fn settings(bytes: &[u8]) -> bool {
    let Some(chosen) = chosen(file(bytes, ".toml").path()) else { return false };
    let printed = chosen.to_toml();
    let again = chosen_from(&printed).unwrap_or_else(|| panic!("{printed} is no file of settings"));
    assert_eq!(again.settings, chosen.settings);
    true
}

fn chosen_from(text: &str) -> Option<Chosen> {
    chosen(file(text.as_bytes(), ".toml").path())
}

fn chosen(path: &Path) -> Option<Chosen> {
    let words = ["hyperspace-server".into(), "--print-config".into(), "--config".into(), path.as_os_str().to_owned()];
    match read(words, []) {
        Ok(Invocation::PrintConfig(chosen)) => Some(chosen),
        Err(Refused::Settings(error)) => accepted(Err(error)),
        other => panic!("{other:?}"),
    }
}
