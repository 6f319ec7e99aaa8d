//! Background work: one job at a time, in slices that the caller times, stored and installed when it is done.

use std::rc::Rc;

use hyperspace_core::collection::{Job, SealedJob, Urgency};
use hyperspace_core::error::Result;
use hyperspace_core::types::Lsn;

use super::database::{Database, OpenCollection};
use super::doubt::{Flipping, Tried};
use super::identity::{Identity, identity_key};
use super::lending::{Place, sealed};
use super::rows::{log_from, segment_key, space_key};
use super::wait::Held;
use crate::kv::{Durability, Kv, Store};
use crate::mutation::{Mutation, is_active};

/// Insertions between two looks at the clock, before anything is known about how long one takes.
const FIRST_STEP: u32 = 8;

/// A job that is being worked at.
pub(super) struct RunningJob {
    pub(super) collection: Rc<OpenCollection>,
    job: Job,
    /// Everything up to here is sealed once the job is installed.
    covers: Lsn,
    /// Points that waited for a graph when the job began, if it is these it inserts.
    pending: usize,
    pub(super) place: Place,
    /// How much of the work is left, and how much there was.
    pub(super) remaining: u32,
    total: u32,
    step: u32,
}

impl RunningJob {
    /// How many of the waiting points have their place in the graph, as a share of the work.
    fn inserted(&self) -> usize {
        let done = u64::from(self.total.saturating_sub(self.remaining));
        (self.pending as u64 * done / u64::from(self.total.max(1))) as usize
    }
}

/// How far the indexing of a collection is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexProgress {
    /// Its name.
    pub collection: String,
    /// Live points that need no graph any more, those of the present job included.
    pub indexed: usize,
    /// Live points that still wait.
    pub pending: usize,
}

impl<K: Kv> Database<K> {
    /// Works for about so many milliseconds; says whether there is more to do here.
    ///
    /// # Errors
    /// What a job ran into. Its input stays where it was, in the log and in the memtable, and the next call begins
    /// anew.
    pub async fn work(&self, budget_ms: f64) -> Result<bool> {
        self.check_open()?;
        if self.paused.get() {
            return Ok(false);
        }
        // A job whose flip is in doubt keeps its collection from getting another one.
        self.settle().await?;
        let Some(mut running) = self.job.borrow_mut().take().or_else(|| self.next_job()) else { return Ok(false) };
        match self.slice(&mut running, budget_ms) {
            Ok(true) => {
                let is_here = !running.place.is_away();
                self.job.replace(Some(running));
                Ok(is_here)
            }
            Ok(false) => self.finish(running).await.map(|()| true),
            Err(error) => {
                running.collection.engine.borrow_mut().abandon_job(running.job.id());
                self.tell(&error);
                Err(error)
            }
        }
    }

    /// How far every open collection is.
    pub fn progress(&self) -> Vec<IndexProgress> {
        let job = self.job.borrow();
        let report = |collection: Rc<OpenCollection>| {
            let snapshot = collection.snapshot();
            let inserted = match job.as_ref().filter(|job| Rc::ptr_eq(&job.collection, &collection)) {
                Some(job) => job.inserted().min(snapshot.pending()),
                None => 0,
            };
            IndexProgress {
                collection: collection.name.clone(),
                indexed: snapshot.indexed() + inserted,
                pending: snapshot.pending() - inserted,
            }
        };
        self.loaded().into_iter().map(report).collect()
    }

    fn next_job(&self) -> Option<RunningJob> {
        self.loaded().iter().find_map(next_job_of)
    }

    /// Runs insertions until the time is up, or the job is offered to a builder; says whether any are left.
    fn slice(&self, running: &mut RunningJob, budget_ms: f64) -> Result<bool> {
        if !matches!(running.place, Place::Here) {
            return Ok(running.place.is_away());
        }
        let start = self.environment.elapsed_ms();
        loop {
            let progress = running.job.step(running.step)?;
            (running.remaining, running.total) = (progress.remaining, progress.total);
            if progress.remaining == 0 {
                return Ok(false);
            }
            if let Some(offered) = self.offer(&mut running.job, progress.remaining)? {
                running.place = offered;
                return Ok(true);
            }
            let spent = self.environment.elapsed_ms() - start;
            if spent >= budget_ms {
                // A step took longer than the whole budget: make the next one smaller.
                running.step = if spent > 2.0 * budget_ms { (running.step / 2).max(1) } else { running.step };
                return Ok(true);
            }
            if spent < budget_ms / 8.0 {
                running.step = (running.step * 2).min(1 << 16);
            }
        }
    }

    /// Stores the result of a job and puts it into service.
    async fn finish(&self, running: RunningJob) -> Result<()> {
        let RunningJob { collection, job, covers, place, .. } = running;
        let id = job.id();
        match self.store_segment(&collection, job, place).await {
            Ok((held, sealed)) => self.put_into_service(held, collection, sealed, covers).await,
            Err(error) => {
                collection.engine.borrow_mut().abandon_job(id);
                Err(error)
            }
        }
    }

    /// Stores the segment that a job made; whoever gets the lock may name it.
    async fn store_segment(
        &self,
        collection: &OpenCollection,
        job: Job,
        place: Place,
    ) -> Result<(Held<'_>, SealedJob)> {
        // Whatever is wrong with a builder's work: the next try is made here.
        let sealed = sealed(job, place).inspect_err(|_| self.lend(false))?;
        if let Some(segment) = sealed.segment() {
            self.stage(collection.space, &segment.id(), segment.bytes()).await?;
        }
        Ok((self.hold_settled().await?, sealed))
    }

    pub(super) async fn put_into_service(
        &self,
        held: Held<'_>,
        collection: Rc<OpenCollection>,
        sealed: SealedJob,
        covers: Lsn,
    ) -> Result<()> {
        if collection.dropped.get() {
            // Staged for nothing: the collection's rows are gone, and these go with the next opening.
            return Ok(());
        }
        let flip = collection.engine.borrow().flip(&sealed);
        let flipping = Flipping { collection, sealed, flip, covers };
        if let Err(error) = self.write_flip(&flipping).await {
            // It may have happened all the same: the job stays out until somebody has looked.
            self.doubt(Tried::Flip(Box::new(flipping)));
            return Err(error);
        }
        let dead = flipping.flip.dropped.iter().map(|id| segment_key(flipping.collection.space, id)).collect();
        flipping.install();
        drop(held);
        self.sweep(dead).await;
        Ok(())
    }

    /// The one step that makes a job's result what is there. What the flip drops is left alone: it is swept afterwards,
    /// when nobody can need it any more.
    async fn write_flip(&self, flipping: &Flipping) -> Result<()> {
        let (space, flip) = (flipping.collection.space, &flipping.flip);
        let identity = Identity { hlc_last: self.stamper.borrow().last_hlc(), ..self.identity.get() };
        let mut tx = self.transaction();
        tx.delete_range(Store::Wal, space_key(space), log_from(space, flip.sealed_through));
        if is_active(Mutation::CutLogBeforeFlip) {
            self.store(&tx, Durability::Strict).await?;
            tx = self.transaction();
        }
        tx.put(Store::Meta, identity_key(), identity.encode());
        tx.put(Store::Spaces, space_key(space), flipping.row());
        self.answers.borrow_mut().write(&mut tx, None);
        self.store(&tx, Durability::Strict).await?;
        self.identity.set(identity);
        Ok(())
    }
}

fn next_job_of(collection: &Rc<OpenCollection>) -> Option<RunningJob> {
    let mut engine = collection.engine.borrow_mut();
    if engine.job_is_out() {
        return None;
    }
    let wanted = collection.seal_wanted.get();
    let sealed = collection.sealed.get().max(engine.sealed_through());
    let urgency = if wanted > sealed { Urgency::Now } else { Urgency::WhenFull };
    let newest = engine.newest_lsn();
    // Asked to seal now, the engine seals whatever the memtable holds; when it merges or finds nothing to do, the
    // memtable was empty, and everything so far is sealed either way.
    let covers = if urgency == Urgency::Now { newest } else { Lsn(0) };
    let Some(job) = engine.next_job(urgency) else {
        collection.sealed.set(collection.sealed.get().max(covers));
        return None;
    };
    Some(RunningJob {
        collection: Rc::clone(collection),
        pending: job.fresh_points(),
        job,
        covers,
        place: Place::Here,
        remaining: 1,
        total: 1,
        step: FIRST_STEP,
    })
}
