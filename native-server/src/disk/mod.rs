//! What the store asks of a file system: a dozen calls, each with what must hold when it fails.
//!
//! Paths are relative to the data directory and made of this program's own names, never of a user's. A test gives the
//! store a disk that records, tears, fills up or crashes; production gives it [`LocalDisk`].

mod local;
mod map;

use std::fmt::Debug;
use std::io;
use std::path::{Path, PathBuf};

use hyperspace_core::error::Error;
use hyperspace_core::segment::SegmentBytes;

pub use local::{DirectoryLock, LocalDisk};
pub(crate) use local::{LOCK, free_bytes};

/// Something in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name in that directory.
    pub name: String,
    /// Whether it is a directory.
    pub is_directory: bool,
    /// Bytes of a file; 0 for a directory.
    pub len: u64,
}

/// A data directory.
pub trait Disk: Debug + Send + Sync {
    /// Where something is, for people.
    fn location(&self, path: &Path) -> PathBuf;

    /// What a directory holds, by name; nothing when it does not exist.
    fn list(&self, directory: &Path) -> io::Result<Vec<Entry>>;

    /// Makes a directory unless it is there. Lasts once its parent is synced.
    fn create_directory(&self, directory: &Path) -> io::Result<()>;

    /// All bytes of a file.
    fn read(&self, file: &Path) -> io::Result<Vec<u8>>;

    /// All bytes of a file that nobody will ever change, without reading them now.
    fn map(&self, file: &Path) -> io::Result<SegmentBytes>;

    /// Makes a new file, or empties one of that name. It lasts once it and its directory are synced.
    fn create(&self, file: &Path) -> io::Result<Box<dyn File>>;

    /// Puts a file in the place of another, in one step. Lasts once the directory is synced.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Gives a file that nobody will ever change a second name.
    fn link(&self, file: &Path, second: &Path) -> io::Result<()>;

    /// Removes a file; none is fine.
    fn remove(&self, file: &Path) -> io::Result<()>;

    /// Removes a directory with all it holds; none is fine.
    fn remove_directory(&self, directory: &Path) -> io::Result<()>;

    /// Makes the names in a directory durable: those that came, and those that went.
    fn sync_directory(&self, directory: &Path) -> io::Result<()>;
}

/// A file that is being written, from its start to its end.
pub trait File: Debug + Send {
    /// Appends bytes. On failure any part of them may have been appended.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Takes back what was appended behind the first `len` bytes.
    fn take_back(&mut self, len: u64) -> io::Result<()>;

    /// Makes everything appended durable. After a failure nobody knows what is: it must never be tried again.
    fn sync(&mut self) -> io::Result<()>;
}

/// An error of the disk in the terms of the database.
#[expect(clippy::needless_pass_by_value, reason = "used as the last step of an error's way: map_err")]
pub(crate) fn failed(what: &str, path: &Path, error: io::Error) -> Error {
    let message = format!("{what} {}: {error}", path.display());
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            Error::limit_exceeded(format!("the disk is full: {message}"))
        }
        io::ErrorKind::NotFound => Error::corrupted(message),
        _ => Error::unavailable(message),
    }
}
