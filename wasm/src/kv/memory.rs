//! Rows in memory: the store of callers who ask for one that forgets.

use std::cell::{Cell, RefCell};

use hyperspace_core::error::{Error, Result};

use super::rows::Rows;
use super::{BackendKind, Blob, Durability, Key, Kv, KvTx, Store};

/// A store in memory, gone with this value.
#[derive(Default)]
pub struct MemoryKv {
    rows: RefCell<Rows>,
    closed: Cell<bool>,
}

impl MemoryKv {
    /// Creates an empty store.
    pub fn new() -> Self {
        Self::default()
    }

    fn check_open(&self) -> Result<()> {
        if self.closed.get() { Err(Error::closed("the store is closed")) } else { Ok(()) }
    }
}

impl Kv for MemoryKv {
    async fn get_many(&self, store: Store, keys: &[Key]) -> Result<Vec<Option<Blob>>> {
        self.check_open()?;
        Ok(keys.iter().map(|key| self.rows.borrow().get(store, key)).collect())
    }

    async fn range(&self, store: Store, from: &[u8], to: &[u8], limit: u32) -> Result<Vec<(Key, Blob)>> {
        self.check_open()?;
        Ok(self.rows.borrow().range(store, from, to).take(limit as usize).collect())
    }

    async fn keys(&self, store: Store, from: &[u8], to: &[u8]) -> Result<Vec<Key>> {
        self.check_open()?;
        Ok(self.rows.borrow().range(store, from, to).map(|(key, _)| key).collect())
    }

    async fn commit(&self, tx: &KvTx, _durability: Durability) -> Result<()> {
        self.check_open()?;
        self.rows.borrow_mut().commit(tx)
    }

    fn backend(&self) -> BackendKind {
        BackendKind::Memory
    }

    fn close(&self) {
        self.closed.set(true);
    }

    async fn destroy(&self) -> Result<()> {
        self.close();
        self.rows.take();
        Ok(())
    }
}
