//! The one store type of wasm builds: the browser's, or memory.

use std::future::Future;
use std::pin::Pin;

use hyperspace_core::error::Result;

use crate::kv::{BackendKind, Blob, Durability, IndexedDb, Key, Kv, KvTx, MemoryKv, Store};

pub(super) enum AnyStore {
    IndexedDb(IndexedDb),
    Memory(MemoryKv),
}

macro_rules! each {
    ($self:ident, $store:ident => $call:expr) => {
        match $self {
            AnyStore::IndexedDb($store) => $call,
            AnyStore::Memory($store) => $call,
        }
    };
}

/// One future for both: whoever waits holds a pointer, and not the states of two stores.
macro_rules! boxed {
    ($self:ident, $store:ident => $call:expr) => {
        each!($self, $store => Box::pin($call) as Pin<Box<dyn Future<Output = _> + '_>>)
    };
}

impl Kv for AnyStore {
    async fn get_many(&self, store: Store, keys: &[Key]) -> Result<Vec<Option<Blob>>> {
        boxed!(self, it => it.get_many(store, keys)).await
    }

    async fn range(&self, store: Store, from: &[u8], to: &[u8], limit: u32) -> Result<Vec<(Key, Blob)>> {
        boxed!(self, it => it.range(store, from, to, limit)).await
    }

    async fn keys(&self, store: Store, from: &[u8], to: &[u8]) -> Result<Vec<Key>> {
        boxed!(self, it => it.keys(store, from, to)).await
    }

    async fn commit(&self, tx: &KvTx, durability: Durability) -> Result<()> {
        boxed!(self, it => it.commit(tx, durability)).await
    }

    fn backend(&self) -> BackendKind {
        each!(self, it => it.backend())
    }

    fn close(&self) {
        each!(self, it => it.close());
    }

    async fn destroy(&self) -> Result<()> {
        boxed!(self, it => it.destroy()).await
    }
}
