//! Transactions of unknown outcome: the store may have applied what it reported as failed.
//!
//! Whoever meets such a failure notes it down, and whoever takes the lock next finds out before doing anything else:
//! every later write rests on what is stored. A group commit leaves its log records, a flip its manifest, a deletion
//! the absence of the collection's row.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;

use hyperspace_core::collection::{Flip, SealedJob};
use hyperspace_core::error::Result;
use hyperspace_core::log::RequestId;
use hyperspace_core::types::{Lsn, SpaceId};

use super::database::{Database, OpenCollection};
use super::rows::{encode_space, space_key};
use super::wait::Held;
use crate::kv::{Kv, Store};
use crate::mutation::{Mutation, is_active};

/// A change of a collection's row.
pub(super) enum Tried {
    Flip(Box<Flipping>),
    Deletion(SpaceId, String, Option<RequestId>),
}

/// A job's result on its way into service.
pub(super) struct Flipping {
    pub(super) collection: Rc<OpenCollection>,
    pub(super) sealed: SealedJob,
    pub(super) flip: Flip,
    /// Everything up to here is sealed once the job is installed.
    pub(super) covers: Lsn,
}

impl Flipping {
    /// Shows what the store now holds.
    pub(super) fn install(self) {
        self.collection.engine.borrow_mut().install(self.sealed);
        self.collection.sealed.set(self.collection.sealed.get().max(self.covers));
    }

    /// The collection's row once the flip is applied.
    pub(super) fn row(&self) -> Vec<u8> {
        encode_space(&self.collection.name, &self.flip.manifest)
    }
}

impl<K: Kv> Database<K> {
    /// Notes down what may have happened; the caller holds the lock.
    pub(super) fn doubt(&self, tried: Tried) {
        self.tried.replace(Some(tried));
        self.doubtful.set(true);
    }

    /// Takes the lock and settles what an earlier transaction left open.
    pub(super) async fn hold_settled(&self) -> Result<Held<'_>> {
        let held = self.writing.hold().await;
        if self.doubtful.get() && !is_active(Mutation::SkipSettling) {
            // Boxed: seldom needed, and otherwise part of the future of everybody who takes the lock.
            let settled: Pin<Box<dyn Future<Output = Result<()>> + '_>> = Box::pin(self.settle_doubt());
            settled.await?;
        }
        Ok(held)
    }

    /// Settles what is open, if anything is.
    pub(super) async fn settle(&self) -> Result<()> {
        if self.doubtful.get() { self.hold_settled().await.map(drop) } else { Ok(()) }
    }

    /// Settles what is open of collections that may be loaded. Without ownership nothing is: they can be read.
    pub(super) async fn settle_loaded(&self) -> Result<()> {
        if self.owns() { self.settle().await } else { Ok(()) }
    }

    /// Compares the engine with the store. The caller holds the lock, so nothing is written meanwhile.
    async fn settle_doubt(&self) -> Result<()> {
        if !self.owns() {
            self.claim_late().await?;
        }
        self.check_owner().await?;
        let space = self.tried.borrow().as_ref().map(|tried| match tried {
            Tried::Flip(flipping) => flipping.collection.space,
            Tried::Deletion(space, ..) => *space,
        });
        if let Some(space) = space {
            let row = self.kv.get(Store::Spaces, &space_key(space)).await?.map(|row| row.to_vec());
            match self.tried.take() {
                Some(Tried::Flip(flipping)) if row.as_ref() == Some(&flipping.row()) => flipping.install(),
                Some(Tried::Flip(flipping)) => {
                    flipping.collection.engine.borrow_mut().abandon_job(flipping.sealed.id());
                }
                Some(Tried::Deletion(_, name, request)) if row.is_none() => {
                    self.forget(&name);
                    self.note_done(request);
                }
                _ => {}
            }
        }
        self.check_logs().await?;
        for collection in self.loaded() {
            let newest = collection.engine.borrow().newest_lsn();
            self.replay_log(&collection, newest).await?;
            self.environment.changed(collection.space, 0);
        }
        self.doubtful.set(false);
        Ok(())
    }
}
