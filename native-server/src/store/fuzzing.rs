//! For fuzz targets only (feature `fuzzing`): the decoders of stored files, and what makes mutated files believable.

use hyperspace_core::error::{Error, Result};
use hyperspace_core::types::SpaceId;

use super::catalog::Catalog;
use super::files::log_file;
use super::frame::{FILE_HEADER, HEAD, Salt, UNCOVERED, encode_file_header};
use super::replay;
use super::standing::Standing;
use crate::auth::Stored;
use crate::disk::Disk;

/// Decodes a catalog, and encodes it again.
pub fn catalog(bytes: &[u8]) -> Result<Vec<u8>> {
    Catalog::decode(bytes).map(|catalog| catalog.encode())
}

/// Decodes a file of keys, and encodes it again.
pub fn keys(bytes: &[u8]) -> Result<Vec<u8>> {
    Stored::decode(bytes).map(|stored| stored.encode())
}

/// Decodes a standing, and encodes it again.
pub fn standing(bytes: &[u8]) -> Result<Vec<u8>> {
    Standing::decode(bytes).map(|standing| standing.encode())
}

/// What a replay gave.
#[derive(Debug, PartialEq)]
pub struct Replayed {
    /// The records in the order of their spaces, file by file.
    pub records: Vec<(SpaceId, Vec<u8>)>,
    /// The number of the next frame.
    pub next_seq: u64,
    /// Why the log cannot be gone on with.
    pub obstacle: Option<Error>,
}

/// Replays the log of a database.
pub fn replay(disk: &dyn Disk, database: u64) -> Result<Replayed> {
    let mut records = Vec::new();
    let replayed = replay::replay(disk, database, |found| {
        let from = records.len();
        records.extend(found.iter().flat_map(|(space, all)| all.iter().map(|record| (*space, record.to_vec()))));
        // By space only: records of one space stay in their order.
        records[from..].sort_by_key(|(space, _)| *space);
    })?;
    Ok(Replayed { records, next_seq: replayed.next_seq, obstacle: replayed.obstacle })
}

/// The path of a file of the log.
pub fn log_path(number: u64) -> std::path::PathBuf {
    log_file(number)
}

/// Makes the header and the frames of a file of the log believable, as far as their lengths lead.
pub fn vouch_for_log(bytes: &mut [u8], database: u64, number: u64) {
    let Some((header, mut frames)) = bytes.split_at_mut_checked(FILE_HEADER) else { return };
    let first = u64::from_le_bytes(*header.last_chunk().expect("a header ends with the first number"));
    header.copy_from_slice(&encode_file_header(database, first));
    let salt = Salt::of(database, number);
    while let Some((head, behind)) = frames.split_at_mut_checked(HEAD) {
        let len = u32::from_le_bytes([head[4], head[5], head[6], head[7]]) as usize;
        let Some((body, rest)) = behind.split_at_mut_checked(len) else { return };
        head[8..12].copy_from_slice(&salt.sum(body).to_le_bytes());
        let sum = salt.sum(&head[UNCOVERED..]);
        head[..UNCOVERED].copy_from_slice(&sum.to_le_bytes());
        frames = rest;
    }
}
