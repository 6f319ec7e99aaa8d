//! The newest write of an id, as replicas tell each other of it: with its own stamp, the leader's number and its body.
//!
//! ```text
//! rec:  id len u8 | id | hlc u64 | writer u64 | cseq u64 | seq u64 | 0 deleted, 1 live: body len u32, body
//! body: term f32 | vector, dimension * f32 | metadata, the rest
//! ```
//! A body has a term whatever the metric (1 when it has none): the same bytes mean the same point in every collection.

use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::bytes::{Reader, Writer};
use crate::error::{Error, Result};
use crate::types::{PointId, Stamp};

/// A point's term, vector and metadata, encoded.
pub type Body = Arc<[u8]>;

/// The newest write of an id that a replica knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rec {
    /// Which point.
    pub id: PointId,
    /// When, by whom.
    pub stamp: Stamp,
    /// The leader's number for it. At a replica, of a write that the leader has not answered: a number under which the
    /// leader knew the id before; 0 when it may never have heard of it.
    pub seq: u64,
    /// What was written; nothing when the point was deleted.
    pub body: Option<Body>,
}

/// A body, taken apart.
#[derive(Clone, Copy, Debug)]
pub struct BodyParts<'a> {
    /// What the metric keeps beside the vector.
    pub term: f32,
    /// Little-endian f32.
    pub vector: &'a [u8],
    /// The encoded metadata.
    pub metadata: &'a [u8],
}

/// Puts a body together.
pub fn body(term: f32, vector: &[f32], metadata: &[u8]) -> Body {
    let mut bytes = Vec::with_capacity(4 + 4 * vector.len() + metadata.len());
    bytes.put_f32(term);
    bytes.put_f32s(vector);
    bytes.extend_from_slice(metadata);
    bytes.into()
}

impl<'a> BodyParts<'a> {
    /// Takes the body of a point of so many dimensions apart; what is in the parts is not looked at.
    ///
    /// # Errors
    /// `Corrupted` when it is too short.
    pub fn of(body: &'a [u8], dimension: usize) -> Result<Self> {
        let mut reader = Reader::new(body);
        let term = reader.f32("the term of a body")?;
        let vector = reader.bytes(dimension.saturating_mul(4), "the vector of a body")?;
        Ok(Self { term, vector, metadata: reader.bytes(reader.remaining(), "metadata")? })
    }

    /// The components of the vector.
    pub fn components(&self) -> impl Iterator<Item = f32> + use<'a> {
        self.vector.chunks_exact(4).map(|c| f32::from_le_bytes([c[0], c[1], c[2], c[3]]))
    }
}

impl Rec {
    /// Appends its bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        put_id(out, &self.id);
        put_stamp(out, self.stamp);
        out.put_u64(self.seq);
        put_body(out, self.body.as_ref());
    }

    /// Reads what [`Rec::encode`] wrote.
    ///
    /// # Errors
    /// `Corrupted` when the bytes are not those of one.
    pub fn decode(reader: &mut Reader<'_>) -> Result<Self> {
        let (id, stamp) = (take_id(reader)?, take_stamp(reader)?);
        Ok(Self { id, stamp, seq: reader.counter("a number")?, body: take_body(reader)? })
    }
}

pub(crate) fn put_id(out: &mut Vec<u8>, id: &PointId) {
    let at = out.len();
    out.put_u8(0);
    id.put_canonical(out);
    out[at] = (out.len() - at - 1) as u8;
}

pub(crate) fn take_id(reader: &mut Reader<'_>) -> Result<PointId> {
    let len = reader.u8("an id's length")? as usize;
    PointId::from_canonical(reader.bytes(len, "an id")?)
}

pub(crate) fn put_stamp(out: &mut Vec<u8>, stamp: Stamp) {
    out.put_u64(stamp.hlc);
    out.put_u64(stamp.writer);
    out.put_u64(stamp.cseq);
}

pub(crate) fn take_stamp(reader: &mut Reader<'_>) -> Result<Stamp> {
    Ok(Stamp { hlc: reader.u64("hlc")?, writer: reader.u64("writer")?, cseq: reader.counter("cseq")? })
}

pub(crate) fn put_body(out: &mut Vec<u8>, body: Option<&Body>) {
    out.put_u8(u8::from(body.is_some()));
    if let Some(body) = body {
        out.put_u32(body.len() as u32);
        out.extend_from_slice(body);
    }
}

pub(crate) fn take_body(reader: &mut Reader<'_>) -> Result<Option<Body>> {
    if !take_flag(reader, "whether there is a body")? {
        return Ok(None);
    }
    let len = reader.u32("the length of a body")? as usize;
    Ok(Some(reader.bytes(len, "a body")?.into()))
}

pub(crate) fn take_flag(reader: &mut Reader<'_>, what: &str) -> Result<bool> {
    match reader.u8(what)? {
        0 => Ok(false),
        1 => Ok(true),
        other => Err(Error::corrupted(format!("{what} is said by {other}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rec_reads_back_and_every_cut_is_noticed() {
        let metadata = [1, 0, b'a', 0];
        let live = Rec {
            id: PointId::string("seven").unwrap(),
            stamp: Stamp { hlc: 1, writer: u64::MAX, cseq: 3 },
            seq: 4,
            body: Some(body(0.5, &[1.0, -2.0], &metadata)),
        };
        let dead = Rec { id: PointId::Int(u64::MAX), body: None, ..live.clone() };
        for rec in [live, dead] {
            let mut bytes = Vec::new();
            rec.encode(&mut bytes);
            let mut reader = Reader::new(&bytes);
            assert_eq!(Rec::decode(&mut reader), Ok(rec));
            reader.finish("a rec").unwrap();
            for cut in 0..bytes.len() {
                assert!(Rec::decode(&mut Reader::new(&bytes[..cut])).is_err(), "cut at {cut}");
            }
        }
    }

    #[test]
    fn a_body_comes_apart_as_it_was_put_together() {
        let bytes = body(0.25, &[3.0, f32::MIN_POSITIVE], b"rest");
        let parts = BodyParts::of(&bytes, 2).unwrap();
        assert_eq!((parts.term, parts.metadata), (0.25, &b"rest"[..]));
        assert_eq!(parts.components().collect::<Vec<_>>(), [3.0, f32::MIN_POSITIVE]);
        assert!(BodyParts::of(&bytes, 4).is_err());
        assert!(BodyParts::of(&bytes, usize::MAX).is_err());
    }
}
