//! Names of files, and the two ways in which they change: replaced as a whole, or written once and never again.

use std::path::{Path, PathBuf};

use hyperspace_core::error::Error;
use hyperspace_core::types::{SegmentId, SpaceId};

use crate::disk::{Disk, failed};
use crate::mutation::{self, Mutation};

pub(crate) const CATALOG: &str = "catalog";
pub(crate) const KEYS: &str = "KEYS";
pub(crate) const STANDING: &str = "STANDING";
pub(crate) const LOG: &str = "log";
pub(crate) const SPACES: &str = "spaces";
pub(crate) const SNAPSHOTS: &str = "snapshots";
pub(crate) const MANIFEST: &str = "manifest";
/// Ends the names of files that were never finished.
pub(crate) const UNFINISHED: &str = ".new";

pub(crate) fn space_directory(space: SpaceId) -> PathBuf {
    Path::new(SPACES).join(space_name(space))
}

pub(crate) fn space_name(space: SpaceId) -> String {
    format!("{:016x}", space.0)
}

pub(crate) fn manifest_file(space: SpaceId) -> PathBuf {
    space_directory(space).join(MANIFEST)
}

pub(crate) fn segment_file(space: SpaceId, id: SegmentId) -> PathBuf {
    space_directory(space).join(id.to_string())
}

pub(crate) fn log_file(number: u64) -> PathBuf {
    Path::new(LOG).join(format!("{number:016x}"))
}

/// The number of a log file by its name; `None` for anything else.
pub(crate) fn log_number(name: &str) -> Option<u64> {
    let number = u64::from_str_radix(name, 16).ok()?;
    (log_file(number).file_name()? == name).then_some(number)
}

/// Why a file was not replaced or begun, and whether that is certain.
#[derive(Debug)]
pub(crate) struct Unreplaced {
    pub(crate) error: Error,
    /// The new bytes may be there after a crash all the same.
    pub(crate) doubtful: bool,
}

/// Writes a file beside its place, makes it durable, and puts it there in one step.
pub(crate) fn replace(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> Result<(), Unreplaced> {
    let directory = path.parent().unwrap_or(Path::new(""));
    let mut unfinished = path.as_os_str().to_owned();
    unfinished.push(UNFINISHED);
    let unfinished = Path::new(&unfinished);
    let written = disk.create(unfinished).and_then(|mut file| {
        file.append(bytes)?;
        mutation::unless(Mutation::NoFileSync, || file.sync())
    });
    let placed = written.and_then(|()| disk.rename(unfinished, path));
    if let Err(error) = placed {
        // A full disk gets its space back; a file that stays is swept when the directory is opened.
        let _ = disk.remove(unfinished);
        return Err(Unreplaced { error: failed("writing", path, error), doubtful: false });
    }
    mutation::unless(Mutation::NoDirectorySync, || disk.sync_directory(directory))
        .map_err(|error| Unreplaced { error: failed("syncing the directory of", path, error), doubtful: true })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_names_of_log_files_have_numbers() {
        let name = |number| log_file(number).file_name().unwrap_or_default().to_string_lossy().into_owned();
        for number in [1, 15, 16, u64::MAX] {
            assert_eq!(log_number(&name(number)), Some(number));
        }
        for other in
            ["", "1", "manifest", "000000000000000g", "+000000000000001", "0000000000000001.new", "000000000000000A"]
        {
            assert_eq!(log_number(other), None, "{other}");
        }
    }
}
