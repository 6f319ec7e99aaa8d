//! The files of a data directory that are not the engine's: the catalog, the keys, the standing and the log.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use hyperspace_core::bytes::crc32c;
use hyperspace_core::error::Result;
use hyperspace_core::segment::SegmentBytes;
use hyperspace_server::disk::{Disk, Entry, File};
use hyperspace_server::store::fuzzing;

use super::{both_ways, decode, put_u32};

/// The database whose log it is said to be.
const DATABASE: u64 = 77;

/// Catalogs: what is decoded encodes to a catalog of the same value.
pub(super) fn catalog(bytes: &[u8]) -> bool {
    whole(bytes, *b"HSCT", fuzzing::catalog)
}

/// Files of keys: the same.
pub(super) fn keys(bytes: &[u8]) -> bool {
    whole(bytes, *b"HSKY", fuzzing::keys)
}

/// Standings of servers: the same.
pub(super) fn standing(bytes: &[u8]) -> bool {
    whole(bytes, *b"HSST", fuzzing::standing)
}

/// A file that is replaced as a whole, decoded and encoded by `again`.
fn whole(bytes: &[u8], magic: [u8; 4], again: impl Fn(&[u8]) -> Result<Vec<u8>>) -> bool {
    let mend = |bytes: &mut [u8]| {
        let Some(body) = bytes.get(16..) else { return };
        let (len, sum) = (body.len(), crc32c(body));
        bytes[..4].copy_from_slice(&magic);
        put_u32(bytes, 4, 1);
        put_u32(bytes, 8, sum as usize);
        put_u32(bytes, 12, len);
    };
    both_ways(bytes, mend, |bytes| {
        let Some(encoded) = decode(bytes.len(), || again(bytes)) else { return false };
        assert_eq!(encoded.len(), bytes.len());
        assert_eq!(again(&encoded), Ok(encoded), "an encoding decodes to itself");
        true
    })
}

/// Logs of one or two files, the length of the first in two bytes before them: what was replayed once is replayed
/// again the same, and a log with damage is not touched.
pub(super) fn log(bytes: &[u8]) -> bool {
    let Some((cut, files)) = bytes.split_first_chunk() else { return false };
    let (first, second) = files.split_at(usize::from(u16::from_le_bytes(*cut)).min(files.len()));
    let raw = replays([first.to_vec(), second.to_vec()]);
    let mut mended = [first.to_vec(), second.to_vec()];
    mended.iter_mut().zip(1..).for_each(|(file, number)| fuzzing::vouch_for_log(file, DATABASE, number));
    replays(mended) | raw
}

fn replays(files: [Vec<u8>; 2]) -> bool {
    let files = files.into_iter().zip(1..).filter(|(bytes, number)| *number == 1 || !bytes.is_empty());
    let files: BTreeMap<_, _> = files.map(|(bytes, number)| (fuzzing::log_path(number), bytes)).collect();
    let disk = Memory { files: Arc::new(Mutex::new(files.clone())) };
    let size = files.values().map(Vec::len).sum();
    let Some(replayed) = decode(size, || fuzzing::replay(&disk, DATABASE)) else { return false };
    if replayed.obstacle.is_some() {
        assert_eq!(*disk.files(), files, "a log with damage is left as it is");
    }
    assert_eq!(fuzzing::replay(&disk, DATABASE).as_ref(), Ok(&replayed), "a second replay finds the same");
    !replayed.records.is_empty()
}

/// A disk in memory that does not fail.
#[derive(Debug)]
struct Memory {
    files: Arc<Mutex<BTreeMap<PathBuf, Vec<u8>>>>,
}

impl Memory {
    fn files(&self) -> std::sync::MutexGuard<'_, BTreeMap<PathBuf, Vec<u8>>> {
        self.files.lock().expect("nobody panics with the files in hand")
    }
}

impl Disk for Memory {
    fn location(&self, path: &Path) -> PathBuf {
        path.into()
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<Entry>> {
        let files = self.files();
        let inside = files.iter().filter(|(path, _)| path.parent() == Some(directory));
        Ok(inside
            .map(|(path, bytes)| Entry {
                name: path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
                is_directory: false,
                len: bytes.len() as u64,
            })
            .collect())
    }

    fn create_directory(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn read(&self, file: &Path) -> io::Result<Vec<u8>> {
        self.files().get(file).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn map(&self, file: &Path) -> io::Result<SegmentBytes> {
        self.read(file).map(|bytes| Arc::new(bytes) as SegmentBytes)
    }

    fn create(&self, file: &Path) -> io::Result<Box<dyn File>> {
        self.files().insert(file.into(), Vec::new());
        Ok(Box::new(Open { files: Arc::clone(&self.files), path: file.into() }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut files = self.files();
        let bytes = files.remove(from).ok_or(io::ErrorKind::NotFound)?;
        files.insert(to.into(), bytes);
        Ok(())
    }

    fn link(&self, file: &Path, second: &Path) -> io::Result<()> {
        let bytes = self.read(file)?;
        self.files().insert(second.into(), bytes);
        Ok(())
    }

    fn remove(&self, file: &Path) -> io::Result<()> {
        self.files().remove(file);
        Ok(())
    }

    fn remove_directory(&self, directory: &Path) -> io::Result<()> {
        self.files().retain(|path, _| !path.starts_with(directory));
        Ok(())
    }

    fn sync_directory(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }
}

#[derive(Debug)]
struct Open {
    files: Arc<Mutex<BTreeMap<PathBuf, Vec<u8>>>>,
    path: PathBuf,
}

impl Open {
    fn change(&self, change: impl FnOnce(&mut Vec<u8>)) -> io::Result<()> {
        let mut files = self.files.lock().expect("nobody panics with the files in hand");
        files.get_mut(&self.path).map(change).ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl File for Open {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.change(|file| file.extend_from_slice(bytes))
    }

    fn take_back(&mut self, len: u64) -> io::Result<()> {
        self.change(|file| file.truncate(len as usize))
    }

    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }
}
