//! Reading encoded metadata in place: no allocation, no copy, and nothing is decoded but what is asked for.
//!
//! The bytes were validated when they entered (`Metadata::from_bytes`, or a section's checksum), so a read checks
//! only what keeps it from panicking: on bytes that are not metadata after all, what cannot be read is missing.
//! Lookup walks the sorted keys and stops at the first one beyond the key sought.

use alloc::string::String;
use core::cmp::Ordering;
use core::fmt;

use super::codec::{MAX_METADATA_DEPTH, Metadata, tag};
use super::value::{Number, Value, compare_numbers};

/// An encoded object, read in place.
#[derive(Clone, Copy)]
pub struct MetadataRef<'a>(&'a [u8]);

/// An encoded list, read in place.
#[derive(Clone, Copy)]
pub struct ListRef<'a>(&'a [u8]);

/// One value of an encoded object.
#[derive(Clone, Copy, Debug)]
pub enum ValueRef<'a> {
    /// Present and null.
    Null,
    /// A boolean.
    Bool(bool),
    /// A number, finite.
    Number(Number),
    /// The UTF-8 bytes of a text; [`ValueRef::as_str`] has the text.
    Str(&'a [u8]),
    /// A list.
    List(ListRef<'a>),
    /// An object.
    Map(MetadataRef<'a>),
}

impl<'a> MetadataRef<'a> {
    /// Reads bytes that were validated before: those of a [`Metadata`], stored under a checksum.
    ///
    /// Other bytes are safe to read too; what cannot be made out in them is missing.
    pub const fn trusted(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The encoded object.
    pub const fn as_bytes(self) -> &'a [u8] {
        self.0
    }

    /// Whether the object has no entries.
    pub const fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    /// The value of a key.
    pub fn get(self, key: &str) -> Option<ValueRef<'a>> {
        let sought = key.as_bytes();
        let mut rest = self.0;
        while let Some(entry) = Entry::first_of(rest) {
            match entry.key.cmp(sought) {
                Ordering::Less => rest = entry.rest,
                Ordering::Equal => return ValueRef::decode(entry.value),
                Ordering::Greater => return None,
            }
        }
        None
    }

    /// The value at the longest key that begins a dotted path, with the rest of the path if the key is not all of it.
    ///
    /// For `a.b.c` that is the value of `a.b.c`, else of `a.b` (and `c`), else of `a` (and `b.c`).
    pub(crate) fn step<'p>(self, path: &'p [u8]) -> Option<(ValueRef<'a>, Option<&'p [u8]>)> {
        let mut found = None;
        let mut rest = self.0;
        while let Some(entry) = Entry::first_of(rest) {
            rest = entry.rest;
            match path.strip_prefix(entry.key) {
                Some([]) => return Some((ValueRef::decode(entry.value)?, None)),
                // A longer key that begins the path sorts after a shorter one, so the last that is found is the longest.
                Some([b'.', after @ ..]) => found = Some((entry.value, after)),
                None if entry.key > path => break,
                Some(_) | None => {}
            }
        }
        let (value, after) = found?;
        Some((ValueRef::decode(value)?, Some(after)))
    }

    /// The entries in the order of their keys.
    pub const fn iter(self) -> Entries<'a> {
        Entries(self.0)
    }

    /// The object as a tree, always a [`Value::Map`].
    pub fn to_value(self) -> Value {
        map_to_value(self, MAX_METADATA_DEPTH)
    }

    /// Copies the object.
    pub fn to_metadata(self) -> Metadata {
        Metadata::copy_of(self.0)
    }
}

impl<'a> IntoIterator for MetadataRef<'a> {
    type Item = (&'a str, ValueRef<'a>);
    type IntoIter = Entries<'a>;

    fn into_iter(self) -> Entries<'a> {
        self.iter()
    }
}

impl fmt::Debug for MetadataRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.to_value(), f)
    }
}

impl<'a> ListRef<'a> {
    /// The values of the list.
    pub const fn iter(self) -> Items<'a> {
        Items(self.0)
    }
}

impl<'a> IntoIterator for ListRef<'a> {
    type Item = ValueRef<'a>;
    type IntoIter = Items<'a>;

    fn into_iter(self) -> Items<'a> {
        self.iter()
    }
}

impl fmt::Debug for ListRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&to_value(ValueRef::List(*self), MAX_METADATA_DEPTH), f)
    }
}

impl<'a> ValueRef<'a> {
    /// Reads a value that fills the bytes.
    pub(crate) fn decode(bytes: &'a [u8]) -> Option<Self> {
        let (tag, payload) = bytes.split_first()?;
        Some(match *tag {
            tag::NULL => Self::Null,
            tag::FALSE => Self::Bool(false),
            tag::TRUE => Self::Bool(true),
            tag::I8 => Self::Number(Number::I64(i8::from_le_bytes(payload.try_into().ok()?).into())),
            tag::I16 => Self::Number(Number::I64(i16::from_le_bytes(payload.try_into().ok()?).into())),
            tag::I32 => Self::Number(Number::I64(i32::from_le_bytes(payload.try_into().ok()?).into())),
            tag::I64 => Self::Number(Number::I64(i64::from_le_bytes(payload.try_into().ok()?))),
            tag::U64 => Self::Number(Number::U64(u64::from_le_bytes(payload.try_into().ok()?))),
            tag::F64 => {
                let x = f64::from_le_bytes(payload.try_into().ok()?);
                if !x.is_finite() {
                    return None;
                }
                Self::Number(Number::F64(x))
            }
            tag::STR => Self::Str(payload.get(2..)?),
            tag::LIST => Self::List(ListRef(payload.get(2..)?)),
            tag::MAP => Self::Map(MetadataRef(payload.get(2..)?)),
            _ => return None,
        })
    }

    /// The text, if the value is one.
    pub fn as_str(self) -> Option<&'a str> {
        let Self::Str(bytes) = self else { return None };
        core::str::from_utf8(bytes).ok()
    }

    /// The value as a tree.
    pub fn to_value(self) -> Value {
        to_value(self, MAX_METADATA_DEPTH)
    }

    const fn rank(self) -> u8 {
        match self {
            Self::Null => 0,
            Self::Bool(_) => 1,
            Self::Number(_) => 2,
            Self::Str(_) => 3,
            Self::List(_) => 4,
            Self::Map(_) => 5,
        }
    }
}

/// A total order over all values: null, booleans, numbers by exact value, texts by bytes, lists and objects (as lists
/// of their entries) element by element. Values are equal in it when `$eq` finds them equal.
pub fn compare_values(left: ValueRef<'_>, right: ValueRef<'_>) -> Ordering {
    compare_within(left, right, MAX_METADATA_DEPTH)
}

/// `levels` bounds the recursion on bytes that are not metadata; validated ones never nest deeper.
fn compare_within(left: ValueRef<'_>, right: ValueRef<'_>, levels: usize) -> Ordering {
    match (left, right) {
        (ValueRef::Bool(a), ValueRef::Bool(b)) => a.cmp(&b),
        (ValueRef::Number(a), ValueRef::Number(b)) => compare_numbers(&a, &b),
        (ValueRef::Str(a), ValueRef::Str(b)) => a.cmp(b),
        (ValueRef::List(a), ValueRef::List(b)) if levels > 0 => {
            a.iter().map(|v| Deep(v, levels - 1)).cmp(b.iter().map(|v| Deep(v, levels - 1)))
        }
        (ValueRef::Map(a), ValueRef::Map(b)) if levels > 0 => {
            a.iter().map(|(k, v)| (k, Deep(v, levels - 1))).cmp(b.iter().map(|(k, v)| (k, Deep(v, levels - 1))))
        }
        (a, b) => a.rank().cmp(&b.rank()),
    }
}

/// A value under [`compare_within`], so that iterators and pairs can compare it.
struct Deep<'a>(ValueRef<'a>, usize);

impl Ord for Deep<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        compare_within(self.0, other.0, self.1)
    }
}

impl PartialOrd for Deep<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Deep<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Deep<'_> {}

/// The entries of an object, in the order of their keys.
#[derive(Clone)]
pub struct Entries<'a>(&'a [u8]);

impl<'a> Iterator for Entries<'a> {
    type Item = (&'a str, ValueRef<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let entry = Entry::first_of(self.0)?;
        self.0 = entry.rest;
        Some((core::str::from_utf8(entry.key).ok()?, ValueRef::decode(entry.value)?))
    }
}

/// The values of a list.
#[derive(Clone)]
pub struct Items<'a>(&'a [u8]);

impl<'a> Iterator for Items<'a> {
    type Item = ValueRef<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        let (value, rest) = self.0.split_at_checked(value_size(self.0)?)?;
        self.0 = rest;
        ValueRef::decode(value)
    }
}

/// The first entry of encoded entries, its value not yet decoded.
struct Entry<'a> {
    key: &'a [u8],
    value: &'a [u8],
    rest: &'a [u8],
}

impl<'a> Entry<'a> {
    #[inline]
    fn first_of(bytes: &'a [u8]) -> Option<Self> {
        let (len, bytes) = bytes.split_first_chunk::<2>()?;
        let (key, bytes) = bytes.split_at_checked(u16::from_le_bytes(*len) as usize)?;
        let (value, rest) = bytes.split_at_checked(value_size(bytes)?)?;
        Some(Self { key, value, rest })
    }
}

/// The bytes that the first value takes, tag and all.
#[inline]
fn value_size(bytes: &[u8]) -> Option<usize> {
    match *bytes.first()? {
        tag::NULL | tag::FALSE | tag::TRUE => Some(1),
        tag::I8 => Some(2),
        tag::I16 => Some(3),
        tag::I32 => Some(5),
        tag::I64 | tag::U64 | tag::F64 => Some(9),
        tag::STR | tag::LIST | tag::MAP => {
            let len = bytes.get(1..3)?;
            Some(3 + u16::from_le_bytes([len[0], len[1]]) as usize)
        }
        _ => None,
    }
}

/// `levels` bounds the recursion on bytes that are not metadata; validated ones never nest deeper.
fn to_value(value: ValueRef<'_>, levels: usize) -> Value {
    match value {
        ValueRef::Null => Value::Null,
        ValueRef::Bool(value) => Value::Bool(value),
        ValueRef::Number(Number::I64(n)) => Value::I64(n),
        ValueRef::Number(Number::U64(n)) => Value::U64(n),
        ValueRef::Number(Number::F64(x)) => Value::F64(x),
        ValueRef::Str(_) => value.as_str().map_or(Value::Null, Value::from),
        ValueRef::List(_) | ValueRef::Map(_) if levels == 0 => Value::Null,
        ValueRef::List(items) => Value::List(items.iter().map(|item| to_value(item, levels - 1)).collect()),
        ValueRef::Map(entries) => map_to_value(entries, levels),
    }
}

fn map_to_value(entries: MetadataRef<'_>, levels: usize) -> Value {
    let levels = levels.saturating_sub(1);
    Value::Map(entries.iter().map(|(key, value)| (String::from(key), to_value(value, levels))).collect())
}
