//! A browser's database in memory that fails on purpose: the stand-in for `IndexedDB` in tests. No build of the
//! package contains it.
//!
//! It does what browsers were seen to do: abort a transaction at any of its requests, refuse it for want of room, apply
//! it and lose the answer, never answer and apply it later or not at all, kill the tab, lose after a power failure
//! what was only relaxed, clear the origin's storage, go back to an older state. Every fault strikes at a request or
//! a transaction that the test names, so a history repeats exactly. Clones share the rows, as two connections to one
//! database do.
//!
//! Transactions happen one after the other: one that hangs is over, applied or not, before the next one begins, as
//! `IndexedDB` promises for those that share a store.

use std::cell::{Cell, RefCell};
use std::future::{pending, poll_fn};
use std::rc::Rc;
use std::task::{Poll, Waker};

use hyperspace_core::error::{Error, Result};

use super::rows::Rows;
use super::{BackendKind, Blob, Durability, Key, Kv, KvTx, Op, Store};

/// The largest value that a browser keeps in its log, next to the keys.
const INLINE_BYTES: usize = 64 << 10;

/// What goes wrong, and when. Requests and commits are counted from now on; 0 is the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The transaction that places the n-th request is aborted: nothing of it is applied. A lost connection looks the
    /// same from here.
    Abort(u64),
    /// As `Abort`, because the quota is exceeded.
    Quota(u64),
    /// The n-th commit is applied, but its answer is lost: the caller is told that it failed.
    LostAnswer(u64),
    /// The n-th commit does not end in time. It is over before the next transaction begins: applied, or not.
    Hang(u64, bool),
    /// The tab dies when the n-th request is placed: its transaction is aborted, nobody is answered any more.
    Death(u64),
    /// The tab dies when the n-th commit is complete in the store and before anybody hears of it.
    DeathBehind(u64),
}

#[derive(Default)]
struct Inner {
    rows: RefCell<Rows>,
    durable: RefCell<Rows>,
    fault: Cell<Option<Fault>>,
    /// A transaction that hangs and will be applied.
    late: RefCell<Option<(KvTx, Durability)>>,
    quota: Cell<Option<u64>>,
    held: Cell<bool>,
    waiting: RefCell<Vec<Waker>>,
    dead: Cell<bool>,
}

/// A store that fails on purpose. See the module's header.
#[derive(Default)]
pub struct SimulatedKv {
    inner: Rc<Inner>,
    closed: Cell<bool>,
}

/// Another connection to the same rows: open, whether this one is or not.
impl Clone for SimulatedKv {
    fn clone(&self) -> Self {
        Self { inner: Rc::clone(&self.inner), closed: Cell::new(false) }
    }
}

impl SimulatedKv {
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

    /// Takes back a fault that has not struck.
    pub fn disarm(&self) {
        self.inner.fault.set(None);
    }

    /// Whether the tab is dead: it is answered nothing any more.
    pub fn is_dead(&self) -> bool {
        self.inner.dead.get()
    }

    /// Refuses every transaction that would leave more bytes than this, until it is set anew.
    pub fn set_quota(&self, bytes: Option<u64>) {
        self.inner.quota.set(bytes);
    }

    /// Holds every commit back until [`SimulatedKv::release`].
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
        self.inner.settle_late();
        Self::with_rows(self.inner.rows.borrow().clone())
    }

    /// What is found after a power failure: only what a strict transaction has flushed, see `Inner::flush`.
    #[must_use]
    pub fn after_power_failure(&self) -> Self {
        Self::with_rows(self.inner.durable.borrow().clone())
    }

    /// Goes back to what a strict transaction has flushed while engines are at work.
    pub fn roll_back(&self) {
        self.inner.late.take();
        self.inner.rows.replace(self.inner.durable.borrow().clone());
    }

    /// Deletes everything behind the back of whoever has it open, as a browser does that clears an origin.
    pub fn clear(&self) {
        self.inner.late.take();
        self.inner.rows.take();
        self.inner.durable.take();
    }

    /// Changes the `n`-th value of a store, as damage would; false when there are fewer.
    pub fn tamper_nth(&self, store: Store, n: usize, change: impl FnOnce(&mut Vec<u8>)) -> bool {
        let mut rows = self.inner.rows.borrow_mut();
        let key = rows.0.keys().filter(|(at, _)| *at == store).nth(n).cloned();
        let Some(value) = key.and_then(|key| rows.0.get_mut(&key)) else { return false };
        let mut bytes = value.to_vec();
        change(&mut bytes);
        *value = bytes.into();
        true
    }

    /// Changes the first value of a store.
    pub fn tamper(&self, store: Store, change: impl FnOnce(&mut Vec<u8>)) -> bool {
        self.tamper_nth(store, 0, change)
    }

    /// Deletes the `n`-th row of a store, as damage would.
    pub fn lose_nth(&self, store: Store, n: usize) {
        let mut rows = self.inner.rows.borrow_mut();
        let key = rows.0.keys().filter(|(at, _)| *at == store).nth(n).cloned();
        key.and_then(|key| rows.0.remove(&key));
    }

    /// The number of rows in a store.
    pub fn rows_in(&self, store: Store) -> usize {
        self.inner.rows.borrow().0.keys().filter(|(at, _)| *at == store).count()
    }

    /// Every row of a store: key and value.
    pub fn dump(&self, store: Store) -> Vec<(Key, Vec<u8>)> {
        let rows = self.inner.rows.borrow();
        let of_store = rows.0.iter().filter(|((at, _), _)| *at == store);
        of_store.map(|((_, key), value)| (key.clone(), value.to_vec())).collect()
    }

    /// The bytes of all values.
    pub fn bytes(&self) -> u64 {
        self.inner.rows.borrow().bytes()
    }

    /// How many hold these rows: connections that were not let go of.
    pub fn connections(&self) -> usize {
        Rc::strong_count(&self.inner)
    }

    fn with_rows(rows: Rows) -> Self {
        let inner = Inner { durable: RefCell::new(rows.clone()), rows: RefCell::new(rows), ..Inner::default() };
        Self { inner: Rc::new(inner), closed: Cell::new(false) }
    }

    /// What every transaction begins with, `n` requests of which are about to be placed.
    async fn begin(&self, n: u64) -> Result<()> {
        if self.closed.get() {
            return Err(Error::closed("the store is closed"));
        }
        self.inner.alive().await;
        self.inner.settle_late();
        let struck = self.inner.strike(n);
        self.inner.alive().await;
        struck
    }
}

impl Inner {
    /// Never answers when the tab is dead.
    async fn alive(&self) {
        if self.dead.get() {
            pending::<()>().await;
        }
    }

    fn settle_late(&self) {
        if let Some((tx, durability)) = self.late.take() {
            // Refused or not, nobody hears of it.
            let _ = self.apply(&tx, durability);
        }
    }

    /// Counts `n` requests of one transaction down; the fault that falls among them strikes.
    fn strike(&self, n: u64) -> Result<()> {
        let (left, again): (u64, fn(u64) -> Fault) = match self.fault.get() {
            Some(Fault::Abort(left)) => (left, Fault::Abort),
            Some(Fault::Quota(left)) => (left, Fault::Quota),
            Some(Fault::Death(left)) => (left, Fault::Death),
            _ => return Ok(()),
        };
        if left >= n {
            self.fault.set(Some(again(left - n)));
            return Ok(());
        }
        match self.fault.take() {
            Some(Fault::Quota(_)) => Err(Error::limit_exceeded("the storage quota is exceeded")),
            Some(Fault::Death(_)) => {
                self.dead.set(true);
                Ok(())
            }
            _ => Err(Error::unavailable("the transaction was aborted")),
        }
    }

    fn apply(&self, tx: &KvTx, durability: Durability) -> Result<()> {
        let mut rows = self.rows.borrow_mut();
        let before = self.quota.get().map(|quota| (quota, rows.clone()));
        rows.commit(tx)?;
        if let Some((quota, before)) = before
            && rows.bytes() > quota
            && tx.bytes() > 0
        {
            let (used, wanted) = (before.bytes(), tx.bytes());
            *rows = before;
            return Err(Error::limit_exceeded(format!("{wanted} bytes do not fit: {used} of {quota} are used")));
        }
        if durability == Durability::Strict {
            self.durable.replace_with(|before| flushed(&rows, before, tx));
        }
        Ok(())
    }

    /// What becomes of a commit that is in the store.
    async fn answer(&self) -> Result<()> {
        let (left, again): (u64, fn(u64) -> Fault) = match self.fault.get() {
            Some(Fault::LostAnswer(left)) => (left, Fault::LostAnswer),
            Some(Fault::DeathBehind(left)) => (left, Fault::DeathBehind),
            _ => return Ok(()),
        };
        if left > 0 {
            self.fault.set(Some(again(left - 1)));
            return Ok(());
        }
        if matches!(self.fault.take(), Some(Fault::DeathBehind(_))) {
            self.dead.set(true);
        }
        self.alive().await;
        Err(Error::unavailable("the answer of the transaction was lost"))
    }

    /// Whether this commit hangs.
    fn hang(&self, tx: &KvTx, durability: Durability) -> Result<()> {
        match self.fault.get() {
            Some(Fault::Hang(0, is_applied)) => {
                self.fault.set(None);
                self.late.replace(is_applied.then(|| (tx.clone(), durability)));
                Err(Error::unavailable("the transaction did not end in time"))
            }
            Some(Fault::Hang(left, is_applied)) => {
                self.fault.set(Some(Fault::Hang(left - 1, is_applied)));
                Ok(())
            }
            _ => Ok(()),
        }
    }

    async fn released(&self) {
        poll_fn(|cx| {
            if !self.held.get() {
                return Poll::Ready(());
            }
            self.waiting.borrow_mut().push(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

/// What is on the device after a strict transaction. Chromium on `LevelDB` keeps a value above [`INLINE_BYTES`] in
/// a file of its own, which only that value's own transaction flushes: a large value that was written relaxed is
/// still lost, and with it whatever its row held before.
fn flushed(rows: &Rows, before: &Rows, tx: &KvTx) -> Rows {
    let own = |at: &(Store, Key)| {
        tx.ops().iter().any(|op| matches!(op, Op::Put(s, k, _) | Op::Add(s, k, _) if (*s, k) == (at.0, &at.1)))
    };
    let safe = |at, value: &Rc<[u8]>| value.len() <= INLINE_BYTES || before.0.get(at) == Some(value) || own(at);
    let kept = rows.0.iter().filter(|(at, value)| safe(at, value));
    Rows(kept.map(|(at, value)| (at.clone(), Rc::clone(value))).collect())
}

impl Rows {
    fn bytes(&self) -> u64 {
        self.0.values().map(|value| value.len() as u64).sum()
    }
}

impl Kv for SimulatedKv {
    async fn get_many(&self, store: Store, keys: &[Key]) -> Result<Vec<Option<Blob>>> {
        self.begin(keys.len() as u64).await?;
        Ok(keys.iter().map(|key| self.inner.rows.borrow().get(store, key)).collect())
    }

    async fn range(&self, store: Store, from: &[u8], to: &[u8], limit: u32) -> Result<Vec<(Key, Blob)>> {
        self.begin(1).await?;
        Ok(self.inner.rows.borrow().range(store, from, to).take(limit as usize).collect())
    }

    async fn keys(&self, store: Store, from: &[u8], to: &[u8]) -> Result<Vec<Key>> {
        self.begin(1).await?;
        Ok(self.inner.rows.borrow().range(store, from, to).map(|(key, _)| key).collect())
    }

    async fn commit(&self, tx: &KvTx, durability: Durability) -> Result<()> {
        self.inner.released().await;
        self.begin(tx.ops().len() as u64).await?;
        self.inner.hang(tx, durability)?;
        self.inner.apply(tx, durability)?;
        self.inner.answer().await
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
        self.clear();
        Ok(())
    }
}
