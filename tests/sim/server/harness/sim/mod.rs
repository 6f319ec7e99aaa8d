//! A disk in memory that keeps a trace of all that is done to it, and fails, waits or lies when it is told to.
//!
//! The host runs on it unchanged. From the trace a test learns in which order things became durable, and rebuilds what
//! a crash at any moment may have left.

mod tree;

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use hyperspace_core::bytes::AlignedBytes;
use hyperspace_core::segment::SegmentBytes;
use hyperspace_server::disk::{Disk, Entry, File};

pub(crate) use tree::{Crash, Inode, Tree};

/// Something that was done, in the order in which it was.
#[derive(Clone, Debug, Hash)]
pub(crate) enum Event {
    MakeDirectory(PathBuf),
    /// A new file, or one of that name emptied.
    Create(PathBuf, Inode),
    Append(Inode, Arc<[u8]>),
    Cut(Inode, u64),
    Sync(Inode),
    FailedSync(Inode),
    Rename(PathBuf, PathBuf),
    Link(PathBuf, PathBuf),
    Remove(PathBuf),
    RemoveDirectory(PathBuf),
    SyncDirectory(PathBuf),
    /// What the test saw at this moment.
    Note(Note),
}

/// Remarks of a test between what the host did.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Note {
    /// The database was opened: all that was answered before lasts from here on.
    Opened,
    /// A lane began one of its steps.
    Started { lane: usize, step: usize },
    /// The step was answered; whether it was to survive a loss of power.
    Acknowledged { lane: usize, step: usize, strict: bool },
    /// A snapshot was asked for.
    SnapshotBegun,
    /// It was answered, and is in this directory.
    SnapshotDone(PathBuf),
    /// The write that has this text among its bytes was answered.
    Answered(String),
}

/// What can fail or be made to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    MakeDirectory,
    Create,
    Append,
    TakeBack,
    Sync,
    Rename,
    Link,
    Remove,
    SyncDirectory,
    Read,
    /// A read that gives half of the bytes and calls that all.
    ShortRead,
}

/// What takes space: everything that a full disk refuses.
pub(crate) const GROWS: &[Kind] = &[Kind::MakeDirectory, Kind::Create, Kind::Append, Kind::Link];

/// A failure to come.
#[derive(Clone, Debug)]
pub(crate) struct Fault {
    pub(crate) on: &'static [Kind],
    /// Only below this path.
    pub(crate) below: &'static str,
    /// How many such calls still succeed.
    pub(crate) after: usize,
    pub(crate) error: io::ErrorKind,
    /// Whether all later ones fail, too, until [`SimDisk::heal`].
    pub(crate) lasting: bool,
}

/// A sync that answers well and does nothing: what the tests of durability have to notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lie {
    FileSync,
    DirectorySync,
}

#[derive(Debug, Default)]
struct State {
    tree: Tree,
    trace: Vec<Event>,
    fault: Option<Fault>,
    failures: usize,
    lie: Option<Lie>,
    held: BTreeSet<(Kind, &'static str)>,
    waiting: usize,
    /// Calls that are still carried out before the machine stops.
    halts_in: Option<usize>,
    /// Bytes that still fit.
    room: Option<usize>,
    in_use: InUse,
}

/// What a host holds of a disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct InUse {
    /// Files open for writing.
    pub(crate) files: usize,
    /// Files that are mapped.
    pub(crate) maps: usize,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

/// The disk; clones are the same one.
#[derive(Clone, Debug, Default)]
pub(crate) struct SimDisk {
    shared: Arc<Shared>,
}

impl SimDisk {
    /// A disk that holds what a tree holds.
    pub(crate) fn with(tree: Tree) -> Self {
        let disk = Self::default();
        disk.state().tree = tree;
        disk
    }

    pub(crate) fn lying(lie: Lie) -> Self {
        let disk = Self::default();
        disk.state().lie = Some(lie);
        disk
    }

    /// As the database takes it.
    pub(crate) fn arc(&self) -> Arc<dyn Disk> {
        Arc::new(self.clone())
    }

    pub(crate) fn note(&self, note: Note) {
        self.state().trace.push(Event::Note(note));
    }

    pub(crate) fn trace(&self) -> Vec<Event> {
        self.state().trace.clone()
    }

    pub(crate) fn events(&self) -> usize {
        self.state().trace.len()
    }

    /// What is there now.
    pub(crate) fn tree(&self) -> Tree {
        self.state().tree.clone()
    }

    pub(crate) fn fail(&self, fault: Fault) {
        self.state().fault = Some(fault);
    }

    /// Ends the failures; says how many calls have failed so far.
    pub(crate) fn heal(&self) -> usize {
        let mut state = self.state();
        (state.fault, state.room, state.halts_in) = (None, None, None);
        state.failures
    }

    /// Whether a failure is still to come.
    pub(crate) fn is_armed(&self) -> bool {
        self.state().fault.is_some()
    }

    /// Lets so many more calls change something, then none: the machine stops in the midst of the next one.
    pub(crate) fn halt_after(&self, calls: usize) {
        self.state().halts_in = Some(calls);
    }

    /// Whether the machine has stopped. What its process still says, nobody hears.
    pub(crate) fn is_halted(&self) -> bool {
        self.state().halts_in == Some(0)
    }

    /// Lets so many more bytes be appended, until [`SimDisk::heal`]; the append that does not fit is done in part.
    pub(crate) fn fill_after(&self, bytes: usize) {
        self.state().room = Some(bytes);
    }

    /// How many calls have failed so far.
    pub(crate) fn failures(&self) -> usize {
        self.state().failures
    }

    /// What is open and mapped now.
    pub(crate) fn in_use(&self) -> InUse {
        self.state().in_use
    }

    /// Makes all calls of a kind below a path wait until [`SimDisk::release`].
    pub(crate) fn hold(&self, kind: Kind, below: &'static str) {
        self.state().held.insert((kind, below));
    }

    pub(crate) fn release(&self) {
        self.state().held.clear();
        self.shared.changed.notify_all();
    }

    /// Waits until so many calls wait for their release.
    pub(crate) fn until_waiting(&self, count: usize) {
        let state = self.state();
        drop(self.shared.changed.wait_while(state, |state| state.waiting < count).unwrap());
    }

    /// Changes the bytes of a file behind everybody's back.
    pub(crate) fn damage(&self, path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.state();
        let file = state.tree.find(path).unwrap_or_else(|| panic!("there is no {}", path.display()));
        let mut bytes = state.tree.bytes(file).to_vec();
        change(&mut bytes);
        for event in [Event::Cut(file, 0), Event::Append(file, bytes.into()), Event::Sync(file)] {
            state.act(event);
        }
    }

    /// All files below a directory, by path.
    pub(crate) fn files(&self, directory: &str) -> Vec<PathBuf> {
        fn walk(tree: &Tree, directory: &Path, found: &mut Vec<PathBuf>) {
            for (name, len) in tree.list(directory) {
                let path = directory.join(name);
                if len.is_some() { found.push(path) } else { walk(tree, &path, found) }
            }
        }
        let mut found = Vec::new();
        walk(&self.state().tree, Path::new(directory), &mut found);
        found
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap()
    }

    /// Waits and fails as told; what is done under the returned lock is done at once.
    fn enter(&self, kind: Kind, path: &Path) -> (MutexGuard<'_, State>, io::Result<()>) {
        let is_held = |state: &State| state.held.iter().any(|&(held, below)| held == kind && path.starts_with(below));
        let mut state = self.state();
        if is_held(&state) {
            state.waiting += 1;
            self.shared.changed.notify_all();
            state = self.shared.changed.wait_while(state, |state| is_held(state)).unwrap();
            state.waiting -= 1;
        }
        let outcome = state.fate(kind, path);
        (state, outcome)
    }

    /// Does something with what is at a path.
    fn change(&self, kind: Kind, path: &Path, event: Event) -> io::Result<()> {
        let (mut state, fate) = self.enter(kind, path);
        fate?;
        if state.tree.find(path).is_none() {
            return Err(io::ErrorKind::NotFound.into());
        }
        state.act(event);
        Ok(())
    }

    fn reading(&self, path: &Path) -> io::Result<Vec<u8>> {
        let (mut state, fate) = self.enter(Kind::Read, path);
        fate?;
        let file = state.tree.find(path).ok_or(io::ErrorKind::NotFound)?;
        let is_short = state.fate(Kind::ShortRead, path).is_err();
        let bytes = state.tree.bytes(file);
        Ok(if is_short { &bytes[..bytes.len() / 2] } else { bytes }.to_vec())
    }
}

impl State {
    fn act(&mut self, event: Event) {
        let is_skipped = match event {
            Event::Sync(_) => self.lie == Some(Lie::FileSync),
            Event::SyncDirectory(_) => self.lie == Some(Lie::DirectorySync),
            _ => false,
        };
        let is_halted = self.halts_in == Some(0);
        if !is_skipped && !is_halted {
            self.tree.replay(&event);
            self.trace.push(event);
        }
    }

    fn fate(&mut self, kind: Kind, path: &Path) -> io::Result<()> {
        if !matches!(kind, Kind::Read | Kind::ShortRead)
            && let Some(left) = &mut self.halts_in
        {
            *left = left.saturating_sub(1);
            if *left == 0 {
                return Err(io::Error::other("the machine has stopped"));
            }
        }
        let of_it = |fault: &&mut Fault| fault.on.contains(&kind) && path.starts_with(fault.below);
        let Some(fault) = self.fault.as_mut().filter(of_it) else { return Ok(()) };
        if fault.after > 0 {
            fault.after -= 1;
            return Ok(());
        }
        let error = fault.error;
        if !fault.lasting {
            self.fault = None;
        }
        self.failures += 1;
        Err(error.into())
    }
}

impl Disk for SimDisk {
    fn location(&self, path: &Path) -> PathBuf {
        path.to_path_buf()
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<Entry>> {
        let (state, fate) = self.enter(Kind::Read, directory);
        fate?;
        let entry =
            |(name, len): (String, Option<u64>)| Entry { name, is_directory: len.is_none(), len: len.unwrap_or(0) };
        Ok(state.tree.list(directory).into_iter().map(entry).collect())
    }

    fn create_directory(&self, directory: &Path) -> io::Result<()> {
        if let Some(parent) = directory.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            self.create_directory(parent)?;
        }
        let (mut state, fate) = self.enter(Kind::MakeDirectory, directory);
        if state.tree.find(directory).is_none() {
            fate?;
            state.act(Event::MakeDirectory(directory.to_path_buf()));
        }
        Ok(())
    }

    fn read(&self, file: &Path) -> io::Result<Vec<u8>> {
        self.reading(file)
    }

    fn map(&self, file: &Path) -> io::Result<SegmentBytes> {
        let bytes = AlignedBytes::copy_of(&self.reading(file)?);
        self.state().in_use.maps += 1;
        Ok(Arc::new(SimMap { disk: self.clone(), bytes }))
    }

    fn create(&self, file: &Path) -> io::Result<Box<dyn File>> {
        let (mut state, fate) = self.enter(Kind::Create, file);
        fate?;
        let parent = file.parent().unwrap_or(Path::new(""));
        state.tree.find(parent).ok_or(io::ErrorKind::NotFound)?;
        let inode = state.tree.find(file).unwrap_or(state.tree.next_node());
        state.act(Event::Create(file.to_path_buf(), inode));
        state.in_use.files += 1;
        Ok(Box::new(SimFile { disk: self.clone(), path: file.to_path_buf(), inode }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.change(Kind::Rename, from, Event::Rename(from.to_path_buf(), to.to_path_buf()))
    }

    fn link(&self, file: &Path, second: &Path) -> io::Result<()> {
        self.change(Kind::Link, file, Event::Link(file.to_path_buf(), second.to_path_buf()))
    }

    fn remove(&self, file: &Path) -> io::Result<()> {
        unless_missing(self.change(Kind::Remove, file, Event::Remove(file.to_path_buf())))
    }

    fn remove_directory(&self, directory: &Path) -> io::Result<()> {
        unless_missing(self.change(Kind::Remove, directory, Event::RemoveDirectory(directory.to_path_buf())))
    }

    fn sync_directory(&self, directory: &Path) -> io::Result<()> {
        self.change(Kind::SyncDirectory, directory, Event::SyncDirectory(directory.to_path_buf()))
    }
}

fn unless_missing(outcome: io::Result<()>) -> io::Result<()> {
    outcome.or_else(|error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) })
}

/// Bytes of a file that count as mapped until they are dropped.
#[derive(Debug)]
struct SimMap {
    disk: SimDisk,
    bytes: AlignedBytes,
}

impl AsRef<[u8]> for SimMap {
    fn as_ref(&self) -> &[u8] {
        self.bytes.as_ref()
    }
}

impl Drop for SimMap {
    fn drop(&mut self) {
        self.disk.state().in_use.maps -= 1;
    }
}

#[derive(Debug)]
struct SimFile {
    disk: SimDisk,
    path: PathBuf,
    inode: Inode,
}

impl File for SimFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let (mut state, fate) = self.disk.enter(Kind::Append, &self.path);
        let fits = state.room.filter(|&room| room < bytes.len());
        let fate = fate.and(fits.map_or(Ok(()), |_| Err(io::ErrorKind::StorageFull.into())));
        // What fails half-way has written a part.
        let written = if fate.is_ok() { bytes } else { &bytes[..fits.unwrap_or(bytes.len() / 2)] };
        if let Some(room) = &mut state.room {
            *room -= written.len();
            state.failures += usize::from(fits.is_some());
        }
        state.act(Event::Append(self.inode, written.into()));
        fate
    }

    fn take_back(&mut self, len: u64) -> io::Result<()> {
        let (mut state, fate) = self.disk.enter(Kind::TakeBack, &self.path);
        fate?;
        state.act(Event::Cut(self.inode, len));
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        let (mut state, fate) = self.disk.enter(Kind::Sync, &self.path);
        state.act(if fate.is_ok() { Event::Sync(self.inode) } else { Event::FailedSync(self.inode) });
        fate
    }
}

impl Drop for SimFile {
    fn drop(&mut self) {
        self.disk.state().in_use.files -= 1;
    }
}
