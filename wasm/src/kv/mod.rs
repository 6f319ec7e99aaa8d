//! What the host asks of a store of bytes in a browser: ordered binary keys, values framed with a checksum, and
//! transactions that are atomic.
//!
//! Reads happen in short read-only transactions. Writes are gathered in a [`KvTx`] and placed all at once, in one
//! synchronous block that cannot panic: a wasm trap runs no destructors, and the browser would commit whatever
//! requests had been placed before it. Nothing else may be awaited between two requests of one transaction, or the
//! browser commits it early.
//!
//! Two backends: `IndexedDB` in a tab, and [`MemoryKv`] for Node and for callers who ask for a store that forgets;
//! and a stand-in for tests that fails on purpose. The trait knows no collections, no segments, no log.

mod frame;
mod ledger;
mod memory;
mod rows;
#[cfg(any(test, feature = "simulation"))]
mod simulated;

#[cfg(target_arch = "wasm32")]
mod event;
#[cfg(target_arch = "wasm32")]
mod indexed_db;
#[cfg(target_arch = "wasm32")]
mod timer;

pub use frame::{FRAME_HEADER, FrameKind, decode_into, frame, unframe};
#[cfg(target_arch = "wasm32")]
pub use indexed_db::IndexedDb;
pub use ledger::{KvCounters, Ledger};
pub use memory::MemoryKv;
#[cfg(any(test, feature = "simulation"))]
pub use simulated::{Fault, SimulatedKv};
#[cfg(target_arch = "wasm32")]
pub use timer::{Elapsed, sleep, within};

use hyperspace_core::error::Result;
pub use hyperspace_core::port::Durability;
use hyperspace_core::sort::sort;

/// The object stores. Their names are part of the stored format; adding one raises the database's version.
///
/// `outbox` and `conflicts` come with sync, in the version that brings sync: a store that nothing writes cannot be
/// tested, and adding stores is the one thing a version change does cheaply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Store {
    /// The database's own rows: identity and owner.
    Meta,
    /// One row per collection: its name and manifest.
    Spaces,
    /// Log records that are not yet in a sealed segment.
    Wal,
    /// One row per stored segment: its state and length.
    Segs,
    /// The bytes of sealed segments, at most 1 MiB a row.
    Chunks,
}

impl Store {
    /// Every store, in the order in which transactions name them.
    pub const ALL: [Self; 5] = [Self::Meta, Self::Spaces, Self::Wal, Self::Segs, Self::Chunks];

    /// The name in the browser's database.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Meta => "meta",
            Self::Spaces => "spaces",
            Self::Wal => "wal",
            Self::Segs => "segs",
            Self::Chunks => "chunks",
        }
    }
}

/// A key: big-endian integers one after the other, so that bytes order as numbers do.
pub type Key = Vec<u8>;

/// Builds a key from integers of eight bytes each.
pub fn key_of(parts: &[u64]) -> Key {
    parts.iter().flat_map(|part| part.to_be_bytes()).collect()
}

/// The smallest key that is greater than every key starting with `prefix`; `None` when there is none.
pub fn prefix_end(prefix: &[u8]) -> Option<Key> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return Some(end);
        }
    }
    None
}

/// One value as it was read: still outside linear memory when a browser holds it.
#[derive(Clone, Debug)]
pub enum Blob {
    /// Bytes of ours.
    Bytes(std::rc::Rc<[u8]>),
    /// Bytes of the browser's; copied once, to where they are wanted.
    #[cfg(target_arch = "wasm32")]
    Js(js_sys::Uint8Array),
}

impl Blob {
    /// The number of bytes.
    pub fn len(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            #[cfg(target_arch = "wasm32")]
            Self::Js(array) => array.length() as usize,
        }
    }

    /// Whether there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Copies `out.len()` bytes from `at` on; the caller has checked that they exist.
    pub fn copy_to(&self, at: usize, out: &mut [u8]) {
        match self {
            Self::Bytes(bytes) => out.copy_from_slice(&bytes[at..at + out.len()]),
            #[cfg(target_arch = "wasm32")]
            Self::Js(array) => array.subarray(at as u32, (at + out.len()) as u32).copy_to(out),
        }
    }

    /// All the bytes.
    pub fn to_vec(&self) -> Vec<u8> {
        let mut out = vec![0; self.len()];
        self.copy_to(0, &mut out);
        out
    }
}

/// One write of a transaction.
#[derive(Clone, Debug)]
pub enum Op {
    /// Writes a row, new or not.
    Put(Store, Key, Vec<u8>),
    /// Writes a row that must not exist yet: a log record is never overwritten.
    Add(Store, Key, Vec<u8>),
    /// Deletes a row if it exists.
    Delete(Store, Key),
    /// Deletes every row in `from..to`.
    DeleteRange(Store, Key, Key),
}

impl Op {
    /// The store that this writes.
    pub const fn store(&self) -> Store {
        match self {
            Self::Put(store, ..) | Self::Add(store, ..) | Self::Delete(store, ..) | Self::DeleteRange(store, ..) => {
                *store
            }
        }
    }
}

/// The row that must still hold these bytes when a transaction writes: the sign that this engine owns the database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fence {
    /// Where the row is.
    pub store: Store,
    /// Its key.
    pub key: Key,
    /// The bytes it held when this engine took ownership.
    pub value: Vec<u8>,
}

/// The writes of one transaction, gathered in memory until [`Kv::commit`] places them together.
#[derive(Clone, Debug, Default)]
pub struct KvTx {
    ops: Vec<Op>,
    fence: Option<Fence>,
    continued: Vec<(Store, Key)>,
}

impl KvTx {
    /// Creates a transaction without writes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes the transaction depend on a row that must be unchanged.
    #[must_use]
    pub fn fenced(mut self, fence: Option<Fence>) -> Self {
        self.fence = fence;
        self
    }

    /// Makes the transaction depend on a row that must be there: a log goes on only from where it is.
    pub fn continues(&mut self, store: Store, key: Key) {
        self.continued.push((store, key));
    }

    /// Writes a row, replacing what is there.
    pub fn put(&mut self, store: Store, key: Key, value: Vec<u8>) {
        self.ops.push(Op::Put(store, key, value));
    }

    /// Writes a row that must not exist.
    pub fn add(&mut self, store: Store, key: Key, value: Vec<u8>) {
        self.ops.push(Op::Add(store, key, value));
    }

    /// Deletes a row.
    pub fn delete(&mut self, store: Store, key: Key) {
        self.ops.push(Op::Delete(store, key));
    }

    /// Deletes the rows in `from..to`.
    pub fn delete_range(&mut self, store: Store, from: Key, to: Key) {
        self.ops.push(Op::DeleteRange(store, from, to));
    }

    /// The writes, each in a transaction of its own: a mistake that tests must notice.
    #[cfg(feature = "mutations")]
    pub(crate) fn parts(&self) -> Vec<Self> {
        let part = |op: &Op| Self { ops: vec![op.clone()], fence: self.fence.clone(), continued: Vec::new() };
        self.ops.iter().map(part).collect()
    }

    /// The writes, in the order in which they are placed.
    pub fn ops(&self) -> &[Op] {
        &self.ops
    }

    /// The row that must be unchanged, if any.
    pub const fn fence(&self) -> Option<&Fence> {
        self.fence.as_ref()
    }

    /// The rows that must be there.
    pub fn continued(&self) -> &[(Store, Key)] {
        &self.continued
    }

    /// Whether nothing is written.
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }

    /// The bytes of all values written.
    pub fn bytes(&self) -> usize {
        self.ops
            .iter()
            .map(|op| match op {
                Op::Put(_, _, value) | Op::Add(_, _, value) => value.len(),
                Op::Delete(..) | Op::DeleteRange(..) => 0,
            })
            .sum()
    }

    /// Whether it may take long: many bytes, or deletions, whose size nobody knows.
    pub fn is_large(&self) -> bool {
        self.bytes() > LARGE_BYTES || self.ops.iter().any(|op| matches!(op, Op::Delete(..) | Op::DeleteRange(..)))
    }

    /// The stores written, without repetition, in their fixed order.
    pub fn stores(&self) -> Vec<Store> {
        let fence = self.fence.iter().map(|fence| fence.store);
        let continued = self.continued.iter().map(|(store, _)| *store);
        let mut stores: Vec<Store> = self.ops.iter().map(Op::store).chain(fence).chain(continued).collect();
        sort(&mut stores);
        stores.dedup();
        stores
    }
}

/// A transaction that writes more is large.
const LARGE_BYTES: usize = 1 << 20;

/// Where the bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackendKind {
    /// The browser's database.
    IndexedDb,
    /// Memory of this process, gone with it.
    Memory,
}

impl BackendKind {
    /// The name in the JavaScript API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::IndexedDb => "indexeddb",
            Self::Memory => "memory",
        }
    }
}

/// A store of rows. A method answers once; when it fails, nothing of its transaction is applied, or (after a lost
/// connection or a timeout) it cannot be known, and the error says so.
#[allow(async_fn_in_trait, reason = "one thread per engine: no future of ours has to be Send")]
pub trait Kv {
    /// Reads rows by key in one transaction; a missing row is `None`.
    async fn get_many(&self, store: Store, keys: &[Key]) -> Result<Vec<Option<Blob>>>;

    /// Reads at most `limit` rows of `from..to` in the order of their keys.
    async fn range(&self, store: Store, from: &[u8], to: &[u8], limit: u32) -> Result<Vec<(Key, Blob)>>;

    /// Reads the keys in `from..to` without their values.
    async fn keys(&self, store: Store, from: &[u8], to: &[u8]) -> Result<Vec<Key>>;

    /// Applies all writes or none; answers when the transaction is complete. `Conflict` when the fence has
    /// moved, a row to be continued is gone, or one to be added exists.
    async fn commit(&self, tx: &KvTx, durability: Durability) -> Result<()>;

    /// Where the bytes are.
    fn backend(&self) -> BackendKind;

    /// Lets go of the store; every later call fails with `Closed`.
    fn close(&self);

    /// Closes and deletes everything.
    async fn destroy(&self) -> Result<()>;

    /// Reads one row.
    async fn get(&self, store: Store, key: &[u8]) -> Result<Option<Blob>> {
        Ok(self.get_many(store, &[key.to_vec()]).await?.pop().flatten())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deletion_may_take_as_long_as_a_large_write() {
        let mut small = KvTx::new();
        small.put(Store::Meta, key_of(&[1]), vec![0; 100]);
        assert!(!small.is_large());
        let mut large = small.clone();
        large.put(Store::Meta, key_of(&[1]), vec![0; LARGE_BYTES]);
        assert!(large.is_large());
        small.delete_range(Store::Chunks, key_of(&[1]), key_of(&[2]));
        assert!(small.is_large());
    }
}
