//! The identities that everything else speaks of.
//!
//! [`PointId`] is what callers see; [`Offset`] is dense within one segment and never leaves it; [`Stamp`] orders
//! all writes of all replicas; [`Tenant`] says whose data it is.

use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use crate::error::{Error, Result, shortened};

/// The longest string id, in bytes of UTF-8.
pub const MAX_ID_BYTES: usize = 128;

/// The identity of a point: an unsigned integer or a UTF-8 string of 1 to 128 bytes.
///
/// Ids order as integers by value, then strings by bytes; equal distances are reported in this order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PointId {
    /// An integer id.
    Int(u64),
    /// A string id; made by [`PointId::string`], which checks its length.
    Str(Arc<str>),
}

impl PointId {
    /// Parses a string id.
    ///
    /// # Errors
    /// `InvalidArgument` when the string is empty or longer than [`MAX_ID_BYTES`].
    pub fn string(id: &str) -> Result<Self> {
        if id.is_empty() || id.len() > MAX_ID_BYTES {
            return Err(Error::invalid_argument(format!(
                "a string id has 1 to {MAX_ID_BYTES} bytes, this one has {}",
                id.len()
            )));
        }
        Ok(Self::Str(Arc::from(id)))
    }

    /// The canonical bytes that are stored, hashed and sent: a tag, then the value.
    pub fn to_canonical(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.put_canonical(&mut out);
        out
    }

    /// Appends what [`PointId::to_canonical`] returns.
    pub fn put_canonical(&self, out: &mut Vec<u8>) {
        match self {
            Self::Int(n) => {
                out.push(0);
                out.extend_from_slice(&n.to_le_bytes());
            }
            Self::Str(s) => {
                out.push(1);
                out.extend_from_slice(s.as_bytes());
            }
        }
    }

    /// Reads what [`PointId::to_canonical`] wrote.
    ///
    /// # Errors
    /// `Corrupted` when the bytes are not canonical.
    pub fn from_canonical(bytes: &[u8]) -> Result<Self> {
        let bad = || Error::corrupted(format!("an id of {} bytes is not canonical", bytes.len()));
        let (tag, rest) = bytes.split_first().ok_or_else(bad)?;
        match tag {
            0 => Ok(Self::Int(u64::from_le_bytes(rest.try_into().map_err(|_| bad())?))),
            1 => Self::string(core::str::from_utf8(rest).map_err(|_| bad())?).map_err(|_| bad()),
            _ => Err(bad()),
        }
    }

    /// The 16-byte key of this id in registers, sorted sections and digests.
    pub fn key(&self) -> IdKey {
        let mut hasher = blake3::Hasher::new();
        match self {
            Self::Int(n) => hasher.update(&[0]).update(&n.to_le_bytes()),
            Self::Str(s) => hasher.update(&[1]).update(s.as_bytes()),
        };
        let hash = hasher.finalize();
        let mut key = [0; 16];
        key.copy_from_slice(&hash.as_bytes()[..16]);
        IdKey(key)
    }
}

impl fmt::Display for PointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Int(n) => write!(f, "{n}"),
            Self::Str(s) => write!(f, "`{s}`"),
        }
    }
}

impl From<u64> for PointId {
    fn from(id: u64) -> Self {
        Self::Int(id)
    }
}

/// blake3 of a [`PointId`]'s canonical bytes, cut to 16: fixed in size, spread evenly, equal on every replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(transparent)]
pub struct IdKey(pub [u8; 16]);

/// The place of a point in one segment: dense from 0, meaningless outside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Offset(pub u32);

impl Offset {
    /// The offset as an index into per-point arrays.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// The order of all writes of all replicas: hybrid logical time, then writer, then the writer's own counter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct Stamp {
    /// Hybrid logical time: 48 bits of milliseconds, 16 bits of counter.
    pub hlc: u64,
    /// The replica that wrote.
    pub writer: u64,
    /// The writer's counter; never used twice.
    pub cseq: u64,
}

/// The number of a record in one collection's log: rising, never reused, starting at 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lsn(pub u64);

impl Lsn {
    /// The number after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// The name of a sealed segment: the blake3 hash of all its bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentId(pub [u8; 32]);

impl fmt::Display for SegmentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for SegmentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A host's own number for one collection of one tenant; keys of its storage, never seen by users.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpaceId(pub u64);

/// Whose data an operation may touch.
///
/// Every storage path takes one. A host builds it in exactly one place, from what it has verified (a credential on a
/// server; nothing but the origin in a tab), so that no request can name another tenant.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tenant(Arc<str>);

impl Tenant {
    /// The tenant of a process that serves one user: a browser tab, a test, a server without keys.
    pub fn local() -> Self {
        Self(Arc::from("default"))
    }

    /// The tenant that a host has verified.
    ///
    /// # Errors
    /// `InvalidArgument` when the name is not `[A-Za-z0-9._@-]{1,128}`.
    pub fn verified(name: &str) -> Result<Self> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"._@-".contains(&b);
        if name.is_empty() || name.len() > 128 || !name.bytes().all(allowed) {
            return Err(Error::invalid_argument("a tenant's name is [A-Za-z0-9._@-]{1,128}"));
        }
        Ok(Self(Arc::from(name)))
    }

    /// The name, for messages and billing; never a path.
    pub fn name(&self) -> &str {
        &self.0
    }
}

/// A collection's name: `[a-z0-9_-]{1,64}`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CollectionName(String);

impl CollectionName {
    /// Parses a name.
    ///
    /// # Errors
    /// `InvalidArgument` when it is not `[a-z0-9_-]{1,64}`.
    pub fn new(name: &str) -> Result<Self> {
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-';
        if name.is_empty() || name.len() > 64 || !name.bytes().all(allowed) {
            return Err(Error::invalid_argument(format!(
                "a collection's name is [a-z0-9_-]{{1,64}}, not `{}`",
                shortened(name)
            )));
        }
        Ok(Self(String::from(name)))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for CollectionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn a_name_that_is_refused_is_quoted_in_part() {
        let refused = CollectionName::new(&"é".repeat(1_000)).unwrap_err();
        assert_eq!(refused.to_string().matches('é').count(), 64, "{refused}");
    }
}
