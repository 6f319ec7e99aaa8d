//! The file system of this machine, below one directory.

use std::fs::{self, DirBuilder, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hyperspace_core::bytes::AlignedBytes;
use hyperspace_core::error::{Error, Result};
use hyperspace_core::segment::SegmentBytes;

use super::{Disk, Entry, File, failed, map};

/// Files below this size are read instead of mapped: a map costs a page and a system call, too.
const WORTH_MAPPING: u64 = 256 << 10;
/// The file that the process holds which serves a directory.
pub(crate) const LOCK: &str = "LOCK";

/// A directory of the local file system.
#[derive(Debug)]
pub struct LocalDisk {
    root: PathBuf,
}

/// Keeps every other process away from a data directory until it is dropped, or the process dies.
#[derive(Debug)]
pub struct DirectoryLock(fs::File);

impl Drop for DirectoryLock {
    fn drop(&mut self) {
        // A program that this process is just starting has the file open, too, until it runs: to close ours is not enough.
        let _ = self.0.unlock();
    }
}

impl DirectoryLock {
    fn take(file: fs::File, root: &Path) -> Result<Self> {
        match file.try_lock() {
            Ok(()) => Ok(Self(file)),
            Err(TryLockError::WouldBlock) => Err(Error::unavailable(format!(
                "the data directory {} is in use by another process (it holds the lock on {LOCK})",
                root.display()
            ))),
            Err(TryLockError::Error(error)) => Err(failed("locking", root, error)),
        }
    }
}

impl LocalDisk {
    /// Opens a data directory, making it when it is not there, and locks it.
    ///
    /// # Errors
    /// `Unavailable` when another process holds it; else what the file system says.
    pub fn open(root: &Path) -> Result<(Self, DirectoryLock)> {
        let at = |what: &'static str| move |error| failed(what, root, error);
        make(root).map_err(at("making the data directory"))?;
        let root = root.canonicalize().map_err(at("opening the data directory"))?;
        let lock = options().write(true).create(true).truncate(false).open(root.join(LOCK));
        let lock = DirectoryLock::take(lock.map_err(at("opening the lock file in"))?, &root)?;
        Ok((Self { root }, lock))
    }

    /// Opens a directory to read what is in it, and locks it; without a lock file nobody has served it yet, as a copy.
    ///
    /// # Errors
    /// `NotFound` when there is none; `Unavailable` when another process holds it; else what the file system says.
    pub(crate) fn inspect(root: &Path) -> Result<(Self, Option<DirectoryLock>)> {
        if !root.is_dir() {
            return Err(Error::not_found(format!("there is no directory {}", root.display())));
        }
        let at = |what: &'static str| move |error| failed(what, root, error);
        let root = root.canonicalize().map_err(at("opening the data directory"))?;
        let lock = match fs::File::open(root.join(LOCK)) {
            Ok(lock) => Some(DirectoryLock::take(lock, &root)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(at("opening the lock file in")(error)),
        };
        Ok((Self { root }, lock))
    }

    fn path(&self, relative: &Path) -> PathBuf {
        self.root.join(relative)
    }
}

/// Makes a directory and those above it, durably.
fn make(directory: &Path) -> io::Result<()> {
    let missing: Vec<&Path> = directory.ancestors().take_while(|d| !d.as_os_str().is_empty() && !d.exists()).collect();
    DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    for made in missing {
        let above = made.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
        fs::File::open(above)?.sync_all()?;
    }
    Ok(())
}

fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.mode(0o600);
    options
}

/// Nothing there is as good as removed.
fn unless_missing(outcome: io::Result<()>) -> io::Result<()> {
    outcome.or_else(|error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) })
}

impl Disk for LocalDisk {
    fn location(&self, path: &Path) -> PathBuf {
        self.path(path)
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<Entry>> {
        let listing = match fs::read_dir(self.path(directory)) {
            Ok(listing) => listing,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut entries = Vec::new();
        for entry in listing {
            let entry = entry?;
            let metadata = match entry.metadata() {
                Ok(metadata) => metadata,
                // Removed since the listing began.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            let is_directory = metadata.is_dir();
            let len = if is_directory { 0 } else { metadata.len() };
            entries.push(Entry { name: entry.file_name().to_string_lossy().into_owned(), is_directory, len });
        }
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    fn create_directory(&self, directory: &Path) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(self.path(directory))
    }

    fn read(&self, file: &Path) -> io::Result<Vec<u8>> {
        fs::read(self.path(file))
    }

    fn map(&self, file: &Path) -> io::Result<SegmentBytes> {
        let file = fs::File::open(self.path(file))?;
        let len = file.metadata()?.len();
        if len >= WORTH_MAPPING {
            return Ok(Arc::new(map::map(&file)?));
        }
        let mut bytes = AlignedBytes::zeroed(len as usize);
        io::Read::read_exact(&mut &file, bytes.as_mut())?;
        Ok(Arc::new(bytes))
    }

    fn create(&self, file: &Path) -> io::Result<Box<dyn File>> {
        let file = options().write(true).create(true).truncate(true).open(self.path(file))?;
        Ok(Box::new(LocalFile(file)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(self.path(from), self.path(to))
    }

    fn link(&self, file: &Path, second: &Path) -> io::Result<()> {
        let (file, second) = (self.path(file), self.path(second));
        // Some file systems have no second names: then a copy it is.
        fs::hard_link(&file, &second).or_else(|_| {
            let mut copy = options().write(true).create_new(true).open(&second)?;
            io::copy(&mut fs::File::open(&file)?, &mut copy)?;
            copy.sync_all()
        })
    }

    fn remove(&self, file: &Path) -> io::Result<()> {
        unless_missing(fs::remove_file(self.path(file)))
    }

    fn remove_directory(&self, directory: &Path) -> io::Result<()> {
        unless_missing(fs::remove_dir_all(self.path(directory)))
    }

    fn sync_directory(&self, directory: &Path) -> io::Result<()> {
        fs::File::open(self.path(directory))?.sync_all()
    }
}

/// What a process without privileges may still write to the file system that a path is on, if that can be told.
pub(crate) fn free_bytes(path: &Path) -> Option<u64> {
    let system = rustix::fs::statvfs(path).ok()?;
    system.f_bavail.checked_mul(system.f_frsize)
}

#[derive(Debug)]
struct LocalFile(fs::File);

impl File for LocalFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)
    }

    fn take_back(&mut self, len: u64) -> io::Result<()> {
        self.0.set_len(len)?;
        io::Seek::seek(&mut self.0, io::SeekFrom::Start(len)).map(drop)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.0.sync_data()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_directory_has_one_owner_and_nobody_else_may_read_it() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        let (disk, lock) = LocalDisk::open(&data).unwrap();
        let refused = LocalDisk::open(&data).unwrap_err();
        assert!(refused.is_retryable() && refused.message().contains("in use by another process"), "{refused}");
        let inherited = lock.0.try_clone().unwrap();
        drop(lock);
        assert!(LocalDisk::open(&data).is_ok(), "though a program that is being started has the file open");
        drop(inherited);
        disk.create(Path::new("a")).unwrap().append(b"1").unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&data), mode(&data.join("a"))), (0o700, 0o600));
    }

    #[test]
    fn a_file_is_appended_to_taken_back_read_and_mapped() {
        let folder = tempfile::tempdir().unwrap();
        let (disk, _lock) = LocalDisk::open(folder.path()).unwrap();
        let path = Path::new("file");
        let mut file = disk.create(path).unwrap();
        file.append(b"one").unwrap();
        file.append(b"two").unwrap();
        file.take_back(3).unwrap();
        file.append(b"2").unwrap();
        file.sync().unwrap();
        assert_eq!(disk.read(path).unwrap(), b"one2");
        for len in [4, WORTH_MAPPING as usize - 1, WORTH_MAPPING as usize, WORTH_MAPPING as usize + 1] {
            let bytes: Vec<u8> = (0..len).map(|i| i as u8).collect();
            disk.create(path).unwrap().append(&bytes).unwrap();
            let mapped = disk.map(path).unwrap();
            assert!((*mapped).as_ref() == bytes && (*mapped).as_ref().as_ptr().align_offset(64) == 0, "{len} bytes");
        }
        disk.link(path, Path::new("second")).unwrap();
        disk.remove(path).unwrap();
        disk.remove(path).unwrap();
        assert_eq!(
            disk.list(Path::new("")).unwrap().iter().map(|e| e.name.as_str()).collect::<Vec<_>>(),
            [LOCK, "second"]
        );
    }
}
