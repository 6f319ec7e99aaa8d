//! Reading the log back, and telling a torn tail from damage.
//!
//! What a crash leaves behind the last durable frame is a tail of any shape: cut short, full of zeros, with later pages
//! but not earlier ones. It was never acknowledged and is cut off. A frame that cannot be read although it was durable is
//! damage: it is reported with file and offset, nothing is cut, and what can be read behind it still is.
//!
//! [`LogFile`] only reads; [`replay`] also cuts and writes anew what a process that died has left.

use std::collections::BTreeMap;
use std::path::Path;

use hyperspace_core::bytes::checked_counter;
use hyperspace_core::error::{Error, ErrorKind, Result};
use hyperspace_core::log::Record;
use hyperspace_core::types::SpaceId;

use super::files::{LOG, log_file, log_number, replace};
use super::frame::{Body, FILE_HEADER, Frame, Salt, decode_file_header, decode_frame};
use super::log::{ClosedFile, Holds};
use crate::disk::{Disk, failed};
use crate::mutation::{self, Mutation};

/// The records of one space in one file, in order.
pub(crate) type Records<'a> = BTreeMap<SpaceId, Vec<&'a [u8]>>;

/// What was found.
#[derive(Debug)]
pub(crate) struct Replayed {
    /// The files that are there.
    pub(crate) files: Vec<ClosedFile>,
    /// The number of the next frame.
    pub(crate) next_seq: u64,
    /// The number of the next file.
    pub(crate) next_number: u64,
    /// Why the log cannot be gone on with: an acknowledged frame cannot be read, or the disk has no room.
    pub(crate) obstacle: Option<Error>,
}

/// Reads all files, hands their records on file by file, and cuts a torn tail off.
///
/// # Errors
/// What the disk says; `Corrupted` when a file is of another database; `Unsupported` for a later version.
pub(crate) fn replay(disk: &dyn Disk, database: u64, mut apply: impl FnMut(&Records<'_>)) -> Result<Replayed> {
    let listed = list_files(disk)?;
    let newest = listed.keys().next_back().copied();
    let next_number = checked_counter(newest.unwrap_or(0), "the number of the newest log file")? + 1;
    let mut replayed = Replayed { files: Vec::new(), next_seq: 1, next_number, obstacle: None };
    let mut expected = None;
    for (&number, &len) in &listed {
        let path = log_file(number);
        let bytes = read_file(disk, number, len)?;
        let is_last = newest == Some(number);
        let (mut records, mut holds) = (Records::new(), Holds::new());
        let reading = LogFile::new(database, number, &bytes, is_last);
        let gaps = reading.read(expected, &mut replayed.next_seq, |_, frame| {
            if let Body::Record(space, record) = frame.body {
                holds.insert(space, Record::number(record)?);
                records.entry(space).or_default().push(record);
            }
            Ok(())
        });
        expected = Some(replayed.next_seq);
        let mut kept = &bytes[..];
        if let Some(Gap { at, damage }) = gaps.map_err(|e| in_file(&path, &e))?.into_iter().next() {
            match damage {
                Some(error) => replayed.obstacle = replayed.obstacle.take().or_else(|| Some(in_file(&path, &error))),
                None if at < FILE_HEADER && replayed.obstacle.is_none() => {
                    // Never got as far as its first frame. Were it back behind a later file, it would look like damage.
                    let removed = disk.remove(&path).and_then(|()| disk.sync_directory(Path::new(LOG)));
                    removed.map_err(|error| failed("removing", &path, error))?;
                    continue;
                }
                None => kept = &bytes[..at],
            }
        }
        if is_last && replayed.obstacle.is_none() && !mutation::is(Mutation::KeepLastLogFile) {
            // Whoever wrote it may have died, or failed to sync it, its closing note too. What was read may be in the
            // system's memory only, in pages that it calls clean and never writes: so it goes into a new file.
            match replace(disk, &path, kept).map_err(|failure| failure.error) {
                Err(error) if error.kind() == ErrorKind::LimitExceeded => replayed.obstacle = Some(error),
                outcome => outcome?,
            }
        }
        apply(&records);
        replayed.files.push(ClosedFile { number, len: kept.len() as u64, holds });
    }
    Ok(replayed)
}

/// The files that there are, by rising number, each with its length.
pub(crate) fn list_files(disk: &dyn Disk) -> Result<BTreeMap<u64, u64>> {
    let listed = disk.list(Path::new(LOG)).map_err(|error| failed("listing", Path::new(LOG), error))?;
    Ok(listed.iter().filter_map(|entry| Some((log_number(&entry.name)?, entry.len))).collect())
}

/// Reads a file of this length.
///
/// # Errors
/// What the disk says; `Unavailable` when it gives fewer bytes than the file has: taken for a torn tail, the rest of them
/// would be cut off.
pub(crate) fn read_file(disk: &dyn Disk, number: u64, len: u64) -> Result<Vec<u8>> {
    let path = log_file(number);
    let bytes = disk.read(&path).map_err(|error| failed("reading", &path, error))?;
    if bytes.len() as u64 == len {
        return Ok(bytes);
    }
    Err(Error::unavailable(format!("reading {}: {} bytes came of a file of {len}", path.display(), bytes.len())))
}

fn in_file(path: &Path, error: &Error) -> Error {
    Error::new(error.kind(), format!("log file {}: {}", path.display(), error.message()))
}

/// Where a frame should be that cannot be read.
#[derive(Debug)]
pub(crate) struct Gap {
    pub(crate) at: usize,
    /// That something durable is missing; nothing when a torn tail begins here.
    pub(crate) damage: Option<Error>,
}

/// The bytes of one file.
pub(crate) struct LogFile<'a> {
    database: u64,
    bytes: &'a [u8],
    salt: Salt,
    is_last: bool,
}

impl<'a> LogFile<'a> {
    pub(crate) fn new(database: u64, number: u64, bytes: &'a [u8], is_last: bool) -> Self {
        Self { database, bytes, salt: Salt::of(database, number), is_last }
    }

    /// Hands on every frame that can be read, with its offset; says where some cannot. `expected` is the number that it
    /// has to begin with, and `next_seq` goes on to the one behind it.
    ///
    /// # Errors
    /// `Corrupted` when it is of another database; `Unsupported` for a later version; those of `take`.
    pub(crate) fn read(
        &self,
        expected: Option<u64>,
        next_seq: &mut u64,
        mut take: impl FnMut(usize, Frame<'a>) -> Result<()>,
    ) -> Result<Vec<Gap>> {
        let mut gaps = Vec::new();
        let mut at = FILE_HEADER;
        match decode_file_header(self.bytes) {
            Ok((owner, _)) if owner != self.database => {
                let own = self.database;
                return Err(Error::corrupted(format!("it is of database {owner:016x}, this one is {own:016x}")));
            }
            Ok((_, first)) => {
                if let Some(expected) = expected.filter(|&expected| expected != first) {
                    let error = Error::corrupted(format!("it begins with frame {first}, {expected} is missing"));
                    gaps.push(Gap { at: FILE_HEADER, damage: Some(error) });
                }
                *next_seq = first;
            }
            Err(error) if error.kind() == ErrorKind::Unsupported => return Err(error),
            Err(error) => {
                gaps.push(self.gap(0, *next_seq, &error));
                at = 0;
            }
        }
        while at < self.bytes.len() {
            let frame = match decode_frame(&self.bytes[at..], self.salt) {
                Ok(frame) if at > 0 && frame.seq == *next_seq => frame,
                // Whole and right, and of a later version: cutting it off would lose it.
                Err(error) if error.kind() == ErrorKind::Unsupported => return Err(error),
                unread => {
                    let error = unread.err().unwrap_or_else(|| Error::corrupted("a frame out of order"));
                    let gap = self.gap(at, *next_seq, &error);
                    let next = gap.damage.is_some().then(|| self.later(at, *next_seq)).flatten();
                    // A bad header was told already.
                    if at > 0 {
                        gaps.push(gap);
                    }
                    let Some((later, frame)) = next else { break };
                    at = later;
                    frame
                }
            };
            take(at, frame)?;
            *next_seq = frame.seq + 1;
            at += frame.len;
        }
        Ok(gaps)
    }

    /// Judges what cannot be read at `at`, where frame `expected` should be.
    fn gap(&self, at: usize, expected: u64, error: &Error) -> Gap {
        let knew = |from: usize| self.frames_behind(from, expected).any(|(_, frame)| frame.durable >= expected);
        // The header is synced before any frame is written, so what stands behind a bad one was there.
        let lost_its_header = at < FILE_HEADER && self.bytes.len() > FILE_HEADER;
        let was_durable = !self.is_last || lost_its_header || knew(at);
        let damage = (was_durable && !mutation::is(Mutation::CutAtAnyDamage)).then(|| {
            Error::corrupted(format!(
                "frame {expected} at offset {at} was written and cannot be read: {}",
                error.message()
            ))
        });
        Gap { at, damage }
    }

    /// The first frame behind `at` that can be read and comes after `expected`.
    fn later(&self, at: usize, expected: u64) -> Option<(usize, Frame<'a>)> {
        self.frames_behind(at, expected).next()
    }

    /// All frames behind `at` that can be read, wherever they begin.
    fn frames_behind(&self, at: usize, expected: u64) -> impl Iterator<Item = (usize, Frame<'a>)> {
        let (bytes, salt) = (self.bytes, self.salt);
        (at + 1..bytes.len()).filter_map(move |at| {
            let frame = decode_frame(&bytes[at..], salt).ok()?;
            (frame.seq >= expected && frame.durable < frame.seq).then_some((at, frame))
        })
    }
}
