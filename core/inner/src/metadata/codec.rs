//! The bytes of metadata: written once, checked once, then read in place by `view.rs`.
//!
//! ```text
//! object  = entry*                  the outermost one has no header: its length is the length of the bytes
//! entry   = key_len u16 | key | value          keys are UTF-8, rising by their bytes, none twice
//! value   = tag u8 | payload
//!   0 null   1 false   2 true       no payload
//!   3 i8     4 i16     5 i32        the narrowest of the four that holds the integer
//!   6 i64    7 u64                  u64 only above i64::MAX
//!   8 f64                           finite
//!   9 string                        len u16 | UTF-8
//!  10 list                          len u16 | value*
//!  11 object                        len u16 | entry*
//! ```
//! All integers are little-endian, `len` counts bytes. Two bytes of length suffice because an object takes at most
//! [`MAX_METADATA_BYTES`] and whatever is nested in it loses its own header. Invariant: one object has exactly one
//! encoding (floats keep their bits, so `-0.0` and `0.0` differ here). Short floats apart, it is about as long as the
//! object's shortest JSON text, or shorter.

use alloc::boxed::Box;
use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use super::value::{Value, not_finite};
use super::view::MetadataRef;
use crate::error::{Error, Result, shortened};

/// The most bytes that one encoded object takes.
pub const MAX_METADATA_BYTES: usize = 64 * 1024;
/// The most levels of objects and lists, counting the outermost object.
pub const MAX_METADATA_DEPTH: usize = 32;

pub(super) mod tag {
    pub(in crate::metadata) const NULL: u8 = 0;
    pub(in crate::metadata) const FALSE: u8 = 1;
    pub(in crate::metadata) const TRUE: u8 = 2;
    pub(in crate::metadata) const I8: u8 = 3;
    pub(in crate::metadata) const I16: u8 = 4;
    pub(in crate::metadata) const I32: u8 = 5;
    pub(in crate::metadata) const I64: u8 = 6;
    pub(in crate::metadata) const U64: u8 = 7;
    pub(in crate::metadata) const F64: u8 = 8;
    pub(in crate::metadata) const STR: u8 = 9;
    pub(in crate::metadata) const LIST: u8 = 10;
    pub(in crate::metadata) const MAP: u8 = 11;
}

/// One validated, encoded object of at most [`MAX_METADATA_BYTES`]; the default is the empty object, of no bytes.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct Metadata(Arc<[u8]>);

impl Metadata {
    /// Encodes an object.
    ///
    /// # Errors
    /// `InvalidArgument` when the value is not an object or holds a number that is not finite; `LimitExceeded` when it
    /// takes more than [`MAX_METADATA_BYTES`] or nests deeper than [`MAX_METADATA_DEPTH`].
    pub fn from_value(value: &Value) -> Result<Self> {
        let Value::Map(entries) = value else {
            return Err(Error::invalid_argument(format!("metadata is an object, not {}", value.describe())));
        };
        let mut size = 0usize;
        for (key, value) in entries {
            let value = measure(value, 2)
                .map_err(|e| Error::new(e.kind(), format!("metadata field `{}`: {}", shortened(key), e.message())))?;
            size = size.saturating_add(2 + key.len()).saturating_add(value);
        }
        within_limit(size)?;
        let mut bytes = Vec::with_capacity(size);
        for (key, value) in entries {
            put_bytes(&mut bytes, key.as_bytes());
            put_value(&mut bytes, value);
        }
        Ok(Self(bytes.into()))
    }

    /// Takes bytes from outside, after checking all of them.
    ///
    /// # Errors
    /// `Corrupted`, with the place of the first fault, when they are not exactly what [`Metadata::from_value`] writes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        MetadataRef::checked(bytes).map(MetadataRef::to_metadata)
    }

    /// Owns a copy of bytes that were validated before.
    pub(super) fn copy_of(bytes: &[u8]) -> Self {
        Self(Arc::from(bytes))
    }

    /// The encoded object.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The object to read in place.
    pub fn view(&self) -> MetadataRef<'_> {
        MetadataRef::trusted(&self.0)
    }

    /// The object as a tree, always a [`Value::Map`].
    pub fn to_value(&self) -> Value {
        self.view().to_value()
    }

    /// Whether the object has no entries.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<'a> MetadataRef<'a> {
    /// Reads bytes from outside in place, after checking all of them.
    ///
    /// # Errors
    /// As [`Metadata::from_bytes`].
    pub fn checked(bytes: &'a [u8]) -> Result<Self> {
        if bytes.len() > MAX_METADATA_BYTES {
            return Err(Error::corrupted(format!(
                "metadata has {} bytes, the limit is {MAX_METADATA_BYTES}",
                bytes.len()
            )));
        }
        let mut checker = Checker { bytes, at: 0 };
        match checker.entries(bytes.len(), 1) {
            Ok(()) => Ok(Self::trusted(bytes)),
            Err(Fault(what)) => Err(Error::corrupted(format!("metadata, at byte {}: {what}", checker.at))),
        }
    }
}

impl fmt::Debug for Metadata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.view(), f)
    }
}

/// Encodes one value that stands alone, under the same limits as an object.
pub(crate) fn encode_literal(value: &Value) -> Result<Box<[u8]>> {
    let mut bytes = Vec::with_capacity(check_literal(value)?);
    put_value(&mut bytes, value);
    Ok(bytes.into_boxed_slice())
}

/// Checks one value that stands alone; returns the bytes it takes.
pub(crate) fn check_literal(value: &Value) -> Result<usize> {
    let size = measure(value, 1)?;
    within_limit(size)?;
    Ok(size)
}

fn within_limit(size: usize) -> Result<()> {
    if size > MAX_METADATA_BYTES {
        return Err(Error::limit_exceeded(format!("metadata takes {size} bytes, the limit is {MAX_METADATA_BYTES}")));
    }
    Ok(())
}

/// The encoded size of a value; `depth` is its level if it is a list or an object.
fn measure(value: &Value, depth: usize) -> Result<usize> {
    match value {
        Value::Null | Value::Bool(_) => Ok(1),
        Value::I64(n) => Ok(1 + width(*n)),
        Value::U64(n) => Ok(1 + i64::try_from(*n).map_or(8, width)),
        Value::F64(x) if x.is_finite() => Ok(1 + 8),
        Value::F64(x) => Err(not_finite(*x)),
        Value::Str(text) => Ok(text.len().saturating_add(3)),
        Value::List(items) => {
            within_depth(depth)?;
            items.iter().try_fold(3usize, |size, item| Ok(size.saturating_add(measure(item, depth + 1)?)))
        }
        Value::Map(entries) => {
            within_depth(depth)?;
            entries.iter().try_fold(3usize, |size, (key, value)| {
                Ok(size.saturating_add(2 + key.len()).saturating_add(measure(value, depth + 1)?))
            })
        }
    }
}

fn within_depth(depth: usize) -> Result<()> {
    if depth > MAX_METADATA_DEPTH {
        return Err(Error::limit_exceeded(format!(
            "metadata nests at least {depth} levels deep, the limit is {MAX_METADATA_DEPTH}"
        )));
    }
    Ok(())
}

/// Bytes of the narrowest form of an integer.
fn width(n: i64) -> usize {
    if i8::try_from(n).is_ok() {
        1
    } else if i16::try_from(n).is_ok() {
        2
    } else if i32::try_from(n).is_ok() {
        4
    } else {
        8
    }
}

fn put_value(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Null => out.push(tag::NULL),
        Value::Bool(value) => out.push(if *value { tag::TRUE } else { tag::FALSE }),
        Value::I64(n) => put_integer(out, *n),
        Value::U64(n) => match i64::try_from(*n) {
            Ok(n) => put_integer(out, n),
            Err(_) => put_number(out, tag::U64, &n.to_le_bytes()),
        },
        Value::F64(x) => put_number(out, tag::F64, &x.to_le_bytes()),
        Value::Str(text) => {
            out.push(tag::STR);
            put_bytes(out, text.as_bytes());
        }
        Value::List(items) => put_nested(out, tag::LIST, |out| items.iter().for_each(|item| put_value(out, item))),
        Value::Map(entries) => put_nested(out, tag::MAP, |out| {
            for (key, value) in entries {
                put_bytes(out, key.as_bytes());
                put_value(out, value);
            }
        }),
    }
}

fn put_integer(out: &mut Vec<u8>, n: i64) {
    let tag = match width(n) {
        1 => tag::I8,
        2 => tag::I16,
        4 => tag::I32,
        _ => tag::I64,
    };
    put_number(out, tag, &n.to_le_bytes()[..width(n)]);
}

fn put_number(out: &mut Vec<u8>, tag: u8, bytes: &[u8]) {
    out.push(tag);
    out.extend_from_slice(bytes);
}

/// Writes a length and its bytes; the measured total says that the length fits.
fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&(bytes.len() as u16).to_le_bytes());
    out.extend_from_slice(bytes);
}

fn put_nested(out: &mut Vec<u8>, tag: u8, body: impl FnOnce(&mut Vec<u8>)) {
    out.push(tag);
    let start = out.len() + 2;
    out.extend_from_slice(&[0, 0]);
    body(out);
    let len = (out.len() - start) as u16;
    out[start - 2..start].copy_from_slice(&len.to_le_bytes());
}

/// What is wrong with the bytes; the checker knows where.
struct Fault(&'static str);

type Checked<T> = core::result::Result<T, Fault>;

fn narrowest(is: bool) -> Checked<()> {
    if is { Ok(()) } else { Err(Fault("an integer is not in its narrowest form")) }
}

/// Walks bytes from outside once, front to back; recursion ends at [`MAX_METADATA_DEPTH`].
struct Checker<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Checker<'a> {
    fn entries(&mut self, end: usize, depth: usize) -> Checked<()> {
        let mut previous: Option<&[u8]> = None;
        while self.at < end {
            let key = self.text(end)?;
            if previous.is_some_and(|previous| previous >= key) {
                return Err(Fault("keys are not in rising order"));
            }
            previous = Some(key);
            self.value(end, depth)?;
        }
        Ok(())
    }

    fn value(&mut self, end: usize, depth: usize) -> Checked<()> {
        let [tag] = self.array(end)?;
        match tag {
            tag::NULL | tag::FALSE | tag::TRUE => Ok(()),
            tag::I8 => self.array::<1>(end).map(|_| ()),
            tag::I16 => {
                let n = i16::from_le_bytes(self.array(end)?);
                narrowest(width(n.into()) == 2)
            }
            tag::I32 => {
                let n = i32::from_le_bytes(self.array(end)?);
                narrowest(width(n.into()) == 4)
            }
            tag::I64 => {
                let n = i64::from_le_bytes(self.array(end)?);
                narrowest(width(n) == 8)
            }
            tag::U64 => {
                let n = u64::from_le_bytes(self.array(end)?);
                narrowest(i64::try_from(n).is_err())
            }
            tag::F64 => {
                let x = f64::from_le_bytes(self.array(end)?);
                if x.is_finite() { Ok(()) } else { Err(Fault("a number is not finite")) }
            }
            tag::STR => self.text(end).map(|_| ()),
            tag::LIST => {
                let end = self.nested(end, depth)?;
                while self.at < end {
                    self.value(end, depth + 1)?;
                }
                Ok(())
            }
            tag::MAP => {
                let end = self.nested(end, depth)?;
                self.entries(end, depth + 1)
            }
            _ => Err(Fault("unknown tag")),
        }
    }

    /// The end of the list or object whose length comes next.
    fn nested(&mut self, end: usize, depth: usize) -> Checked<usize> {
        if depth >= MAX_METADATA_DEPTH {
            return Err(Fault("nesting is deeper than 32 levels"));
        }
        let len = u16::from_le_bytes(self.array(end)?) as usize;
        if len > end - self.at {
            return Err(Fault("a length reaches beyond the end"));
        }
        Ok(self.at + len)
    }

    fn text(&mut self, end: usize) -> Checked<&'a [u8]> {
        let len = u16::from_le_bytes(self.array(end)?) as usize;
        let bytes = self.take(len, end)?;
        core::str::from_utf8(bytes).map_err(|_| Fault("text is not UTF-8"))?;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self, end: usize) -> Checked<[u8; N]> {
        let bytes = self.take(N, end)?;
        bytes.try_into().map_err(|_| Fault("cut off"))
    }

    fn take(&mut self, len: usize, end: usize) -> Checked<&'a [u8]> {
        if len > end - self.at {
            return Err(Fault("cut off"));
        }
        let bytes = &self.bytes[self.at..self.at + len];
        self.at += len;
        Ok(bytes)
    }
}
