//! The stored formats: what one version wrote, every later one reads, and damage never becomes a wrong answer.
//!
//! `tests/fixtures/v<N>` is what the build of format version N left behind: `data`, a data directory of two tenants with
//! sealed segments, dead points, tombstones and a log that is not sealed; and `expected.json`, what is in it by an
//! oracle that is not the engine. From the first release on images are never made again; `tests/congruence` opens them in
//! the tab.
//! `tests/fixtures/v1-corrupt` lists what was done to the first one, and what is to become of each.
//!
//! When a format changes, add what is new to `recipe`, count [`NEWEST`] up, and keep the new image beside the old ones:
//! ```text
//! HS_IMAGE=tests/fixtures/v2 cargo test -p hyperspace-tests formats::this_build
//! ```
//! Points, metadata and searches are the same whenever it is made; writer, spaces and times are drawn by the database.

mod contents;
mod corrupt;
mod damage;
mod image;
mod recipe;

use std::path::PathBuf;

use hyperspace_server::database::Database;

use contents::Contents;
use image::Image;

/// The newest version of the formats, and the number of images there are.
const NEWEST: u32 = 1;

#[test]
fn every_image_holds_what_was_written_with_and_without_its_log() {
    for version in 1..=NEWEST {
        let image = Image::of_version(version);
        let database = image.open().unwrap();
        check(&image, &database);
        let names = |tenant: &str| -> Vec<String> {
            database.collections(&contents::tenant(tenant)).iter().map(|c| c.name().to_owned()).collect()
        };
        assert_eq!(names("default"), ["notes", "tree"], "a deleted collection stays deleted");
        assert_eq!(names("ada@example.org"), ["notes"]);
        database.close().unwrap();
    }
}

#[test]
fn an_image_that_is_written_to_and_sealed_keeps_everything() {
    let image = Image::of_version(NEWEST);
    let database = image.open().unwrap();
    for contents in &image.expected().collections {
        let collection = database.collection(&contents.tenant(), &contents.name).unwrap();
        database.vacuum(&collection).unwrap();
        assert_eq!((collection.stats().pending, collection.stats().dead), (0, 0));
    }
    database.close().unwrap();
    let database = image.open().unwrap();
    for contents in &image.expected().collections {
        let collection = database.collection(&contents.tenant(), &contents.name).unwrap();
        let complaint = contents.whole.difference(contents, &collection.snapshot());
        assert_eq!(complaint, None, "{}", contents.name);
    }
    database.close().unwrap();
}

#[test]
fn this_build_writes_the_newest_version_and_reads_it_back() {
    let kept = std::env::var_os("HS_IMAGE").map(|folder| crate::support::repository().join(PathBuf::from(folder)));
    let made = tempfile::tempdir().unwrap();
    let image = match &kept {
        Some(folder) => Image::make(folder),
        None => Image::make(made.path()),
    };
    for (file, version) in image.versions() {
        assert_eq!(version, NEWEST, "{}: a format has changed, see the head of this module", file.display());
    }
    let image = image.copy();
    let database = image.open().unwrap();
    check(&image, &database);
    database.close().unwrap();
    assert_eq!(statements(&image), statements(&Image::of_version(NEWEST)), "the recipe has changed");
}

/// Fails unless an image, and the database that was opened over it, hold what they should.
fn check(image: &Image, database: &Database) {
    for contents in &image.expected().collections {
        let sealed = contents.open_sealed(&image.data()).unwrap();
        contents.sealed.check(contents, &sealed.snapshot(), sealed.tombstone_count());
        let collection = database.collection(&contents.tenant(), &contents.name).unwrap();
        let stats = collection.stats();
        contents.whole.check(contents, &collection.snapshot(), stats.tombstones as usize);
        assert_eq!(stats.graph_insertions, 0, "opening indexes nothing");
    }
}

/// What an image's oracle says, without what is drawn anew each time.
fn statements(image: &Image) -> Vec<Contents> {
    let collections = image.expected().collections.iter().cloned();
    collections.map(|contents| Contents { space: String::new(), ..contents }).collect()
}
