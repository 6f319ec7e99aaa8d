//! Ordered rows in memory, and what a transaction does to them: all of it, or nothing.

use std::rc::Rc;

use hyperspace_core::error::{Error, Result};
use hyperspace_core::map::Map;

use super::{Blob, Key, KvTx, Op, Store};

/// Rows by store and key. Values are shared, so a copy of all rows costs their number and not their bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Rows(pub(super) Map<(Store, Key), Rc<[u8]>>);

impl Rows {
    pub(super) fn get(&self, store: Store, key: &[u8]) -> Option<Blob> {
        self.0.get(&(store, key.to_vec())).cloned().map(Blob::Bytes)
    }

    pub(super) fn range(&self, store: Store, from: &[u8], to: &[u8]) -> impl Iterator<Item = (Key, Blob)> {
        let found = self.0.range_from(&(store, from.to_vec()));
        let found = found.take_while(move |((at, key), _)| (*at, key.as_slice()) < (store, to));
        found.map(|((_, key), value)| (key.clone(), Blob::Bytes(Rc::clone(value))))
    }

    /// Applies every write, or none: what may be refused is looked at before the first is applied.
    pub(super) fn commit(&mut self, tx: &KvTx) -> Result<()> {
        self.admit(tx)?;
        tx.ops().iter().for_each(|op| self.apply(op));
        Ok(())
    }

    fn admit(&self, tx: &KvTx) -> Result<()> {
        if let Some(fence) = tx.fence()
            && self.0.get(&(fence.store, fence.key.clone())).map(|value| &**value) != Some(&fence.value)
        {
            return Err(Error::conflict("another engine has taken the database over"));
        }
        if let Some((store, _)) = tx.continued().iter().find(|row| !self.0.contains_key(row)) {
            return Err(Error::conflict(format!("a row of `{}` that the next one continues is gone", store.name())));
        }
        for op in tx.ops() {
            if let Op::Add(store, key, _) = op
                && self.0.contains_key(&(*store, key.clone()))
            {
                return Err(Error::conflict(format!("a row of `{}` exists already", store.name())));
            }
        }
        Ok(())
    }

    fn apply(&mut self, op: &Op) {
        match op {
            Op::Put(store, key, value) | Op::Add(store, key, value) => {
                self.0.insert((*store, key.clone()), value.as_slice().into());
            }
            Op::Delete(store, key) => {
                self.0.remove(&(*store, key.clone()));
            }
            Op::DeleteRange(store, from, to) => {
                self.0.retain(|(at, key), _| at != store || key < from || key >= to);
            }
        }
    }
}
