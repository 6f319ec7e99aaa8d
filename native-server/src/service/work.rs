//! Where the work of a request is done: never on the threads that drive sockets.
//!
//! What computes (searches, scans) takes one of as many slots as there are cores, tenants by turns; those who wait are
//! bounded, and a request that is given up stops waiting. What waits for the disk needs no slot: it leaves the core to
//! others by itself.

use std::sync::Arc;
use std::thread::available_parallelism;

use hyperspace_core::error::{Error, Result};
use hyperspace_core::types::Tenant;
use tokio::task::spawn_blocking;

use super::shares::{Share, Shares};
use super::slots::Slots;

/// Requests that may compute or wait for it; half of them of one tenant.
const MOST_QUEUED: usize = 256;

/// The slots of one server.
#[derive(Clone, Debug)]
pub(super) struct Workers {
    slots: Arc<Slots>,
    queue: Arc<Shares>,
}

/// A request's right to wait for slots; its parts share it.
#[derive(Clone, Debug)]
pub(super) struct Turn {
    slots: Arc<Slots>,
    place: Arc<Share>,
}

impl Workers {
    pub(super) fn new() -> Self {
        Self::with(available_parallelism().map_or(1, std::num::NonZero::get), MOST_QUEUED)
    }

    fn with(slots: usize, queue: usize) -> Self {
        Self { slots: Slots::new(slots), queue: Shares::new(queue) }
    }

    /// Queues for slots.
    ///
    /// # Errors
    /// `Unavailable` when too many of the tenant wait already.
    pub(super) fn queue(&self, tenant: &Tenant) -> Result<Turn> {
        let place = self.queue.take(tenant);
        let place = place.ok_or_else(|| Error::unavailable("too many searches wait already: retry later"))?;
        Ok(Turn { slots: Arc::clone(&self.slots), place: Arc::new(place) })
    }
}

impl Turn {
    /// Waits for a slot and computes in it. The slot is taken until the work is done, even when nobody waits for it.
    pub(super) async fn compute<T: Send + 'static>(
        self,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let slot = self.slots.acquire(self.place.tenant()).await;
        block(move || {
            let (_slot, _turn) = (slot, self);
            work()
        })
        .await
    }
}

/// Runs work that may wait for the disk.
///
/// # Errors
/// Those of the work; `Internal` when it panicked.
pub(super) async fn block<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    match spawn_blocking(work).await {
        Ok(outcome) => outcome,
        Err(error) => {
            tracing::error!(%error, "the work of a request failed");
            Err(Error::internal("a bug: the work of this request panicked"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use hyperspace_core::error::ErrorKind;
    use tokio::sync::oneshot;

    fn queue(workers: &Workers) -> Result<Turn> {
        workers.queue(&Tenant::local())
    }

    #[tokio::test]
    async fn a_panic_is_an_internal_error_and_frees_its_slot() {
        let workers = Workers::with(1, 2);
        let outcome = queue(&workers).unwrap().compute::<()>(|| panic!("on purpose")).await;
        assert_eq!(outcome.unwrap_err().kind(), ErrorKind::Internal);
        assert_eq!(queue(&workers).unwrap().compute(|| Ok(7)).await.unwrap(), 7);
    }

    #[tokio::test]
    async fn those_who_wait_are_bounded_and_stop_waiting_when_given_up() {
        let workers = Workers::with(1, 4);
        let (started, has_started) = oneshot::channel();
        let (finish, finished) = oneshot::channel::<()>();
        let working = tokio::spawn(queue(&workers).unwrap().compute(move || {
            started.send(()).unwrap();
            finished.blocking_recv().unwrap();
            Ok(1)
        }));
        has_started.await.unwrap();
        let waiting = tokio::spawn(queue(&workers).unwrap().compute(|| Ok(2)));
        assert_eq!(queue(&workers).unwrap_err().kind(), ErrorKind::Unavailable);
        waiting.abort();
        assert!(waiting.await.unwrap_err().is_cancelled());
        let next = tokio::spawn(queue(&workers).unwrap().compute(|| Ok(3)));
        finish.send(()).unwrap();
        assert_eq!((working.await.unwrap().unwrap(), next.await.unwrap().unwrap()), (1, 3));
    }
}
