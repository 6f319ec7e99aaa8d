//! What a check found, for people and for programs.

use std::fmt::{self, Display, Formatter};
use std::path::{Path, PathBuf};

use hyperspace_core::error::Error;
use serde::{Deserialize, Serialize};

/// Everything that a check found, in the order in which it was looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// What is not as it was written, or not needed.
    pub findings: Vec<Finding>,
    /// How much was looked at.
    pub totals: Totals,
}

/// Something that is told about a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub kind: FindingKind,
    /// The file, relative to the directory.
    pub file: PathBuf,
    /// Where in it, when it is one place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
    /// What it is.
    pub message: String,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FindingKind {
    /// Something that was written is not there as it was.
    Damage,
    /// A crash cut off what was never acknowledged; the next start takes the rest away.
    TornTail,
    /// Nothing names it; the next start removes what this program left there.
    Leftover,
}

/// How much was looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// Collections in the catalog.
    pub collections: u64,
    /// Segments that manifests name and that are there.
    pub segments: u64,
    /// Live points, in the collections that are whole.
    pub points: u64,
    /// Files of the log.
    pub log_files: u64,
    /// Records in them.
    pub log_records: u64,
    /// Bytes of all files that were read.
    pub bytes: u64,
    /// Snapshots, which were not looked into: each is a directory that can be checked.
    pub snapshots: u64,
}

impl Report {
    /// Whether nothing is damaged.
    pub fn is_sound(&self) -> bool {
        self.count(FindingKind::Damage) == 0
    }

    /// How many findings are of a kind.
    pub fn count(&self, kind: FindingKind) -> usize {
        self.findings.iter().filter(|finding| finding.kind == kind).count()
    }

    pub(super) fn damage(&mut self, file: &Path, error: &Error) {
        self.find(FindingKind::Damage, file, None, error.message());
    }

    pub(super) fn damage_at(&mut self, file: &Path, offset: usize, error: &Error) {
        self.find(FindingKind::Damage, file, Some(offset), error.message());
    }

    pub(super) fn torn(&mut self, file: &Path, offset: usize, len: usize) {
        let message = format!("{} bytes behind the last whole frame, never acknowledged", len.saturating_sub(offset));
        self.find(FindingKind::TornTail, file, Some(offset), &message);
    }

    pub(super) fn leftover(&mut self, file: &Path) {
        self.find(FindingKind::Leftover, file, None, "nothing names it");
    }

    fn find(&mut self, kind: FindingKind, file: &Path, offset: Option<usize>, message: &str) {
        let offset = offset.map(|offset| offset as u64);
        self.findings.push(Finding { kind, file: file.to_path_buf(), offset, message: message.to_owned() });
    }
}

impl Display for FindingKind {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Damage => "damage",
            Self::TornTail => "torn tail",
            Self::Leftover => "leftover",
        })
    }
}

/// One line: what it is, where, and why.
impl Display for Finding {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{:<9}  {}", self.kind, self.file.display())?;
        if let Some(offset) = self.offset {
            write!(f, " at {offset}")?;
        }
        write!(f, ": {}", self.message)
    }
}

/// A line for each finding, and one with the totals.
impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for finding in &self.findings {
            writeln!(f, "{finding}")?;
        }
        let Totals { collections, segments, points, log_files, log_records, bytes, snapshots } = self.totals;
        let verdict = if self.is_sound() { "sound" } else { "damaged" };
        write!(
            f,
            "{verdict}: {} damaged, {} torn, {} left over; {collections} collections, {points} points, {segments} \
             segments, {log_records} records in {log_files} log files, {bytes} bytes; {snapshots} snapshots not looked into",
            self.count(FindingKind::Damage),
            self.count(FindingKind::TornTail),
            self.count(FindingKind::Leftover),
        )
    }
}
