//! Who this database is as a writer, and who owns it now.
//!
//! `writer` is drawn once and never changes. `reserved` is raised in a strict transaction before counters below it are
//! given out, so a crash that loses relaxed writes never makes a stamp be given twice. The owner's epoch rises with
//! every opening; every later write checks that it has not moved.

use hyperspace_core::bytes::{Reader, Writer};
use hyperspace_core::error::{Error, ErrorKind, Result};
use hyperspace_core::types::Tenant;

use crate::kv::{Blob, FrameKind, Key, frame, unframe};

/// How many stamps more than needed are reserved: one strict transaction for so many writes.
pub(crate) const RESERVATION: u64 = 1024;

const FORMAT: u32 = 1;

pub(crate) fn identity_key() -> Key {
    b"identity".to_vec()
}

pub(crate) fn owner_key() -> Key {
    b"owner".to_vec()
}

pub(crate) fn tenant_key() -> Key {
    b"tenant".to_vec()
}

pub(crate) fn encode_tenant(tenant: &Tenant) -> Vec<u8> {
    frame(FrameKind::Tenant, 0, tenant.name().as_bytes())
}

/// Checks that a stored database is this tenant's: every path below takes that for granted.
pub(crate) fn check_tenant(blob: &Blob, tenant: &Tenant) -> Result<()> {
    let (_, owner) = unframe(FrameKind::Tenant, blob, "the database's tenant")?;
    if *owner == *tenant.name().as_bytes() {
        return Ok(());
    }
    Err(Error::new(ErrorKind::PermissionDenied, "the database holds the data of another tenant"))
}

/// The database as a writer. Always of one size, so that rewriting it changes no sum of stored bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) writer: u64,
    pub(crate) reserved: u64,
    pub(crate) hlc_last: u64,
    pub(crate) next_space: u64,
}

impl Identity {
    pub(crate) const fn new(writer: u64) -> Self {
        Self { writer, reserved: 0, hlc_last: 0, next_space: 1 }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut body = Vec::with_capacity(36);
        body.put_u32(FORMAT);
        for value in [self.writer, self.reserved, self.hlc_last, self.next_space] {
            body.put_u64(value);
        }
        frame(FrameKind::Identity, 0, &body)
    }

    pub(crate) fn decode(blob: &Blob) -> Result<Self> {
        let (_, body) = unframe(FrameKind::Identity, blob, "the database's identity")?;
        let mut reader = Reader::new(&body);
        let format = reader.u32("the format")?;
        if format != FORMAT {
            return Err(Error::unsupported(format!("the database is of format {format}, this build reads {FORMAT}")));
        }
        let identity = Self {
            writer: reader.u64("the writer")?,
            reserved: reader.counter("the reservation")?,
            hlc_last: reader.u64("the newest time")?,
            next_space: reader.counter("the next space")?,
        };
        reader.finish("the identity")?;
        Ok(identity)
    }
}

pub(crate) fn encode_owner(epoch: u64) -> Vec<u8> {
    frame(FrameKind::Owner, 0, &epoch.to_le_bytes())
}

pub(crate) fn decode_owner(blob: &Blob) -> Result<u64> {
    let (_, body) = unframe(FrameKind::Owner, blob, "the database's owner")?;
    let mut reader = Reader::new(&body);
    let epoch = reader.counter("the owner's epoch")?;
    reader.finish("the owner")?;
    Ok(epoch)
}

#[cfg(test)]
mod tests {
    use hyperspace_core::bytes::MAX_COUNTER;

    use super::*;

    #[test]
    fn numbers_behind_which_none_can_be_counted_are_damage() {
        let blob = |row: Vec<u8>| Blob::Bytes(row.as_slice().into());
        for (number, is_fine) in [(MAX_COUNTER, true), (MAX_COUNTER + 1, false), (u64::MAX, false)] {
            let reserved = Identity { reserved: number, ..Identity::new(u64::MAX) };
            let next_space = Identity { next_space: number, ..Identity::new(u64::MAX) };
            for identity in [reserved, next_space] {
                assert_eq!(Identity::decode(&blob(identity.encode())).is_ok(), is_fine, "{identity:?}");
            }
            assert_eq!(decode_owner(&blob(encode_owner(number))).is_ok(), is_fine, "epoch {number}");
        }
    }
}
