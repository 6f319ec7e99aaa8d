//! The image of version 1 with one thing wrong in it, again and again: what a start makes of each, what is served, and
//! what a check says. `tests/fixtures/v1-corrupt/expected.json` lists them: a file and what was done to it, since a copy of
//! the whole image for each would say less.

use std::fs;
use std::path::PathBuf;

use hyperspace_core::error::ErrorKind;
use hyperspace_server::database::State;
use hyperspace_server::database::check::{FindingKind, check};
use serde::Deserialize;

use super::image::Image;
use crate::support::repository;

/// An image that is damaged, and what is expected of it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Corrupt {
    name: String,
    change: Change,
    opens: Opens,
    /// Collections, by tenant and name, that are refused.
    out_of_service: Vec<(String, String)>,
    /// Collections that are served, and lack their newest writes.
    lost: Vec<(String, String)>,
    check: Vec<(FindingKind, PathBuf, Option<u64>)>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Change {
    Flip { flip: PathBuf, at: usize, xor: u8 },
    Cut { cut: PathBuf, to: usize },
    Remove { remove: PathBuf },
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq)]
#[serde(rename_all = "snake_case")]
enum Opens {
    Ready,
    ReadOnly,
    Refused,
}

impl Change {
    fn make(&self, image: &Image) {
        let path = |file: &PathBuf| image.data().join(file);
        match self {
            Self::Flip { flip, at, xor } => {
                let mut bytes = fs::read(path(flip)).unwrap();
                bytes[*at] ^= xor;
                fs::write(path(flip), bytes).unwrap();
            }
            Self::Cut { cut, to } => {
                let bytes = fs::read(path(cut)).unwrap();
                fs::write(path(cut), &bytes[..*to]).unwrap();
            }
            Self::Remove { remove } => fs::remove_file(path(remove)).unwrap(),
        }
    }
}

fn images() -> Vec<Corrupt> {
    let text = fs::read_to_string(repository().join("tests/fixtures/v1-corrupt/expected.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn contents_of(image: &Image) -> Vec<(PathBuf, Vec<u8>)> {
    image.files().into_iter().map(|file| (file.clone(), fs::read(image.data().join(file)).unwrap())).collect()
}

#[test]
fn every_corrupt_image_is_judged_as_it_was_when_it_was_made() {
    let whole = Image::of_version(1);
    assert_eq!(check(&whole.data()).unwrap().findings, [], "the image itself is sound");
    for Corrupt { name, change, opens, out_of_service, lost, check: expected } in images() {
        let image = whole.copy();
        change.make(&image);
        let before = contents_of(&image);
        let report = check(&image.data()).unwrap();
        let found: Vec<_> = report.findings.iter().map(|f| (f.kind, f.file.clone(), f.offset)).collect();
        // What follows from the first finding may be told behind it.
        assert_eq!(found[..expected.len().min(found.len())], expected[..], "{name}:\n{report}");
        let damaged = expected.iter().any(|(kind, ..)| *kind == FindingKind::Damage);
        assert_eq!(report.is_sound(), !damaged, "{name}:\n{report}");
        assert!(contents_of(&image) == before, "{name}: a check changes nothing");

        let database = match image.open() {
            Ok(database) => database,
            Err(error) => {
                assert_eq!((opens, error.kind()), (Opens::Refused, ErrorKind::Corrupted), "{name}: {error}");
                continue;
            }
        };
        let state = if database.state() == State::Ready { Opens::Ready } else { Opens::ReadOnly };
        assert_eq!(state, opens, "{name}: {:?}", database.state());
        for contents in &image.expected().collections {
            let key = (contents.tenant.clone(), contents.name.clone());
            match database.collection(&contents.tenant(), &contents.name) {
                Err(error) => {
                    assert!(out_of_service.contains(&key), "{name}: {error}");
                    assert!(matches!(error.kind(), ErrorKind::Corrupted | ErrorKind::Unsupported), "{name}: {error}");
                }
                Ok(collection) => {
                    assert!(!out_of_service.contains(&key), "{name}: {key:?} is served");
                    let difference = contents.whole.difference(contents, &collection.snapshot());
                    assert_eq!(difference.is_some(), lost.contains(&key), "{name}: {key:?}: {difference:?}");
                }
            }
        }
        database.close().unwrap();
    }
}
