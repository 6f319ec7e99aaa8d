//! An image of the stored formats: a folder with a data directory, `data`, and what is in it, `expected.json`.
//!
//! Opening writes into a data directory, so that committed images are opened as copies only.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hyperspace_core::error::Result;
use hyperspace_server::database::{Database, DatabaseOptions};
use serde_json::Value;
use tempfile::TempDir;

use super::contents::Expected;
use super::recipe;
use crate::support::repository;

const DATA: &str = "data";
const EXPECTED: &str = "expected.json";

/// An image in a folder; a copy goes with its value.
pub(super) struct Image {
    folder: PathBuf,
    expected: Expected,
    copy: Option<TempDir>,
}

impl Image {
    /// A copy of the committed image of a version.
    pub(super) fn of_version(version: u32) -> Self {
        Self::at(&repository().join(format!("tests/fixtures/v{version}"))).copy()
    }

    /// Makes an image in a folder that has none.
    pub(super) fn make(folder: &Path) -> Self {
        let data = folder.join(DATA);
        assert!(!data.exists(), "{} is there; an image is never made again", data.display());
        let expected = recipe::make(&data);
        let text = lines(&serde_json::to_value(expected).unwrap(), 0);
        fs::write(folder.join(EXPECTED), text + "\n").unwrap();
        Self::at(folder)
    }

    fn at(folder: &Path) -> Self {
        let text = fs::read_to_string(folder.join(EXPECTED)).unwrap();
        Self { folder: folder.to_path_buf(), expected: serde_json::from_str(&text).unwrap(), copy: None }
    }

    pub(super) fn copy(&self) -> Self {
        let copy = tempfile::tempdir().unwrap();
        fs::copy(self.folder.join(EXPECTED), copy.path().join(EXPECTED)).unwrap();
        for file in self.files() {
            let place = copy.path().join(DATA).join(&file);
            fs::create_dir_all(place.parent().unwrap()).unwrap();
            fs::copy(self.data().join(&file), place).unwrap();
        }
        let image = Self::at(copy.path());
        Self { copy: Some(copy), ..image }
    }

    pub(super) const fn expected(&self) -> &Expected {
        &self.expected
    }

    pub(super) fn data(&self) -> PathBuf {
        self.folder.join(DATA)
    }

    /// Opens the data directory, in which nothing is indexed unless it is asked for.
    pub(super) fn open(&self) -> Result<Arc<Database>> {
        assert!(self.copy.is_some(), "opening writes: only copies are opened");
        Database::open(&self.data(), DatabaseOptions { indexers: 0, ..DatabaseOptions::default() })
    }

    /// The files of the data directory, relative to it and in order.
    pub(super) fn files(&self) -> Vec<PathBuf> {
        fn walk(root: &Path, folder: &Path, found: &mut Vec<PathBuf>) {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    walk(root, &path, found);
                } else {
                    found.push(path.strip_prefix(root).unwrap().to_path_buf());
                }
            }
        }
        let mut found = Vec::new();
        walk(&self.data(), &self.data(), &mut found);
        found.sort();
        found
    }

    /// The version that stands in each file.
    pub(super) fn versions(&self) -> impl Iterator<Item = (PathBuf, u32)> {
        self.files().into_iter().map(|file| {
            let bytes = fs::read(self.data().join(&file)).unwrap();
            let at = Format::of(&file).version_at();
            (file, u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()))
        })
    }
}

/// The formats there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Format {
    Catalog,
    Log,
    Manifest,
    Segment,
}

impl Format {
    /// The format of a file of a data directory.
    pub(super) fn of(file: &Path) -> Self {
        if file.ends_with("catalog") {
            Self::Catalog
        } else if file.starts_with("log") {
            Self::Log
        } else if file.ends_with("manifest") {
            Self::Manifest
        } else {
            Self::Segment
        }
    }

    /// Where the version stands: behind the magic.
    pub(super) const fn version_at(self) -> usize {
        match self {
            Self::Catalog | Self::Manifest => 4,
            Self::Log | Self::Segment => 8,
        }
    }
}

/// JSON that a person can read: a line for each point and each search.
fn lines(value: &Value, depth: usize) -> String {
    let around = |open: char, close: char, items: Vec<String>| {
        let inner = "  ".repeat(depth + 1);
        let items: Vec<_> = items.into_iter().map(|item| format!("\n{inner}{item}")).collect();
        format!("{open}{}\n{}{close}", items.join(","), "  ".repeat(depth))
    };
    match value {
        Value::Array(items) if depth < 5 && !items.is_empty() => {
            around('[', ']', items.iter().map(|item| lines(item, depth + 1)).collect())
        }
        Value::Object(entries) if depth < 5 && !entries.is_empty() => {
            let entry = |(key, value): (&String, &Value)| format!("\"{key}\": {}", lines(value, depth + 1));
            around('{', '}', entries.iter().map(entry).collect())
        }
        compact => compact.to_string(),
    }
}
