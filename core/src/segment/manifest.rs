//! What a collection consists of: its configuration, its live segments with their live bitmaps, and up to where the
//! log is sealed in them.
//!
//! `magic u32 "HSMF" | version u32 | crc32c u32 | len u32 | archive (rkyv)`. The manifest is small and replaced as a
//! whole; what it names is complete before it is written.

use alloc::format;
use alloc::vec::Vec;

use rkyv::rancor::Failure;
use rkyv::{Archive, Deserialize, Serialize};

use crate::bytes::{Reader, Writer, crc32c};
use crate::error::{Error, Result};

const MAGIC: u32 = u32::from_le_bytes(*b"HSMF");
const VERSION: u32 = 1;
const HEADER: usize = 16;

/// The manifest's archive: integers and lists of integers only.
#[derive(Archive, Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub struct Manifest {
    /// The collection's name in UTF-8.
    pub name: Vec<u8>,
    /// Components a vector.
    pub dimension: u32,
    /// The metric's code, see [`crate::metric::Metric`].
    pub metric: u8,
    /// The quantization's code, see [`crate::quant::Quantization`].
    pub quantization: u8,
    /// Links a node above level 0.
    pub m: u32,
    /// Candidates kept while building; 0 adapts to the data.
    pub ef_construction: u32,
    /// Candidates kept while searching; 0 adapts to the data.
    pub ef_search: u32,
    /// The seed of the levels.
    pub seed: u64,
    /// Log records up to this number have their effects in the segments and bitmaps.
    pub sealed_through: u64,
    /// What the collection was in replication at that number, encoded; empty when it never met another one.
    pub sync: Vec<u8>,
    /// The live segments, oldest first.
    pub segments: Vec<ManifestSegment>,
}

/// A live segment.
#[derive(Archive, Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub struct ManifestSegment {
    /// blake3 of its bytes.
    pub id: [u8; 32],
    /// How many bytes it has.
    pub bytes: u64,
    /// How many points it holds, dead ones included.
    pub points: u32,
    /// The encoded [`LiveBitmap`](super::LiveBitmap).
    pub live: Vec<u8>,
    /// The sum of the digest of its live points; 0 in a collection that never met another one.
    pub sum: [u8; 16],
}

impl Manifest {
    /// The bytes to store.
    pub fn encode(&self) -> Vec<u8> {
        let archive = rkyv::to_bytes::<Failure>(self).expect("integers and lists of them always archive");
        let mut out = Vec::with_capacity(HEADER + archive.len());
        out.put_u32(MAGIC);
        out.put_u32(VERSION);
        out.put_u32(crc32c(&archive));
        out.put_u32(archive.len() as u32);
        out.extend_from_slice(&archive);
        out
    }

    /// Reads stored bytes.
    ///
    /// # Errors
    /// `Corrupted` when a check fails, `Unsupported` for a later version.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let mut reader = Reader::new(bytes);
        if reader.u32("a manifest's magic")? != MAGIC {
            return Err(Error::corrupted("these bytes are no manifest"));
        }
        let version = reader.u32("a manifest's version")?;
        if version != VERSION {
            return Err(Error::unsupported(format!("manifest version {version}; this build reads {VERSION}")));
        }
        let crc = reader.u32("a manifest's checksum")?;
        let len = reader.u32("a manifest's length")? as usize;
        let archive = reader.bytes(len, "a manifest")?;
        reader.finish("a manifest")?;
        if crc32c(archive) != crc {
            return Err(Error::corrupted("a manifest does not match its checksum"));
        }
        let mut aligned = rkyv::util::AlignedVec::<16>::with_capacity(len);
        aligned.extend_from_slice(archive);
        rkyv::from_bytes::<Self, Failure>(&aligned).map_err(|_| Error::corrupted("a manifest is no valid archive"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    #[test]
    fn a_manifest_reads_back_and_every_flipped_bit_or_cut_is_noticed() {
        let segment = ManifestSegment { id: [7; 32], bytes: 1 << 40, points: 9, live: vec![1, 2, 3], sum: [4; 16] };
        let manifest =
            Manifest { name: b"notes".to_vec(), dimension: 4, segments: vec![segment; 2], ..Manifest::default() };
        let bytes = manifest.encode();
        assert_eq!(Manifest::decode(&bytes).unwrap(), manifest);
        for cut in 0..bytes.len() {
            assert!(Manifest::decode(&bytes[..cut]).is_err(), "cut at {cut}");
        }
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(Manifest::decode(&damaged).is_err(), "bit {bit}");
        }
    }
}
