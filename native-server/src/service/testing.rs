//! A disk whose syncs wait or fail as a test says.

use std::fmt::{self, Debug, Formatter};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hyperspace_core::segment::SegmentBytes;

use crate::disk::{Disk, Entry, File, LocalDisk};

/// Called before a file is synced, which is not when it fails.
type Hook = Arc<dyn Fn(&Path) -> io::Result<()> + Send + Sync>;

/// The local disk, with a hook before each sync of a file.
pub(super) struct HookedDisk(LocalDisk, Hook);

struct HookedFile(Box<dyn File>, PathBuf, Hook);

impl HookedDisk {
    pub(super) fn new(disk: LocalDisk, hook: impl Fn(&Path) -> io::Result<()> + Send + Sync + 'static) -> Self {
        Self(disk, Arc::new(hook))
    }
}

impl Debug for HookedDisk {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Debug for HookedFile {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl File for HookedFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.append(bytes)
    }

    fn take_back(&mut self, len: u64) -> io::Result<()> {
        self.0.take_back(len)
    }

    fn sync(&mut self) -> io::Result<()> {
        (self.2)(&self.1)?;
        self.0.sync()
    }
}

impl Disk for HookedDisk {
    fn create(&self, file: &Path) -> io::Result<Box<dyn File>> {
        Ok(Box::new(HookedFile(self.0.create(file)?, file.to_path_buf(), Arc::clone(&self.1))))
    }

    fn location(&self, path: &Path) -> PathBuf {
        self.0.location(path)
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<Entry>> {
        self.0.list(directory)
    }

    fn create_directory(&self, directory: &Path) -> io::Result<()> {
        self.0.create_directory(directory)
    }

    fn read(&self, file: &Path) -> io::Result<Vec<u8>> {
        self.0.read(file)
    }

    fn map(&self, file: &Path) -> io::Result<SegmentBytes> {
        self.0.map(file)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.rename(from, to)
    }

    fn link(&self, file: &Path, second: &Path) -> io::Result<()> {
        self.0.link(file, second)
    }

    fn remove(&self, file: &Path) -> io::Result<()> {
        self.0.remove(file)
    }

    fn remove_directory(&self, directory: &Path) -> io::Result<()> {
        self.0.remove_directory(directory)
    }

    fn sync_directory(&self, directory: &Path) -> io::Result<()> {
        self.0.sync_directory(directory)
    }
}
