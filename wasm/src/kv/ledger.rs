//! Counts what goes in and out of a store, and knows how many bytes it holds without ever counting rows there.
//!
//! A value's size is learnt when it is read or written. A row that nobody has read yet is not in the sum; opening a
//! database reads every row that stays, so the sum is exact from then on.

use std::cell::RefCell;

use hyperspace_core::error::Result;
use hyperspace_core::map::Map;

use super::{BackendKind, Blob, Durability, Key, Kv, KvTx, Op, Store};

/// What was read and written since the store was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KvCounters {
    /// Bytes of values read.
    pub bytes_read: u64,
    /// Bytes of values written.
    pub bytes_written: u64,
    /// Bytes of the values that are stored now.
    pub bytes_stored: u64,
    /// Transactions of both kinds.
    pub transactions: u64,
    /// Rows read.
    pub reads: u64,
    /// Rows written or deleted (a range counts once).
    pub writes: u64,
}

#[derive(Default)]
struct State {
    counters: KvCounters,
    sizes: Map<(Store, Key), u64>,
}

impl State {
    fn learn(&mut self, store: Store, key: Key, size: u64) {
        let before = self.sizes.insert((store, key), size).unwrap_or(0);
        self.counters.bytes_stored = self.counters.bytes_stored + size - before;
    }

    fn forget(&mut self, store: Store, key: Key) {
        let before = self.sizes.remove(&(store, key)).unwrap_or(0);
        self.counters.bytes_stored -= before;
    }

    fn read(&mut self, store: Store, key: &[u8], blob: &Blob) {
        self.counters.reads += 1;
        self.counters.bytes_read += blob.len() as u64;
        self.learn(store, key.to_vec(), blob.len() as u64);
    }

    fn apply(&mut self, op: &Op) {
        self.counters.writes += 1;
        match op {
            Op::Put(store, key, value) | Op::Add(store, key, value) => {
                self.counters.bytes_written += value.len() as u64;
                self.learn(*store, key.clone(), value.len() as u64);
            }
            Op::Delete(store, key) => self.forget(*store, key.clone()),
            Op::DeleteRange(store, from, to) => {
                let rows = self.sizes.range_from(&(*store, from.clone())).map(|((at, key), _)| (at, key));
                let keys: Vec<Key> = rows.take_while(|row| *row < (store, to)).map(|(_, key)| key.clone()).collect();
                keys.into_iter().for_each(|key| self.forget(*store, key));
            }
        }
    }
}

/// A store with its counters.
pub struct Ledger<K> {
    inner: K,
    state: RefCell<State>,
}

impl<K: Kv> Ledger<K> {
    /// Starts counting.
    pub fn new(inner: K) -> Self {
        Self { inner, state: RefCell::default() }
    }

    /// The counts so far.
    pub fn counters(&self) -> KvCounters {
        self.state.borrow().counters
    }

    /// The store below.
    pub const fn inner(&self) -> &K {
        &self.inner
    }
}

impl<K: Kv> Kv for Ledger<K> {
    async fn get_many(&self, store: Store, keys: &[Key]) -> Result<Vec<Option<Blob>>> {
        let rows = self.inner.get_many(store, keys).await?;
        let mut state = self.state.borrow_mut();
        state.counters.transactions += 1;
        for (key, blob) in keys.iter().zip(&rows) {
            if let Some(blob) = blob {
                state.read(store, key, blob);
            }
        }
        Ok(rows)
    }

    async fn range(&self, store: Store, from: &[u8], to: &[u8], limit: u32) -> Result<Vec<(Key, Blob)>> {
        let rows = self.inner.range(store, from, to, limit).await?;
        let mut state = self.state.borrow_mut();
        state.counters.transactions += 1;
        rows.iter().for_each(|(key, blob)| state.read(store, key, blob));
        Ok(rows)
    }

    async fn keys(&self, store: Store, from: &[u8], to: &[u8]) -> Result<Vec<Key>> {
        let keys = self.inner.keys(store, from, to).await?;
        self.state.borrow_mut().counters.transactions += 1;
        Ok(keys)
    }

    async fn commit(&self, tx: &KvTx, durability: Durability) -> Result<()> {
        self.inner.commit(tx, durability).await?;
        let mut state = self.state.borrow_mut();
        state.counters.transactions += 1;
        tx.ops().iter().for_each(|op| state.apply(op));
        Ok(())
    }

    fn backend(&self) -> BackendKind {
        self.inner.backend()
    }

    fn close(&self) {
        self.inner.close();
    }

    async fn destroy(&self) -> Result<()> {
        self.inner.destroy().await
    }
}
