//! The catalog: who writes in this directory, which stamps are reserved, and which space is whose.
//!
//! ```text
//! head, as [`whole`](super::whole) has it, with the magic "HSCT"
//! body: database u64 | writer u64 | newest hlc u64 | reserved u64 | count u32 | entries
//! entry: space u64 | tenant len u8 | tenant | name len u8 | name
//! ```
//! It is replaced as a whole. A space that it does not name does not exist, whatever files there are.

use std::collections::BTreeMap;

use hyperspace_core::bytes::{Reader, Writer};
use hyperspace_core::error::{Error, Result};
use hyperspace_core::types::{CollectionName, SpaceId};

use super::whole::{Format, put_text, text};

const FORMAT: Format = Format { magic: *b"HSCT", version: 1, name: "a catalog" };

/// Everything that is true of a database as a whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Catalog {
    /// Whose log this is. It goes along with every copy, and nobody is told.
    pub(crate) database: u64,
    /// Who writes here: the part of every stamp that tells this database from all others; 0 in a snapshot, of which
    /// each copy that is opened becomes a writer of its own.
    pub(crate) writer: u64,
    /// At least the newest logical time that was given when this was written.
    pub(crate) newest_hlc: u64,
    /// Stamps below this counter may have been given.
    pub(crate) reserved: u64,
    /// Each space, whose it is, and its collection's name.
    pub(crate) spaces: BTreeMap<SpaceId, Owned>,
}

/// Whose a space is, as stored: a name that was verified when the space was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Owned {
    pub(crate) tenant: String,
    pub(crate) name: String,
}

impl Catalog {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut body = Vec::new();
        body.put_u64(self.database);
        body.put_u64(self.writer);
        body.put_u64(self.newest_hlc);
        body.put_u64(self.reserved);
        body.put_u32(self.spaces.len() as u32);
        for (space, owned) in &self.spaces {
            body.put_u64(space.0);
            put_text(&mut body, &owned.tenant);
            put_text(&mut body, &owned.name);
        }
        FORMAT.encode(&body)
    }

    /// Reads stored bytes.
    ///
    /// # Errors
    /// `Corrupted` when a check fails, `Unsupported` for a later version.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self> {
        let mut reader = Reader::new(FORMAT.decode(bytes)?);
        let (database, writer) = (reader.u64("a database")?, reader.u64("a writer")?);
        let (newest_hlc, reserved) = (reader.u64("a time")?, reader.counter("a reservation")?);
        let mut spaces = BTreeMap::new();
        for _ in 0..reader.u32("a number of spaces")? {
            let space = SpaceId(reader.u64("a space")?);
            let (tenant, name) = (text(&mut reader)?.to_owned(), text(&mut reader)?.to_owned());
            CollectionName::new(&name).map_err(|e| Error::corrupted(format!("a catalog: {}", e.message())))?;
            if spaces.insert(space, Owned { tenant, name }).is_some() {
                return Err(Error::corrupted(format!("a catalog names space {:016x} twice", space.0)));
            }
        }
        reader.finish("the spaces of a catalog")?;
        Ok(Self { database, writer, newest_hlc, reserved, spaces })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use hyperspace_core::bytes::MAX_COUNTER;

    use super::*;

    #[test]
    fn a_catalog_reads_back_and_every_flipped_bit_or_cut_is_noticed() {
        let owned = |tenant: &str, name: &str| Owned { tenant: tenant.into(), name: name.into() };
        let spaces = [(SpaceId(1), owned("a", "b_c")), (SpaceId(u64::MAX), owned("a_b", "c"))];
        let spaces = spaces.into_iter().collect();
        let catalog = Catalog { database: 6, writer: 7, newest_hlc: 8, reserved: 9, spaces };
        let bytes = catalog.encode();
        assert_eq!(Catalog::decode(&bytes).unwrap(), catalog);
        for cut in 0..bytes.len() {
            assert!(Catalog::decode(&bytes[..cut]).is_err(), "cut at {cut}");
        }
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(Catalog::decode(&damaged).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_reservation_beyond_which_nothing_can_be_counted_is_damage() {
        for (reserved, is_fine) in [(MAX_COUNTER, true), (MAX_COUNTER + 1, false), (u64::MAX, false)] {
            let catalog = Catalog { database: 6, writer: 7, newest_hlc: 8, reserved, spaces: BTreeMap::new() };
            assert_eq!(Catalog::decode(&catalog.encode()).is_ok(), is_fine, "{reserved}");
        }
    }
}
