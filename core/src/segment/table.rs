//! The frame of a sealed segment: header and section table.
//!
//! ```text
//! 0   magic u64 "HSEGMENT" | version u32 | table len u32 | file len u64 | table crc32c u32 | header crc32c u32 | 0...
//! 64  section table (rkyv)
//! ..  sections, each at a multiple of 64, each with its checksum in the table
//! ```
//! The header's checksum covers the bytes before it. Lengths are re-derived from the counts in the table and compared.

use alloc::format;
use alloc::vec::Vec;
use core::ops::Range;

use rkyv::rancor::Failure;
use rkyv::{Archive, Deserialize, Serialize};

use crate::bytes::{ALIGNMENT, AlignedBytes, Reader, align_up, crc32c};
use crate::error::{Error, Result};

pub(super) const MAGIC: u64 = u64::from_le_bytes(*b"HSEGMENT");
/// The only version so far.
pub(super) const VERSION: u32 = 1;
pub(super) const HEADER: usize = ALIGNMENT;
pub(super) const CHECKED: usize = 28;

/// What the bytes of a section are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u16)]
pub(super) enum Kind {
    /// f32, dimension a row.
    Vectors = 1,
    /// f32 a row: the metric's term.
    Terms = 2,
    /// 16 bytes a row, sorted.
    Keys = 3,
    /// u32 a row: the offset of each key.
    KeyOffsets = 4,
    /// u32 a row: where its id ends.
    IdEnds = 5,
    /// Canonical ids.
    Ids = 6,
    /// 24 bytes a row.
    Stamps = 7,
    /// u64 a row: the server's numbers; absent while all are 0.
    Seqs = 8,
    /// u32 a row: where its metadata ends.
    MetadataEnds = 9,
    /// Encoded metadata.
    Metadata = 10,
    /// u8 a row.
    Levels = 11,
    /// u32, `m0` a row.
    Links0 = 12,
    /// u32 a row.
    UpperAt = 13,
    /// u32, `m` a level above 0 of a row.
    Upper = 14,
    /// 56 bytes a tombstone, sorted by key.
    Tombstones = 15,
    /// Canonical ids of the tombstones.
    TombstoneIds = 16,
    /// i8, dimension a row: its codes; absent where the graph is over full rows.
    Codes = 17,
    /// f32, as many a row as the metric has: the numbers beside its codes.
    CodeFactors = 18,
}

/// Numbers and sections of a segment.
#[derive(Archive, Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(super) struct Table {
    pub(super) metric: u8,
    pub(super) dimension: u32,
    pub(super) points: u32,
    pub(super) tombstones: u32,
    pub(super) m: u32,
    pub(super) m0: u32,
    pub(super) ef_construction: u32,
    pub(super) seed: u64,
    pub(super) entry: u32,
    pub(super) top: u8,
    pub(super) newest_hlc: u64,
    pub(super) sections: Vec<Section>,
}

/// Where a section is.
#[derive(Archive, Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(super) struct Section {
    pub(super) kind: u16,
    pub(super) crc: u32,
    pub(super) at: u64,
    pub(super) len: u64,
}

impl Table {
    /// The range of a section; empty when the segment has none of that kind.
    pub(super) fn range(&self, kind: Kind) -> Range<usize> {
        let section = self.sections.iter().find(|s| s.kind == kind as u16);
        section.map_or(0..0, |s| s.at as usize..(s.at + s.len) as usize)
    }

    /// Compares the checksum of every section.
    pub(super) fn check_sections(&self, bytes: &[u8]) -> Result<()> {
        for section in &self.sections {
            let range = section.at as usize..(section.at + section.len) as usize;
            let found = crc32c(&bytes[range.clone()]);
            if found != section.crc {
                return Err(Error::corrupted(format!(
                    "section {} at {range:?} has checksum {found:08x}, the table says {:08x}",
                    section.kind, section.crc
                )));
            }
        }
        Ok(())
    }
}

/// Lays the sections out behind a header and a table.
pub(super) fn assemble(mut table: Table, sections: &[(Kind, &[u8])]) -> Result<AlignedBytes> {
    table.sections = sections
        .iter()
        .filter(|(_, bytes)| !bytes.is_empty())
        .map(|(kind, bytes)| Section { kind: *kind as u16, crc: crc32c(bytes), at: 0, len: bytes.len() as u64 })
        .collect();
    // The table's length does not depend on the places in it: lay out once to know it, then again with the places.
    let mut at = HEADER + archive(&table)?.len();
    for section in &mut table.sections {
        at = align_up(at);
        section.at = at as u64;
        at += section.len as usize;
    }
    let archived = archive(&table)?;
    let mut out = AlignedBytes::zeroed(align_up(at));
    let bytes = out.as_mut();
    let file_len = bytes.len() as u64;
    bytes[..8].copy_from_slice(&MAGIC.to_le_bytes());
    bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
    bytes[12..16].copy_from_slice(&(archived.len() as u32).to_le_bytes());
    bytes[16..24].copy_from_slice(&file_len.to_le_bytes());
    bytes[24..28].copy_from_slice(&crc32c(&archived).to_le_bytes());
    let crc = crc32c(&bytes[..CHECKED]);
    bytes[CHECKED..32].copy_from_slice(&crc.to_le_bytes());
    bytes[HEADER..HEADER + archived.len()].copy_from_slice(&archived);
    let kept = sections.iter().filter(|(_, bytes)| !bytes.is_empty());
    for (section, (_, from)) in table.sections.iter().zip(kept) {
        bytes[section.at as usize..][..from.len()].copy_from_slice(from);
    }
    Ok(out)
}

/// Reads header and table and checks that every section lies where it may.
pub(super) fn read(bytes: &[u8]) -> Result<Table> {
    let header = bytes.get(..HEADER).ok_or_else(|| {
        Error::corrupted(format!("a segment has a header of {HEADER} bytes, this one {}", bytes.len()))
    })?;
    let mut reader = Reader::new(header);
    if reader.u64("magic")? != MAGIC {
        return Err(Error::corrupted("these bytes are no sealed segment"));
    }
    let version = reader.u32("version")?;
    let table_len = reader.u32("table length")? as usize;
    let file_len = reader.u64("file length")?;
    let table_crc = reader.u32("table checksum")?;
    if reader.u32("header checksum")? != crc32c(&header[..CHECKED]) {
        return Err(Error::corrupted("a segment's header does not match its checksum"));
    }
    if version != VERSION {
        return Err(Error::unsupported(format!("segment version {version}; this build reads {VERSION}")));
    }
    if file_len != bytes.len() as u64 {
        return Err(Error::corrupted(format!("a segment of {file_len} bytes has {}", bytes.len())));
    }
    let archived = bytes
        .get(HEADER..HEADER.saturating_add(table_len))
        .ok_or_else(|| Error::corrupted(format!("a section table of {table_len} bytes does not fit its segment")))?;
    if crc32c(archived) != table_crc {
        return Err(Error::corrupted("a section table does not match its checksum"));
    }
    let table = unarchive(archived)?;
    let mut end = HEADER + table_len;
    let mut last_kind = 0;
    for section in &table.sections {
        let fits = section.at as usize == align_up(end)
            && section.at.checked_add(section.len).is_some_and(|end| end <= file_len)
            && section.kind > last_kind;
        if !fits {
            return Err(Error::corrupted(format!(
                "section {} at {} of {} bytes is out of place",
                section.kind, section.at, section.len
            )));
        }
        end = (section.at + section.len) as usize;
        last_kind = section.kind;
    }
    if align_up(end) as u64 != file_len {
        return Err(Error::corrupted(format!("a segment's sections end at {end}, its bytes at {file_len}")));
    }
    Ok(table)
}

pub(super) fn archive(table: &Table) -> Result<rkyv::util::AlignedVec> {
    rkyv::to_bytes::<Failure>(table).map_err(|_| Error::internal("a section table could not be laid out"))
}

pub(super) fn unarchive(bytes: &[u8]) -> Result<Table> {
    let mut aligned = rkyv::util::AlignedVec::<16>::with_capacity(bytes.len());
    aligned.extend_from_slice(bytes);
    rkyv::from_bytes::<Table, Failure>(&aligned).map_err(|_| Error::corrupted("a section table is no valid archive"))
}
