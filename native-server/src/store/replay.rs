//! Reading the log back, and telling a torn tail from damage.
//!
//! What a crash leaves behind the last durable frame is a tail of any shape: cut short, full of zeros, with later pages
//! but not earlier ones. It was never acknowledged and is cut off. A frame that cannot be read although it was durable is
//! damage: it is reported with file and offset, nothing is cut, and what can be read behind it still is.

use std::collections::HashMap;
use std::path::Path;

use hyperspace_core::bytes::Reader;
use hyperspace_core::error::{Error, ErrorKind, Result};
use hyperspace_core::types::{Lsn, SpaceId};

use super::files::{LOG, log_file, log_number, replace};
use super::frame::{Body, FILE_HEADER, Frame, Salt, decode_file_header, decode_frame};
use super::log::{ClosedFile, Holds};
use crate::disk::{Disk, failed};

/// The records of one space in one file, in order.
pub(crate) type Records<'a> = HashMap<SpaceId, Vec<&'a [u8]>>;

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
    let listed = disk.list(Path::new(LOG)).map_err(|error| failed("listing", Path::new(LOG), error))?;
    let mut numbers: Vec<u64> = listed.iter().filter_map(|entry| log_number(&entry.name)).collect();
    numbers.sort_unstable();
    let mut replayed = Replayed {
        files: Vec::new(),
        next_seq: 1,
        next_number: numbers.last().map_or(1, |last| last + 1),
        obstacle: None,
    };
    for (at, &number) in numbers.iter().enumerate() {
        let path = log_file(number);
        let bytes = disk.read(&path).map_err(|error| failed("reading", &path, error))?;
        let mut reading = FileReading {
            bytes: &bytes,
            salt: Salt::of(database, number),
            is_last: at + 1 == numbers.len(),
            records: Records::new(),
            holds: Holds::new(),
        };
        let expected = (at > 0).then_some(replayed.next_seq);
        let tail = reading.run(database, expected, &mut replayed).map_err(|e| in_file(&path, &e))?;
        if let Some(Tail { at: whole, damage }) = tail {
            match damage {
                Some(error) => replayed.obstacle = replayed.obstacle.take().or_else(|| Some(in_file(&path, &error))),
                None if whole < FILE_HEADER && replayed.obstacle.is_none() => {
                    // Never got as far as its first frame. Were it back behind a later file, it would look like damage.
                    let removed = disk.remove(&path).and_then(|()| disk.sync_directory(Path::new(LOG)));
                    removed.map_err(|error| failed("removing", &path, error))?;
                    continue;
                }
                None => reading.bytes = &bytes[..whole],
            }
        }
        if reading.is_last && replayed.obstacle.is_none() {
            // Whoever wrote it may have died, or failed to sync it, its closing note too. What was read may be in the
            // system's memory only, in pages that it calls clean and never writes: so it goes into a new file.
            match replace(disk, &path, reading.bytes).map_err(|failure| failure.error) {
                Err(error) if error.kind() == ErrorKind::LimitExceeded => replayed.obstacle = Some(error),
                outcome => outcome?,
            }
        }
        let len = reading.bytes.len() as u64;
        apply(&reading.records);
        replayed.files.push(ClosedFile { number, len, holds: reading.holds });
    }
    Ok(replayed)
}

fn in_file(path: &Path, error: &Error) -> Error {
    Error::new(error.kind(), format!("log file {}: {}", path.display(), error.message()))
}

/// Where reading in order stopped, and whether something durable is missing there.
struct Tail {
    at: usize,
    damage: Option<Error>,
}

struct FileReading<'a> {
    bytes: &'a [u8],
    salt: Salt,
    is_last: bool,
    records: Records<'a>,
    holds: Holds,
}

impl<'a> FileReading<'a> {
    /// Reads the file; says where the first frame is that cannot be read.
    fn run(&mut self, database: u64, expected: Option<u64>, replayed: &mut Replayed) -> Result<Option<Tail>> {
        let mut first_tail = None;
        match decode_file_header(self.bytes) {
            Ok((owner, _)) if owner != database => {
                return Err(Error::corrupted(format!("it is of database {owner:016x}, this one is {database:016x}")));
            }
            Ok((_, first)) => {
                if let Some(expected) = expected.filter(|&expected| expected != first) {
                    let error = Error::corrupted(format!("it begins with frame {first}, {expected} is missing"));
                    first_tail = Some(Tail { at: FILE_HEADER, damage: Some(error) });
                }
                replayed.next_seq = first;
            }
            Err(error) if error.kind() == ErrorKind::Unsupported => return Err(error),
            Err(error) => first_tail = Some(self.tail(0, replayed.next_seq, &error)),
        }
        let mut at = if first_tail.as_ref().is_some_and(|tail| tail.at < FILE_HEADER) { 0 } else { FILE_HEADER };
        while at < self.bytes.len() {
            match decode_frame(&self.bytes[at..], self.salt) {
                Ok(frame) if at > 0 && frame.seq == replayed.next_seq => {
                    at += self.take(frame, replayed)?;
                }
                // Whole and right, and of a later version: cutting it off would lose it.
                Err(error) if error.kind() == ErrorKind::Unsupported => return Err(error),
                unread => {
                    let error = unread.err().unwrap_or_else(|| Error::corrupted("a frame out of order"));
                    let tail = self.tail(at, replayed.next_seq, &error);
                    let is_damage = tail.damage.is_some();
                    first_tail.get_or_insert(tail);
                    let Some(next) = is_damage.then(|| self.later(at, replayed.next_seq)).flatten() else { break };
                    at = next.0 + self.take(next.1, replayed)?;
                }
            }
        }
        Ok(first_tail)
    }

    fn take(&mut self, frame: Frame<'a>, replayed: &mut Replayed) -> Result<usize> {
        if let Body::Record(space, record) = frame.body {
            self.holds.insert(space, lsn_of(record)?);
            self.records.entry(space).or_default().push(record);
        }
        replayed.next_seq = frame.seq + 1;
        Ok(frame.len)
    }

    /// Judges what cannot be read at `at`, where frame `expected` should be.
    fn tail(&self, at: usize, expected: u64, error: &Error) -> Tail {
        let knew = |from: usize| self.frames_behind(from, expected).any(|(_, frame)| frame.durable >= expected);
        // The header is synced before any frame is written, so what stands behind a bad one was there.
        let lost_its_header = at < FILE_HEADER && self.bytes.len() > FILE_HEADER;
        let was_durable = !self.is_last || lost_its_header || knew(at);
        let damage = was_durable.then(|| {
            Error::corrupted(format!(
                "frame {expected} at offset {at} was written and cannot be read: {}",
                error.message()
            ))
        });
        Tail { at, damage }
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

/// The number of a record as the engine encoded it: behind its length and checksum.
fn lsn_of(record: &[u8]) -> Result<Lsn> {
    let mut reader = Reader::new(record);
    reader.bytes(8, "a record's prefix")?;
    Ok(Lsn(reader.u64("a record's number")?))
}
