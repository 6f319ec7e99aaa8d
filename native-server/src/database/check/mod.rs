//! Whether a data directory, or a snapshot, is what this program would have written: every checksum, and every invariant
//! that a start relies on without looking.
//!
//! It reads with the decoders that a start reads with, in the same order, and changes nothing. A start stops at the first
//! thing that it cannot go on with; here everything is told. What a crash may leave behind (a torn tail of the log, files
//! that nothing names) is told as well and is no damage. Knows nothing of how to repair.

mod log;
mod report;
mod spaces;

use std::path::Path;

use hyperspace_core::error::{Error, Result};
use hyperspace_core::types::Stamp;

use crate::auth::Stored;
use crate::disk::{Disk, LOCK, LocalDisk, failed};
use crate::store::catalog::Catalog;
use crate::store::files::{CATALOG, KEYS, LOG, SNAPSHOTS, SPACES, STANDING, UNFINISHED, log_number};
use crate::store::standing::Standing;

pub use report::{Finding, FindingKind, Report, Totals};

/// Checks a data directory that nobody serves, or a snapshot.
///
/// # Errors
/// `NotFound` when there is no database; `Unavailable` when another process has it; what the disk says. Damage is no error:
/// the report tells it.
pub fn check(folder: &Path) -> Result<Report> {
    let (disk, _lock) = LocalDisk::inspect(folder)?;
    check_on(&disk)
}

/// The same on a disk that the caller owns alone.
///
/// # Errors
/// As [`check`].
pub fn check_on(disk: &dyn Disk) -> Result<Report> {
    let mut report = Report::default();
    let catalog = read_catalog(disk, &mut report)?;
    check_aside(disk, &mut report, KEYS, |bytes| Stored::decode(bytes).map(drop));
    check_aside(disk, &mut report, STANDING, |bytes| Standing::decode(bytes).map(drop));
    let Some(catalog) = catalog else { return Ok(report) };
    let mut check = Check { disk, catalog, report };
    let mut spaces = check.spaces();
    check.log(&mut spaces);
    check.replayed(&spaces);
    check.leftovers(&spaces);
    Ok(check.report)
}

/// A check under way.
struct Check<'a> {
    disk: &'a dyn Disk,
    catalog: Catalog,
    report: Report,
}

impl Check<'_> {
    /// Whether a stamp of this database's own was given without a reservation, so that it may be given again.
    fn is_unreserved(&self, stamp: Stamp) -> bool {
        stamp.writer == self.catalog.writer && stamp.cseq >= self.catalog.reserved
    }

    /// Names in the directories that all collections share which nothing stands for.
    fn leftovers(&mut self, spaces: &spaces::Spaces) {
        let known = |name: &str| [LOCK, CATALOG, KEYS, STANDING, LOG, SPACES, SNAPSHOTS].contains(&name);
        self.leftovers_in("", |name, _| known(name));
        self.leftovers_in(LOG, |name, is_directory| log_number(name).is_some() && !is_directory);
        self.leftovers_in(SPACES, |name, is_directory| spaces.are_named(name) && is_directory);
        self.leftovers_in(SNAPSHOTS, |name, is_directory| !name.ends_with(UNFINISHED) && is_directory);
    }

    fn leftovers_in(&mut self, directory: impl AsRef<Path>, is_named: impl Fn(&str, bool) -> bool) {
        let directory = directory.as_ref();
        let entries = match self.disk.list(directory) {
            Ok(entries) => entries,
            Err(error) => return self.report.damage(directory, &failed("listing", directory, error)),
        };
        for entry in entries {
            if !is_named(&entry.name, entry.is_directory) {
                self.report.leftover(&directory.join(&entry.name));
            } else if directory == Path::new(SNAPSHOTS) {
                self.report.totals.snapshots += 1;
            }
        }
    }
}

/// Reads the catalog, without which nothing else can be judged; nothing when it is damaged.
fn read_catalog(disk: &dyn Disk, report: &mut Report) -> Result<Option<Catalog>> {
    let path = Path::new(CATALOG);
    let decoded = match disk.read(path) {
        Ok(bytes) => {
            report.totals.bytes += bytes.len() as u64;
            Catalog::decode(&bytes)
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let mut entries = 0;
            for directory in [LOG, SPACES].map(Path::new) {
                entries += disk.list(directory).map_err(|error| failed("listing", directory, error))?.len();
            }
            if entries == 0 {
                let location = disk.location(Path::new(""));
                return Err(Error::not_found(format!("there is no database in {}", location.display())));
            }
            Err(Error::corrupted(format!("it is missing, and there are {entries} entries in {LOG} and {SPACES}")))
        }
        Err(error) => return Err(failed("reading", path, error)),
    };
    Ok(decoded.inspect_err(|error| report.damage(path, error)).ok())
}

/// Checks a file of the whole directory that may be missing.
fn check_aside(disk: &dyn Disk, report: &mut Report, name: &str, decode: impl Fn(&[u8]) -> Result<()>) {
    let path = Path::new(name);
    match disk.read(path) {
        Ok(bytes) => {
            report.totals.bytes += bytes.len() as u64;
            if let Err(error) = decode(&bytes) {
                report.damage(path, &error);
            }
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => report.damage(path, &failed("reading", path, error)),
    }
}
