//! How far an import came, in a small file beside the one that is imported.
//!
//! Invariant: all rows before the number in the file were acknowledged. Rows behind it may have been too, and are sent
//! again: same ids, same points. The file is replaced as a whole, so that it is never half written, and one that cannot be
//! read, or speaks of anything but this very import, counts for nothing.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use hyperspace_core::error::Result;
use serde::{Deserialize, Serialize};

use crate::cli::failure::of_file;

/// How often the file is written at most.
const INTERVAL: Duration = Duration::from_millis(200);

/// What is imported, and into what: when anything of it differs, the rows are not the same rows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Task {
    pub(super) server: String,
    pub(super) user_id: Option<String>,
    pub(super) collection: String,
    /// The server's name for this very collection, and none that is made later under the same name.
    pub(super) collection_id: String,
    pub(super) file: Version,
    pub(super) metadata: Option<Version>,
    pub(super) id_offset: u64,
}

/// Which version of a file it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Version {
    pub(super) bytes: u64,
    pub(super) modified: SystemTime,
}

impl Version {
    /// The version of a file that is there now.
    pub(super) fn of(path: &Path) -> Result<Self> {
        let read = || {
            let metadata = fs::metadata(path)?;
            Ok(Self { bytes: metadata.len(), modified: metadata.modified()? })
        };
        read().map_err(|error| of_file(path, &error))
    }
}

impl Task {
    /// Why what was done for `other` does not count for this one.
    fn differs_from(&self, other: &Self) -> Option<&'static str> {
        let differences = [
            (self.file != other.file, "the file has changed since"),
            (self.metadata != other.metadata, "the metadata have changed since"),
            (self.id_offset != other.id_offset, "it gave other ids"),
            (self.server != other.server || self.user_id != other.user_id, "it was for another server or tenant"),
            (self.collection_id != other.collection_id, "it was for another collection"),
            (self != other, "it was another one"),
        ];
        differences.into_iter().find(|(differs, _)| *differs).map(|(_, why)| why)
    }
}

/// The contents of the file.
#[derive(Serialize, Deserialize)]
struct Record {
    task: Task,
    rows: u64,
}

/// What an earlier import left.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Left {
    /// Nothing: there was none, or it is done.
    Nothing,
    /// It did not come to its end; so many rows are there.
    Rows(u64),
    /// It does not count, and why.
    Void(String),
}

/// The acknowledged rows, of which those in one piece from the start count.
#[derive(Debug, PartialEq, Eq)]
struct Prefix {
    through: u64,
    /// Start and end of what was acknowledged out of order.
    beyond: BTreeMap<u64, u64>,
}

impl Prefix {
    fn acknowledge(&mut self, rows: Range<u64>) {
        self.beyond.insert(rows.start, rows.end);
        while let Some(end) = self.beyond.remove(&self.through) {
            self.through = end;
        }
    }
}

/// The memory of one import.
pub(super) struct Checkpoint {
    path: PathBuf,
    record: Record,
    prefix: Prefix,
    /// When the file was last written; `None` once it cannot be.
    written: Option<Instant>,
}

impl Checkpoint {
    /// Where an import of `file` is remembered.
    pub(super) fn path(file: &Path, folder: Option<&Path>) -> PathBuf {
        let mut name = file.file_name().unwrap_or_default().to_os_string();
        name.push(".hyperspace-import");
        folder.map_or_else(|| file.with_file_name(&name), |folder| folder.join(&name))
    }

    /// Reads what an earlier import of the same thing left.
    pub(super) fn left_by_earlier(path: &Path, task: &Task) -> Left {
        let bytes = match fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Left::Nothing,
            Err(error) => return Left::Void(of_file(path, &error).message().to_string()),
        };
        let Ok(record) = serde_json::from_slice::<Record>(&bytes) else {
            return Left::Void(format!("{} cannot be understood", path.display()));
        };
        match task.differs_from(&record.task) {
            Some(why) => Left::Void(why.to_string()),
            None => Left::Rows(record.rows),
        }
    }

    /// Starts to remember an import whose first `rows` rows are there already.
    ///
    /// Also answers why it cannot be remembered, where that is so; the import goes on without.
    pub(super) fn start(path: PathBuf, task: Task, rows: u64) -> (Self, Option<String>) {
        let prefix = Prefix { through: rows, beyond: BTreeMap::new() };
        let mut checkpoint = Self { path, record: Record { task, rows }, prefix, written: Some(Instant::now()) };
        let failure = checkpoint.save();
        (checkpoint, failure)
    }

    /// Takes note of rows that were acknowledged, in any order; answers why they cannot be remembered any more.
    pub(super) fn acknowledge(&mut self, rows: Range<u64>) -> Option<String> {
        self.prefix.acknowledge(rows);
        let is_due = self.written.is_some_and(|at| at.elapsed() >= INTERVAL);
        if is_due { self.flush() } else { None }
    }

    /// Writes what was not written yet.
    pub(super) fn flush(&mut self) -> Option<String> {
        if self.written.is_none() || self.record.rows == self.prefix.through {
            return None;
        }
        self.record.rows = self.prefix.through;
        self.save()
    }

    /// How many rows from the start another import need not send; `None` when the file could not be written.
    pub(super) fn remembered(&self) -> Option<u64> {
        self.written.map(|_| self.record.rows)
    }

    /// Forgets the import, which is done.
    pub(super) fn finish(self) -> Option<String> {
        self.written?;
        fs::remove_file(&self.path).err().map(|error| of_file(&self.path, &error).message().to_string())
    }

    fn save(&mut self) -> Option<String> {
        let mut draft = self.path.clone().into_os_string();
        draft.push(".new");
        let draft = PathBuf::from(draft);
        let bytes = serde_json::to_vec(&self.record).expect("numbers and strings are JSON");
        let result = fs::write(&draft, bytes).and_then(|()| fs::rename(&draft, &self.path));
        self.written = result.is_ok().then(Instant::now);
        result.err().map(|error| of_file(&self.path, &error).message().to_string())
    }
}

/// For fuzz targets only: the file that is written when these bytes were left; `None` when they cannot be understood.
#[cfg(feature = "fuzzing")]
pub fn state(bytes: &[u8]) -> Option<Vec<u8>> {
    let record: Record = serde_json::from_slice(bytes).ok()?;
    Some(serde_json::to_vec(&record).expect("numbers and strings are JSON"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(bytes: u64, nanoseconds: u64) -> Version {
        Version { bytes, modified: SystemTime::UNIX_EPOCH + Duration::from_nanos(1_234_567_890 + nanoseconds) }
    }

    fn task() -> Task {
        Task {
            server: "http://localhost:50051".into(),
            user_id: Some("ada".into()),
            collection: "c".into(),
            collection_id: "1f".into(),
            file: version(10, 0),
            metadata: Some(version(20, 0)),
            id_offset: 5,
        }
    }

    fn checkpoint(folder: &Path, rows: u64) -> Checkpoint {
        let (checkpoint, failure) = Checkpoint::start(folder.join("state"), task(), rows);
        assert_eq!(failure, None);
        checkpoint
    }

    #[test]
    fn only_rows_in_one_piece_from_the_start_count() {
        // Every order in which five batches can be acknowledged, against the definition.
        let batches = [0..3, 3..4, 4..9, 9..10, 10..12];
        let mut orders = vec![Vec::new()];
        for _ in &batches {
            let with_one_more = |order: &Vec<usize>| {
                let left = (0..batches.len()).filter(|at| !order.contains(at)).collect::<Vec<_>>();
                left.into_iter().map(|at| [&order[..], &[at]].concat()).collect::<Vec<_>>()
            };
            orders = orders.iter().flat_map(with_one_more).collect();
        }
        assert_eq!(orders.len(), 120);
        for order in orders {
            let mut prefix = Prefix { through: 0, beyond: BTreeMap::new() };
            let mut acknowledged = Vec::new();
            for at in order {
                prefix.acknowledge(batches[at].clone());
                acknowledged.extend(batches[at].clone());
                let expected = (0..=12).find(|row| !acknowledged.contains(row)).unwrap();
                assert_eq!(prefix.through, expected, "after {acknowledged:?}");
            }
            assert!(prefix.beyond.is_empty());
        }
    }

    #[test]
    fn what_was_flushed_is_found_again_and_what_is_done_is_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        assert_eq!(Checkpoint::left_by_earlier(&path, &task()), Left::Nothing);

        let mut checkpoint = checkpoint(folder.path(), 100);
        assert_eq!(Checkpoint::left_by_earlier(&path, &task()), Left::Rows(100));
        checkpoint.acknowledge(200..300);
        checkpoint.flush();
        assert_eq!(Checkpoint::left_by_earlier(&path, &task()), Left::Rows(100), "rows 100 to 199 are missing");
        checkpoint.acknowledge(100..200);
        checkpoint.flush();
        assert_eq!(Checkpoint::left_by_earlier(&path, &task()), Left::Rows(300));
        assert_eq!(checkpoint.remembered(), Some(300));

        assert_eq!(checkpoint.finish(), None);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is left behind");
    }

    #[test]
    fn an_import_of_anything_else_does_not_count() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        let _checkpoint = checkpoint(folder.path(), 7);
        let other = [
            (Task { server: "http://elsewhere:1".into(), ..task() }, "another server or tenant"),
            (Task { user_id: None, ..task() }, "another server or tenant"),
            (Task { collection: "d".into(), ..task() }, "another one"),
            (Task { collection_id: "20".into(), ..task() }, "another collection"),
            (Task { file: version(11, 0), ..task() }, "the file has changed"),
            (Task { file: version(10, 1), ..task() }, "the file has changed"),
            (Task { metadata: None, ..task() }, "the metadata have changed"),
            (Task { id_offset: 6, ..task() }, "other ids"),
        ];
        for (task, expected) in other {
            let Left::Void(why) = Checkpoint::left_by_earlier(&path, &task) else { panic!("{task:?} counts") };
            assert!(why.contains(expected), "{why:?}");
        }
    }

    #[test]
    fn a_file_that_cannot_be_understood_does_not_count() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        drop(checkpoint(folder.path(), 7));
        let whole = fs::read(&path).unwrap();
        for length in 0..whole.len() {
            fs::write(&path, &whole[..length]).unwrap();
            let left = Checkpoint::left_by_earlier(&path, &task());
            assert!(matches!(left, Left::Void(_)), "{length} bytes of {} count as {left:?}", whole.len());
        }
    }

    #[test]
    fn a_folder_that_cannot_be_written_to_is_said_once() {
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("missing").join("state");
        let (mut checkpoint, failure) = Checkpoint::start(missing, task(), 0);
        assert!(failure.unwrap().contains("missing"));
        assert_eq!(checkpoint.acknowledge(0..5), None);
        assert_eq!(checkpoint.flush(), None);
        assert_eq!(checkpoint.remembered(), None);
        assert_eq!(checkpoint.finish(), None);
    }

    #[test]
    fn the_memory_of_a_file_stands_beside_it_unless_a_folder_is_named() {
        let file = Path::new("some/vectors.npy");
        assert_eq!(Checkpoint::path(file, None), Path::new("some/vectors.npy.hyperspace-import"));
        assert_eq!(Checkpoint::path(file, Some(Path::new("/t"))), Path::new("/t/vectors.npy.hyperspace-import"));
    }
}
