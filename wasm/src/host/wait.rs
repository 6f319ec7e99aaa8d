//! What single-threaded async code waits on: a lock, and a slot that somebody else fills.
//!
//! One thread polls everything here, so cells are enough; wakers are kept because the executor may be the browser's.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

/// A place for one value that arrives later; it may be filled again once it was taken.
pub(crate) struct Slot<T> {
    inner: Rc<SlotInner<T>>,
}

struct SlotInner<T> {
    value: RefCell<Option<T>>,
    waker: RefCell<Option<Waker>>,
}

impl<T> Slot<T> {
    pub(crate) fn new() -> Self {
        Self { inner: Rc::new(SlotInner { value: RefCell::new(None), waker: RefCell::new(None) }) }
    }

    /// Another handle of the same slot.
    pub(crate) fn share(&self) -> Self {
        Self { inner: Rc::clone(&self.inner) }
    }

    /// Fills the slot and wakes whoever waits.
    pub(crate) fn fill(&self, value: T) {
        self.inner.value.replace(Some(value));
        if let Some(waker) = self.inner.waker.take() {
            waker.wake();
        }
    }

    /// Waits for the value and takes it.
    pub(crate) async fn take(&self) -> T {
        poll_fn(|cx| {
            if let Some(value) = self.inner.value.take() {
                return Poll::Ready(value);
            }
            self.inner.waker.replace(Some(cx.waker().clone()));
            Poll::Pending
        })
        .await
    }
}

/// A lock. Everybody who waits is woken when it is free and one gets it: a waiter that was dropped cannot lose a wake.
#[derive(Default)]
pub(crate) struct Lock {
    held: Cell<bool>,
    waiting: RefCell<Vec<Waker>>,
}

/// The right to go on; given back when it is dropped.
pub(crate) struct Held<'a>(&'a Lock);

impl Lock {
    pub(crate) async fn hold(&self) -> Held<'_> {
        poll_fn(|cx| {
            if !self.held.replace(true) {
                return Poll::Ready(());
            }
            self.waiting.borrow_mut().push(cx.waker().clone());
            Poll::Pending
        })
        .await;
        Held(self)
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.held.set(false);
        let waiting = self.0.waiting.take();
        waiting.into_iter().for_each(Waker::wake);
    }
}

/// Lets everything else that is ready run first.
pub(crate) async fn yield_once() {
    let mut yielded = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
