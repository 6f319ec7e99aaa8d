//! Rows in memory: the store of native tests and of callers who ask for one that forgets.
//!
//! Tests can make it fail at a chosen request, lose what was only relaxed, report a failure for what it did apply,
//! or hold every commit back. Clones share the rows, as two connections to one database do.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

use hyperspace_core::error::{Error, Result};

use super::{BackendKind, Blob, Durability, Key, Kv, KvTx, Op, Store};

/// The largest value that a browser keeps in its log, next to the keys.
const INLINE_BYTES: usize = 64 << 10;

type Rows = BTreeMap<(Store, Key), Rc<[u8]>>;

/// What goes wrong, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The transaction that places the n-th request from now (0 is the next) is aborted: nothing of it is applied.
    Abort(u64),
    /// As `Abort`, reported as the quota being exceeded.
    Quota(u64),
    /// The n-th commit from now is applied, but its answer is lost: the caller is told that it failed.
    LostAnswer(u64),
}

#[derive(Default)]
struct Inner {
    rows: RefCell<Rows>,
    durable: RefCell<Rows>,
    fault: Cell<Option<Fault>>,
    held: Cell<bool>,
    waiting: RefCell<Vec<Waker>>,
}

/// A store in memory. See the module's header.
#[derive(Default)]
pub struct MemoryKv {
    inner: Rc<Inner>,
    closed: Cell<bool>,
}

/// Another connection to the same rows: open, whether this one is or not.
impl Clone for MemoryKv {
    fn clone(&self) -> Self {
        Self { inner: Rc::clone(&self.inner), closed: Cell::new(false) }
    }
}

impl MemoryKv {
    /// Creates an empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// Arms a fault; it strikes once.
    pub fn arm(&self, fault: Fault) {
        self.inner.fault.set(Some(fault));
    }

    /// Whether the armed fault has not struck yet.
    pub fn is_armed(&self) -> bool {
        self.inner.fault.get().is_some()
    }

    /// Holds every commit back until [`MemoryKv::release`].
    pub fn hold(&self) {
        self.inner.held.set(true);
    }

    /// Lets the held commits go on.
    pub fn release(&self) {
        self.inner.held.set(false);
        self.inner.waiting.borrow_mut().drain(..).for_each(Waker::wake);
    }

    /// What another process finds after this one died: everything complete.
    #[must_use]
    pub fn after_process_death(&self) -> Self {
        Self::with_rows(self.inner.rows.borrow().clone())
    }

    /// What is found after a power failure: only what a strict transaction has flushed, see `MemoryKv::flushed`.
    #[must_use]
    pub fn after_power_failure(&self) -> Self {
        Self::with_rows(self.inner.durable.borrow().clone())
    }

    /// Changes one stored value, as damage would.
    pub fn tamper(&self, store: Store, change: impl FnOnce(&mut Vec<u8>)) -> bool {
        let mut rows = self.inner.rows.borrow_mut();
        let Some(value) = rows.iter_mut().find_map(|((at, _), value)| (*at == store).then_some(value)) else {
            return false;
        };
        let mut bytes = value.to_vec();
        change(&mut bytes);
        *value = bytes.into();
        true
    }

    /// The number of rows in a store.
    pub fn rows_in(&self, store: Store) -> usize {
        self.inner.rows.borrow().keys().filter(|(at, _)| *at == store).count()
    }

    /// The bytes of all values.
    pub fn bytes(&self) -> u64 {
        self.inner.rows.borrow().values().map(|value| value.len() as u64).sum()
    }

    fn with_rows(rows: Rows) -> Self {
        let inner = Inner { durable: RefCell::new(rows.clone()), rows: RefCell::new(rows), ..Inner::default() };
        Self { inner: Rc::new(inner), closed: Cell::new(false) }
    }

    fn check_open(&self) -> Result<()> {
        if self.closed.get() { Err(Error::closed("the store is closed")) } else { Ok(()) }
    }

    /// Counts `n` requests of one transaction down; the fault that falls among them strikes.
    fn strike(&self, n: u64) -> Result<()> {
        let counted = |left: u64| if left < n { None } else { Some(left - n) };
        match self.inner.fault.get() {
            Some(Fault::Abort(left)) => {
                self.inner.fault.set(counted(left).map(Fault::Abort));
                if left < n {
                    return Err(Error::unavailable("the transaction was aborted"));
                }
            }
            Some(Fault::Quota(left)) => {
                self.inner.fault.set(counted(left).map(Fault::Quota));
                if left < n {
                    return Err(Error::limit_exceeded("the storage quota is exceeded"));
                }
            }
            Some(Fault::LostAnswer(_)) | None => {}
        }
        Ok(())
    }

    async fn released(&self) {
        poll_fn(|cx| {
            if !self.inner.held.get() {
                return Poll::Ready(());
            }
            self.inner.waiting.borrow_mut().push(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// Whether every write may be applied: checked before the first is.
    fn admit(rows: &Rows, tx: &KvTx) -> Result<()> {
        if let Some(fence) = tx.fence()
            && rows.get(&(fence.store, fence.key.clone())).map(|value| &**value) != Some(&fence.value)
        {
            return Err(Error::conflict("another engine has taken the database over"));
        }
        for op in tx.ops() {
            if let Op::Add(store, key, _) = op
                && rows.contains_key(&(*store, key.clone()))
            {
                return Err(Error::conflict(format!("a row of `{}` exists already", store.name())));
            }
        }
        Ok(())
    }

    /// What is on the device after a strict transaction. Chromium on `LevelDB` keeps a value above [`INLINE_BYTES`] in
    /// a file of its own, which only that value's own transaction flushes: a large value that was written relaxed is
    /// still lost, and with it whatever its row held before.
    fn flushed(rows: &Rows, before: &Rows, tx: &KvTx) -> Rows {
        let own = |at: &(Store, Key)| {
            tx.ops().iter().any(|op| matches!(op, Op::Put(s, k, _) | Op::Add(s, k, _) if (*s, k) == (at.0, &at.1)))
        };
        let safe = |at, value: &Rc<[u8]>| value.len() <= INLINE_BYTES || before.get(at) == Some(value) || own(at);
        rows.iter().filter(|(at, value)| safe(at, value)).map(|(at, value)| (at.clone(), Rc::clone(value))).collect()
    }

    fn apply(rows: &mut Rows, op: &Op) {
        match op {
            Op::Put(store, key, value) | Op::Add(store, key, value) => {
                rows.insert((*store, key.clone()), value.as_slice().into());
            }
            Op::Delete(store, key) => {
                rows.remove(&(*store, key.clone()));
            }
            Op::DeleteRange(store, from, to) => {
                rows.retain(|(at, key), _| at != store || key < from || key >= to);
            }
        }
    }
}

impl Kv for MemoryKv {
    async fn get_many(&self, store: Store, keys: &[Key]) -> Result<Vec<Option<Blob>>> {
        self.check_open()?;
        self.strike(keys.len() as u64)?;
        let rows = self.inner.rows.borrow();
        Ok(keys.iter().map(|key| rows.get(&(store, key.clone())).cloned().map(Blob::Bytes)).collect())
    }

    async fn range(&self, store: Store, from: &[u8], to: &[u8], limit: u32) -> Result<Vec<(Key, Blob)>> {
        self.check_open()?;
        self.strike(1)?;
        let rows = self.inner.rows.borrow();
        let found = rows.range((store, from.to_vec())..(store, to.to_vec())).take(limit as usize);
        Ok(found.map(|((_, key), value)| (key.clone(), Blob::Bytes(value.clone()))).collect())
    }

    async fn keys(&self, store: Store, from: &[u8], to: &[u8]) -> Result<Vec<Key>> {
        self.check_open()?;
        self.strike(1)?;
        let rows = self.inner.rows.borrow();
        Ok(rows.range((store, from.to_vec())..(store, to.to_vec())).map(|((_, key), _)| key.clone()).collect())
    }

    async fn commit(&self, tx: &KvTx, durability: Durability) -> Result<()> {
        self.check_open()?;
        self.released().await;
        self.check_open()?;
        self.strike(tx.ops().len() as u64)?;
        let mut rows = self.inner.rows.borrow_mut();
        Self::admit(&rows, tx)?;
        tx.ops().iter().for_each(|op| Self::apply(&mut rows, op));
        if durability == Durability::Strict {
            self.inner.durable.replace_with(|before| Self::flushed(&rows, before, tx));
        }
        match self.inner.fault.get() {
            Some(Fault::LostAnswer(0)) => {
                self.inner.fault.set(None);
                Err(Error::unavailable("the answer of the transaction was lost"))
            }
            Some(Fault::LostAnswer(left)) => {
                self.inner.fault.set(Some(Fault::LostAnswer(left - 1)));
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn backend(&self) -> BackendKind {
        BackendKind::Memory
    }

    fn close(&self) {
        self.closed.set(true);
        self.release();
    }

    async fn destroy(&self) -> Result<()> {
        self.close();
        self.inner.rows.borrow_mut().clear();
        self.inner.durable.borrow_mut().clear();
        Ok(())
    }
}
