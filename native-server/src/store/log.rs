//! Writing the log: one file at a time, appended to and synced, a new one when it has grown, old ones cut away.
//!
//! A file is only ever written by the process that made it. Rotation syncs a file before the next one is begun, so all
//! files but the last are whole.

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hyperspace_core::error::{Error, Result};
use hyperspace_core::types::{Lsn, SpaceId};

use super::files::{LOG, Unreplaced, log_file};
use super::frame::{Body, FILE_HEADER, Salt, encode_file_header, encode_frame};
use super::replay::Replayed;
use crate::disk::{Disk, File, failed};
use crate::mutation::{self, Mutation};

/// Bytes of a file whose records are all covered, from which on it is not kept for the records to come.
const WORTH_ENDING: u64 = 1 << 20;

/// The newest record of each space in a file.
pub(crate) type Holds = BTreeMap<SpaceId, Lsn>;

/// A record on its way into the log.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LogEntry<'a> {
    pub(crate) space: SpaceId,
    pub(crate) lsn: Lsn,
    pub(crate) record: &'a [u8],
}

/// A file that is complete.
#[derive(Debug)]
pub(crate) struct ClosedFile {
    pub(crate) number: u64,
    pub(crate) len: u64,
    pub(crate) holds: Holds,
}

#[derive(Debug)]
struct OpenFile {
    number: u64,
    salt: Salt,
    path: PathBuf,
    file: Box<dyn File>,
    len: u64,
    holds: Holds,
}

/// The log of a database.
#[derive(Debug)]
pub(crate) struct Log {
    disk: Arc<dyn Disk>,
    database: u64,
    older: VecDeque<ClosedFile>,
    current: OpenFile,
    /// A file was removed, and may be back after a crash.
    is_removal_pending: bool,
    next_seq: u64,
    durable: u64,
    file_bytes: u64,
    /// Why nothing may be appended any more: what is on the device is not known.
    broken: Option<Error>,
    syncs: u64,
    records: u64,
}

impl Log {
    /// Goes on behind what was replayed, in a new file.
    pub(crate) fn start(disk: Arc<dyn Disk>, database: u64, replayed: Replayed, file_bytes: u64) -> Result<Self> {
        let current =
            begin(&*disk, database, replayed.next_number, replayed.next_seq).map_err(|failure| failure.error)?;
        Ok(Self {
            disk,
            database,
            older: replayed.files.into(),
            current,
            is_removal_pending: false,
            next_seq: replayed.next_seq,
            durable: replayed.next_seq - 1,
            file_bytes,
            broken: None,
            syncs: 0,
            records: 0,
        })
    }

    /// Appends records, all or none. They survive the process from here on, and the machine after [`Log::sync`].
    ///
    /// # Errors
    /// `LimitExceeded` when the disk is full; nothing was appended then. After `Unavailable` the log may be broken.
    pub(crate) fn append(&mut self, entries: &[LogEntry<'_>]) -> Result<()> {
        self.check()?;
        if self.current.len >= self.file_bytes {
            self.rotate()?;
        }
        let mut bytes = Vec::with_capacity(entries.iter().map(|e| e.record.len() + 64).sum());
        for (seq, entry) in (self.next_seq..).zip(entries) {
            encode_frame(&mut bytes, self.current.salt, seq, self.durable, Body::Record(entry.space, entry.record));
        }
        self.write(&bytes)?;
        self.next_seq += entries.len() as u64;
        self.records += entries.len() as u64;
        self.current.holds.extend(entries.iter().map(|entry| (entry.space, entry.lsn)));
        Ok(())
    }

    /// Makes everything appended so far durable.
    ///
    /// # Errors
    /// `Unavailable`, and the log is broken: after a failed sync the system may have dropped the bytes and call the file
    /// clean, so that a second try would succeed and prove nothing (Rebello et al., ATC 2020).
    pub(crate) fn sync(&mut self) -> Result<()> {
        self.check()?;
        if self.durable + 1 == self.next_seq {
            return Ok(());
        }
        if let Err(error) = mutation::unless(Mutation::NoLogSync, || self.current.file.sync()) {
            let error = failed("syncing", &self.current.path, error);
            return Err(if mutation::is(Mutation::RetryFailedSync) { error } else { self.break_off(&error) });
        }
        self.syncs += 1;
        self.durable = self.next_seq - 1;
        Ok(())
    }

    /// Ends the present file, unless it is empty, and begins the next one. All earlier files are durable and never change
    /// again.
    pub(crate) fn rotate(&mut self) -> Result<()> {
        mutation::unless(Mutation::NoSyncAtRotation, || self.sync())?;
        if self.current.len == FILE_HEADER as u64 {
            return Ok(());
        }
        let next = begin(&*self.disk, self.database, self.current.number + 1, self.next_seq);
        let next =
            next.map_err(|Unreplaced { error, doubtful }| if doubtful { self.break_off(&error) } else { error })?;
        let OpenFile { number, len, holds, .. } = std::mem::replace(&mut self.current, next);
        self.older.push_back(ClosedFile { number, len, holds });
        Ok(())
    }

    /// Removes the files from the front whose records are all covered: `covered` says up to where a space is sealed, or
    /// nothing when the space does not exist any more. The file that is written to is ended first when that pays.
    pub(crate) fn cut(&mut self, covered: impl Fn(SpaceId) -> Option<Lsn>) -> Result<()> {
        let is_spent =
            |holds: &Holds| holds.iter().all(|(&space, &newest)| covered(space).is_none_or(|sealed| sealed >= newest));
        // Removed first: on a full disk there is no room for another file before.
        self.remove_spent(is_spent)?;
        if self.older.is_empty() && self.current.len >= WORTH_ENDING && is_spent(&self.current.holds) {
            self.rotate()?;
            self.remove_spent(is_spent)?;
        }
        Ok(())
    }

    fn remove_spent(&mut self, is_spent: impl Fn(&Holds) -> bool) -> Result<()> {
        while let Some(front) = self.older.front().filter(|front| is_spent(&front.holds)) {
            let path = log_file(front.number);
            // One by one: after a crash a later file must not be missing while an earlier one is there.
            self.sync_removal()?;
            self.disk.remove(&path).map_err(|error| failed("removing", &path, error))?;
            self.older.pop_front();
            self.is_removal_pending = true;
        }
        self.sync_removal()
    }

    /// Makes the removal of the newest file that went durable.
    fn sync_removal(&mut self) -> Result<()> {
        if self.is_removal_pending {
            let log = Path::new(LOG);
            let synced = mutation::unless(Mutation::RemoveLogAtOnce, || self.disk.sync_directory(log));
            synced.map_err(|error| failed("syncing", log, error))?;
            self.is_removal_pending = false;
        }
        Ok(())
    }

    /// The spaces whose records keep the oldest file from being cut.
    pub(crate) fn oldest_holds(&self) -> impl Iterator<Item = (SpaceId, Lsn)> {
        let oldest = self.older.front().map_or(&self.current.holds, |file| &file.holds);
        oldest.iter().map(|(&space, &lsn)| (space, lsn))
    }

    /// Syncs, and notes that the log was closed in order: whatever cannot be read before that note is damage.
    pub(crate) fn close(&mut self) -> Result<()> {
        self.sync()?;
        let mut bytes = Vec::new();
        encode_frame(&mut bytes, self.current.salt, self.next_seq, self.durable, Body::End);
        self.write(&bytes)?;
        self.next_seq += 1;
        self.sync()
    }

    /// Bytes of all files.
    pub(crate) fn bytes(&self) -> u64 {
        self.older.iter().map(|file| file.len).sum::<u64>() + self.current.len
    }

    /// Files there are.
    pub(crate) fn files(&self) -> usize {
        self.older.len() + 1
    }

    /// The numbers of the files that will never change.
    pub(crate) fn closed_files(&self) -> impl Iterator<Item = u64> {
        self.older.iter().map(|file| file.number)
    }

    /// How often the log was synced, and how many records were appended.
    pub(crate) const fn counts(&self) -> (u64, u64) {
        (self.syncs, self.records)
    }

    /// Why nothing can be appended any more.
    pub(crate) const fn broken(&self) -> Option<&Error> {
        self.broken.as_ref()
    }

    fn check(&self) -> Result<()> {
        self.broken.clone().map_or(Ok(()), Err)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let Err(error) = self.current.file.append(bytes) else {
            self.current.len += bytes.len() as u64;
            return Ok(());
        };
        let error = failed("appending to", &self.current.path, error);
        // Synced as well: a power loss must not bring back what is answered with "nothing was written".
        let file = &mut self.current.file;
        let taken_back = file.take_back(self.current.len);
        let is_gone = taken_back.and_then(|()| mutation::unless(Mutation::NoSyncOfTakenBack, || file.sync())).is_ok();
        Err(if is_gone { error } else { self.break_off(&error) })
    }

    fn break_off(&mut self, error: &Error) -> Error {
        let why = Error::unavailable(format!("the log is broken, nothing more is written to it: {}", error.message()));
        self.broken = Some(why.clone());
        why
    }
}

/// Begins a file. When that fails and it may still be found, no record must go into the file before it: the two would
/// not agree about where they meet.
fn begin(disk: &dyn Disk, database: u64, number: u64, first_seq: u64) -> std::result::Result<OpenFile, Unreplaced> {
    let path = log_file(number);
    let header = encode_file_header(database, first_seq);
    let begun = disk.create(&path).and_then(|mut file| {
        file.append(&header)?;
        mutation::unless(Mutation::NoHeaderSync, || file.sync())?;
        mutation::unless(Mutation::NoLogDirectorySync, || disk.sync_directory(Path::new(LOG)))?;
        Ok(file)
    });
    match begun {
        Ok(file) => Ok(OpenFile {
            number,
            salt: Salt::of(database, number),
            path,
            file,
            len: header.len() as u64,
            holds: Holds::new(),
        }),
        Err(error) => {
            let removed = disk.remove(&path).and_then(|()| disk.sync_directory(Path::new(LOG)));
            Err(Unreplaced { error: failed("beginning", &path, error), doubtful: removed.is_err() })
        }
    }
}
