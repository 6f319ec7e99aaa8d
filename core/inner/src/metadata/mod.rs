//! The data that travels with a point: typed values, and their bytes that are read in place.
//!
//! [`Value`] is the tree that callers build and receive. [`Metadata`] is one encoded object: validated, canonical
//! (equal objects have equal bytes), cheap to clone. [`MetadataRef`] reads such bytes without allocating; it is what
//! filters run on. The layout of the bytes is drawn in `codec.rs`.
//!
//! Knows nothing of points, filters or indexes.

mod codec;
#[cfg(feature = "serde")]
mod serde;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod value;
mod view;

pub use codec::{MAX_METADATA_BYTES, MAX_METADATA_DEPTH, Metadata};
pub(crate) use codec::{check_literal, encode_literal};
pub use value::{Number, Value, compare_numbers};
pub use view::{Entries, Items, ListRef, MetadataRef, ValueRef, compare_values};
