//! The bytes of what replication stores and sends: fields one after another, little-endian, lists with their length.
//!
//! Decoding never panics; a list grows as its items come, so no number in front of it makes anything large.

use alloc::vec::Vec;

use crate::bytes::{Reader, Writer};
use crate::error::{Error, Result};
use crate::log::Rec;
use crate::log::rec::{put_body, put_id, put_stamp, take_body, take_flag, take_id, take_stamp};
use crate::map::Map;
use crate::types::{IdKey, PointId, Stamp};

use super::digest::{Digest, SpaceKey};
use super::leader::{Answered, Leader, LeaderNote};
use super::message::{Chain, Cursor, Floor, Hello, Offer, Page, Pushed, RowChange, Verdict, Welcome};
use super::replica::{Renumbered, Replica, ReplicaNote};
use super::state::{Note, State};

/// What has a byte form.
pub trait Code: Sized {
    /// Appends its bytes.
    fn encode(&self, out: &mut Vec<u8>);

    /// Takes it from the front.
    ///
    /// # Errors
    /// `Corrupted` when the bytes are not those of one.
    fn decode(reader: &mut Reader<'_>) -> Result<Self>;
}

/// The bytes of one value.
pub fn encode_all(value: &impl Code) -> Vec<u8> {
    let mut out = Vec::new();
    value.encode(&mut out);
    out
}

/// Reads bytes that are one value and nothing else.
///
/// # Errors
/// `Corrupted` when they are not.
pub fn decode_all<T: Code>(bytes: &[u8], what: &str) -> Result<T> {
    let mut reader = Reader::new(bytes);
    let value = T::decode(&mut reader)?;
    reader.finish(what)?;
    Ok(value)
}

fn unknown(what: &str, tag: u8) -> Error {
    Error::corrupted(alloc::format!("{what} of kind {tag}"))
}

macro_rules! code {
    ($($name:ty { $($field:ident),* $(,)? })*) => {$(
        impl Code for $name {
            fn encode(&self, out: &mut Vec<u8>) {
                $(self.$field.encode(out);)*
            }

            fn decode(reader: &mut Reader<'_>) -> Result<Self> {
                $(let $field = Code::decode(reader)?;)*
                Ok(Self { $($field),* })
            }
        }
    )*};
}

macro_rules! tagged {
    ($($name:ident { $($tag:literal $variant:ident $(($($field:ident),*))?),* $(,)? })*) => {$(
        impl Code for $name {
            fn encode(&self, out: &mut Vec<u8>) {
                match self {
                    $(Self::$variant $(($($field),*))? => {
                        out.put_u8($tag);
                        $($($field.encode(out);)*)?
                    })*
                }
            }

            fn decode(reader: &mut Reader<'_>) -> Result<Self> {
                match reader.u8(stringify!($name))? {
                    $($tag => {
                        $($(let $field = Code::decode(reader)?;)*)?
                        Ok(Self::$variant $(($($field),*))?)
                    })*
                    tag => Err(unknown(stringify!($name), tag)),
                }
            }
        }
    )*};
}

code! {
    Cursor { epoch, seq }
    Floor { seq, hlc }
    Chain { cseq, hash }
    Answered { chain, head }
    Digest { count, sum }
    Hello { writer, next_cseq, acked, cursor, is_resyncing }
    Welcome { head, floor, terms, acked, is_forked, rewind, must_resync }
    Offer { cseq, id, stamp, is_change, reoffered_above, body }
    Page { cursor, floor, recs, answered, up_to_date }
    Pushed { acked, seq, hlc, now_ms, verdicts }
    LeaderNote { answered, floor }
    Renumbered { cseq, stamp, above, number }
    ReplicaNote {
        cursor, terms, acked, sent, doubted, renumbered, writer, is_resyncing, conflicts, settled_conflicts, answered,
    }
    Leader { key, epoch, terms, head, floor, answered }
    Replica {
        space, key, writer, cursor, floor, terms, acked, sent, doubted, renumbered, numbered, is_resyncing, conflicts,
        answered, exhumed,
    }
}

tagged! {
    Verdict { 0 Accepted(seq), 1 Lost(winner), 2 StaleDeleted, 3 Restamp }
    RowChange { 0 Put(rec), 1 Forget(id, stamp) }
    Note { 0 Leader(note), 1 Replica(note), 2 Follow(replica), 3 Lead(heard) }
}

impl Code for State {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Local => out.put_u8(0),
            Self::Leader(leader) => {
                out.put_u8(1);
                leader.encode(out);
            }
            Self::Replica(replica) => {
                out.put_u8(2);
                replica.encode(out);
            }
        }
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self> {
        match reader.u8("a state of replication")? {
            0 => Ok(Self::Local),
            1 => Code::decode(reader).map(Self::Leader),
            2 if cfg!(feature = "replica") => Code::decode(reader).map(Self::Replica),
            2 => Err(super::no_replica()),
            tag => Err(unknown("a state of replication", tag)),
        }
    }
}

impl Code for u32 {
    fn encode(&self, out: &mut Vec<u8>) {
        out.put_u32(*self);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self> {
        reader.u32("a number")
    }
}

impl Code for u64 {
    fn encode(&self, out: &mut Vec<u8>) {
        out.put_u64(*self);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self> {
        reader.u64("a number")
    }
}

impl Code for u128 {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.to_le_bytes());
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self> {
        <[u8; 16]>::decode(reader).map(Self::from_le_bytes)
    }
}

impl Code for bool {
    fn encode(&self, out: &mut Vec<u8>) {
        out.put_u8(u8::from(*self));
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self> {
        take_flag(reader, "whether")
    }
}

impl<const N: usize> Code for [u8; N] {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self> {
        let mut bytes = [0; N];
        bytes.copy_from_slice(reader.bytes(N, "a hash")?);
        Ok(bytes)
    }
}

impl Code for SpaceKey {
    fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode(out);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self> {
        Code::decode(reader).map(Self)
    }
}

impl Code for IdKey {
    fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode(out);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self> {
        Code::decode(reader).map(Self)
    }
}

impl Code for PointId {
    fn encode(&self, out: &mut Vec<u8>) {
        put_id(out, self);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self> {
        take_id(reader)
    }
}

impl Code for Stamp {
    fn encode(&self, out: &mut Vec<u8>) {
        put_stamp(out, *self);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self> {
        take_stamp(reader)
    }
}

impl Code for Rec {
    fn encode(&self, out: &mut Vec<u8>) {
        Self::encode(self, out);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self> {
        Self::decode(reader)
    }
}

impl Code for Option<crate::log::Body> {
    fn encode(&self, out: &mut Vec<u8>) {
        put_body(out, self.as_ref());
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self> {
        take_body(reader)
    }
}

/// A value that may be missing has a flag in front.
macro_rules! optional {
    ($($name:ty),* $(,)?) => {$(
        impl Code for Option<$name> {
            fn encode(&self, out: &mut Vec<u8>) {
                self.is_some().encode(out);
                if let Some(value) = self {
                    value.encode(out);
                }
            }

            fn decode(reader: &mut Reader<'_>) -> Result<Self> {
                if bool::decode(reader)? { Code::decode(reader).map(Some) } else { Ok(None) }
            }
        }
    )*};
}

optional!(u64, bool, Digest, Floor, (u64, Chain), (Cursor, Floor), (Chain, u64), Vec<Cursor>, Vec<Offer>);

impl<A: Code, B: Code> Code for (A, B) {
    fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode(out);
        self.1.encode(out);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self> {
        Ok((A::decode(reader)?, B::decode(reader)?))
    }
}

impl<A: Code, B: Code, C: Code> Code for (A, B, C) {
    fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode(out);
        self.1.encode(out);
        self.2.encode(out);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self> {
        Ok((A::decode(reader)?, B::decode(reader)?, C::decode(reader)?))
    }
}

impl<T: Code> Code for Vec<T> {
    fn encode(&self, out: &mut Vec<u8>) {
        out.put_u32(self.len() as u32);
        self.iter().for_each(|item| item.encode(out));
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self> {
        (0..reader.u32("the length of a list")?).map(|_| T::decode(reader)).collect()
    }
}

impl<K: Code + Ord, V: Code> Code for Map<K, V> {
    fn encode(&self, out: &mut Vec<u8>) {
        out.put_u32(self.len() as u32);
        for (key, value) in self {
            key.encode(out);
            value.encode(out);
        }
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self> {
        Ok(Vec::<(K, V)>::decode(reader)?.into_iter().collect())
    }
}
