//! The file of a server's standing: what it is among the servers that replicate each other.
//!
//! ```text
//! head, as [`whole`](super::whole) has it, with the magic "HSST"
//! body: group u64 | term u64 | leads u8 | count u32 | dropped spaces u64 each | count u32 | followers u64 each, both rising
//! ```
//! It is replaced as a whole. A server that never met another one has none.

use std::collections::BTreeSet;

use hyperspace_core::bytes::{Reader, Writer};
use hyperspace_core::error::{Error, Result};
use hyperspace_core::types::SpaceId;

use super::whole::Format;

const FORMAT: Format = Format { magic: *b"HSST", version: 1, name: "a standing" };

/// What a server is among others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Standing {
    /// Which servers belong together; 0 before the first meeting.
    pub(crate) group: u64,
    /// How many promotions there were, as far as is known here, and one more.
    pub(crate) term: u64,
    /// Whether it leads in this term.
    pub(crate) leads: bool,
    /// Spaces that were deleted, so that a server which comes back with one does not bring it back.
    pub(crate) dropped: BTreeSet<SpaceId>,
    /// Those who follow, by the numbers of their directories; counted when a majority is asked for.
    pub(crate) followers: BTreeSet<u64>,
}

impl Standing {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut body = Vec::new();
        body.put_u64(self.group);
        body.put_u64(self.term);
        body.put_u8(u8::from(self.leads));
        body.put_u32(self.dropped.len() as u32);
        self.dropped.iter().for_each(|space| body.put_u64(space.0));
        body.put_u32(self.followers.len() as u32);
        self.followers.iter().for_each(|follower| body.put_u64(*follower));
        FORMAT.encode(&body)
    }

    /// Reads stored bytes.
    ///
    /// # Errors
    /// `Corrupted` when a check fails, `Unsupported` for a later version.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self> {
        let mut reader = Reader::new(FORMAT.decode(bytes)?);
        let (group, term) = (reader.u64("a group")?, reader.counter("a term")?);
        let leads = match reader.u8("a role")? {
            0 => false,
            1 => true,
            other => return Err(Error::corrupted(format!("a standing has role {other}"))),
        };
        let mut numbers = |what: &str| -> Result<Vec<u64>> {
            let count = reader.u32(what)?;
            let numbers: Vec<u64> = (0..count).map(|_| reader.u64(what)).collect::<Result<_>>()?;
            if numbers.is_sorted_by(|one, next| one < next) {
                return Ok(numbers);
            }
            Err(Error::corrupted(format!("a standing's {what} do not rise")))
        };
        let dropped = numbers("dropped spaces")?.into_iter().map(SpaceId).collect();
        let followers = numbers("followers")?.into_iter().collect();
        reader.finish("a standing")?;
        Ok(Self { group, term, leads, dropped, followers })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_standing_reads_back_and_every_flipped_bit_or_cut_is_noticed() {
        let standing = Standing {
            group: 7,
            term: 3,
            leads: true,
            dropped: [SpaceId(1), SpaceId(u64::MAX)].into(),
            followers: [9, 10].into(),
        };
        let bytes = standing.encode();
        assert_eq!(Standing::decode(&bytes).unwrap(), standing);
        for cut in 0..bytes.len() {
            assert!(Standing::decode(&bytes[..cut]).is_err(), "cut at {cut}");
        }
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(Standing::decode(&damaged).is_err(), "bit {bit}");
        }
    }
}
