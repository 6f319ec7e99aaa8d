//! Images that were damaged, or written by a later version: noticed and named, and never a wrong answer.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use hyperspace_core::bytes::crc32c;
use hyperspace_core::error::{Error, ErrorKind};
use hyperspace_server::database::State;

use super::NEWEST;
use super::image::{Format, Image};

/// About how many places of each file are damaged.
const PLACES: usize = 24;

#[test]
fn wherever_a_bit_is_flipped_it_is_noticed_or_makes_no_difference() {
    let whole = Image::of_version(NEWEST);
    let mut noticed: BTreeMap<Format, (usize, usize)> = BTreeMap::new();
    for file in whole.files() {
        let bytes = fs::read(whole.data().join(&file)).unwrap();
        for at in (0..bytes.len()).step_by((bytes.len() / PLACES).max(1)) {
            let image = whole.copy();
            let mut damaged = bytes.clone();
            damaged[at] ^= 1 << (at % 8);
            fs::write(image.data().join(&file), damaged).unwrap();
            let (seen, all) = noticed.entry(Format::of(&file)).or_default();
            *all += 1;
            if let Some(error) = complaint(&image) {
                *seen += 1;
                let is_named = error.message().contains(file.to_str().unwrap());
                assert!(is_named, "{} damaged at {at}: {error}", file.display());
            }
        }
    }
    for (format, (seen, all)) in noticed {
        println!("{format:?}: {seen} of {all} noticed");
        // What is between the sections of a segment, and behind the last record of a log, is nothing.
        let most_unseen = if [Format::Log, Format::Segment].contains(&format) { all / 5 } else { 0 };
        assert!(all - seen <= most_unseen, "{format:?}: {seen} of {all} noticed");
    }
}

#[test]
fn a_file_that_is_missing_is_missed() {
    let whole = Image::of_version(NEWEST);
    let logs = |file: &&PathBuf| Format::of(file) == Format::Log;
    // Of the newest log nothing else speaks.
    let newest_log = whole.files().iter().filter(logs).max().cloned();
    for file in whole.files().into_iter().filter(|file| Some(file) != newest_log.as_ref()) {
        let image = whole.copy();
        fs::remove_file(image.data().join(&file)).unwrap();
        let Some(error) = complaint(&image) else { panic!("{} is not missed", file.display()) };
        // Of an older log it is said which record is missing.
        let name = if Format::of(&file) == Format::Log { "is missing" } else { file.to_str().unwrap() };
        assert!(error.message().contains(name), "{}: {error}", file.display());
    }
}

#[test]
fn a_later_version_of_any_format_is_refused_by_its_number() {
    let whole = Image::of_version(NEWEST);
    for file in whole.files() {
        let image = whole.copy();
        let path = image.data().join(&file);
        let mut bytes = fs::read(&path).unwrap();
        let format = Format::of(&file);
        let at = format.version_at();
        bytes[at..at + 4].copy_from_slice(&(NEWEST + 1).to_le_bytes());
        vouch_for_header(format, &mut bytes);
        fs::write(&path, bytes).unwrap();
        let Some(error) = complaint(&image) else { panic!("{} is accepted", file.display()) };
        let versions = format!("version {}; this build reads {NEWEST}", NEWEST + 1);
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
        assert!(error.message().contains(&versions), "{error}");
        assert!(error.message().contains(file.to_str().unwrap()), "{error}");
    }
}

/// Makes the checksum of a header right again, where the version is covered by one.
fn vouch_for_header(format: Format, bytes: &mut [u8]) {
    let (place, covered) = match format {
        Format::Catalog | Format::Manifest => return,
        Format::Log => (12, [&bytes[8..12], &bytes[16..32]].concat()),
        Format::Segment => (28, bytes[..28].to_vec()),
    };
    bytes[place..place + 4].copy_from_slice(&crc32c(&covered).to_le_bytes());
}

/// Opens an image and compares everything that is served with what was written. Answers the first thing that is refused;
/// fails for a wrong answer.
fn complaint(image: &Image) -> Option<Error> {
    let database = match image.open() {
        Ok(database) => database,
        Err(error) => return Some(checked(error)),
    };
    let read_only = match database.state() {
        State::ReadOnly(reason) => Some(Error::corrupted(reason)),
        State::Ready | State::Closed => None,
    };
    let mut first = read_only.clone();
    for contents in &image.expected().collections {
        match database.collection(&contents.tenant(), &contents.name) {
            Err(error) => {
                first.get_or_insert(checked(error));
            }
            Ok(collection) => {
                let difference = contents.whole.difference(contents, &collection.snapshot());
                // A log that is known to be damaged may have lost the newest records of a collection.
                assert!(difference.is_none() || read_only.is_some(), "{}: {difference:?}", contents.name);
            }
        }
    }
    database.close().unwrap();
    first
}

fn checked(error: Error) -> Error {
    assert!([ErrorKind::Corrupted, ErrorKind::Unsupported].contains(&error.kind()), "{error}");
    error
}
