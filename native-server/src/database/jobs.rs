//! Indexers: threads that seal memtables and merge segments, store the results and put them into service.
//!
//! With two or more, the first one only seals: however long a merge takes, memtables do not grow meanwhile.

use std::collections::{BTreeSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use hyperspace_core::collection::{Job, SealedJob, Urgency};
use hyperspace_core::error::{Error, Result};
use hyperspace_core::segment::{Checks, Segment};
use hyperspace_core::types::{Lsn, SegmentId, SpaceId};

use super::collection::OpenCollection;
use super::{Database, State, Workers, held, read};
use crate::disk::failed;
use crate::mutation::{self, Mutation};
use crate::store::files::{self, segment_file};

/// Graph insertions between two looks at whether the job is still wanted.
const STEP: u32 = 256;
/// How long an indexer rests after a job that failed, before the next try.
const REST: Duration = Duration::from_secs(1);

/// Which collections have work, each at most once.
#[derive(Debug, Default)]
pub(super) struct Due {
    state: Mutex<DueState>,
    arrived: Condvar,
}

#[derive(Debug, Default)]
struct DueState {
    seals: Line,
    merges: Line,
    stopped: bool,
}

#[derive(Debug, Default)]
struct Line {
    order: VecDeque<SpaceId>,
    waiting: BTreeSet<SpaceId>,
}

impl Line {
    fn push(&mut self, space: SpaceId) {
        if self.waiting.insert(space) {
            self.order.push_back(space);
        }
    }

    fn pop(&mut self) -> Option<SpaceId> {
        let space = self.order.pop_front()?;
        self.waiting.remove(&space);
        Some(space)
    }
}

/// What an indexer is to look for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Seal,
    Merge,
}

impl DueState {
    fn take(&mut self, seals_only: bool) -> Option<(Kind, SpaceId)> {
        if let Some(space) = self.seals.pop() {
            return Some((Kind::Seal, space));
        }
        let space = if seals_only { None } else { self.merges.pop() };
        space.map(|space| (Kind::Merge, space))
    }
}

impl Due {
    /// Notes that a memtable is to be sealed.
    pub(super) fn seal(&self, space: SpaceId) {
        held(&self.state).seals.push(space);
        self.arrived.notify_all();
    }

    /// Notes that segments may be merged.
    pub(super) fn merge(&self, space: SpaceId) {
        held(&self.state).merges.push(space);
        self.arrived.notify_all();
    }

    /// Notes that a piece of work is still to be done.
    fn again(&self, (kind, space): (Kind, SpaceId)) {
        if kind == Kind::Seal { self.seal(space) } else { self.merge(space) }
    }

    /// Takes a piece of work, if there is any.
    fn take(&self) -> Option<(Kind, SpaceId)> {
        held(&self.state).take(false)
    }

    /// Ends all indexers, in the middle of their jobs.
    pub(super) fn stop(&self) {
        held(&self.state).stopped = true;
        self.arrived.notify_all();
    }

    fn is_stopped(&self) -> bool {
        held(&self.state).stopped
    }

    /// Waits for work; `None` when there will be none.
    fn next(&self, seals_only: bool) -> Option<(Kind, SpaceId)> {
        let mut state = held(&self.state);
        loop {
            if state.stopped {
                return None;
            }
            if let Some(work) = state.take(seals_only) {
                return Some(work);
            }
            state = self.arrived.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Waits a while, or until the end.
    fn rest(&self) {
        let state = held(&self.state);
        drop(self.arrived.wait_timeout_while(state, REST, |state| !state.stopped));
    }
}

/// Starts an indexer.
pub(super) fn start(database: &Arc<Database>, number: usize) -> Result<JoinHandle<()>> {
    let seals_only = number == 0 && database.options.indexers > 1;
    let (due, database) = (Arc::clone(&database.due), Arc::downgrade(database));
    let run = move || {
        while let Some((kind, space)) = due.next(seals_only) {
            let Some(database) = database.upgrade() else { return };
            let Some(collection) = database.by_number(space) else { continue };
            if let Err(error) = database.work(&collection, kind) {
                tracing::warn!(collection = collection.name(), %error, "background work failed and will be tried again");
                drop(database);
                due.rest();
                due.again((kind, space));
            }
        }
    };
    let started = thread::Builder::new().name(format!("hs-index-{number}")).spawn(run);
    started.map_err(|error| Error::unavailable(format!("starting an indexer: {error}")))
}

impl Database {
    /// Does one piece of work that is due, on the calling thread: a look at one collection, and the seal or the merge that
    /// it needs. Says whether there was any. A database with threads of its own does that by itself, and here nothing.
    ///
    /// # Errors
    /// What the disk says; the work stays due.
    pub fn work_next(&self) -> Result<bool> {
        if self.environment.workers == Workers::Own {
            return Ok(false);
        }
        let Some((kind, space)) = self.due.take() else { return Ok(false) };
        let outcome = self.by_number(space).map_or(Ok(()), |collection| self.work(&collection, kind));
        outcome.inspect_err(|_| self.due.again((kind, space))).map(|()| true)
    }

    /// Does one piece of work for a collection, if there is any of that kind.
    fn work(&self, collection: &Arc<OpenCollection>, kind: Kind) -> Result<()> {
        if self.state() != State::Ready {
            return Ok(());
        }
        // Where that is not enough, it is asked for again when the log is cut, or by those who wait.
        let urgency = if kind == Kind::Seal { collection.take_urgency() } else { Urgency::WhenFull };
        let job = collection.read(|engine| match kind {
            Kind::Seal => engine.next_seal(urgency),
            Kind::Merge => engine.next_merge(urgency),
        });
        // Nothing has changed, so nobody is told: a writer that waits would only ask for the next look.
        let Some(job) = job else { return Ok(()) };
        if kind == Kind::Merge {
            // Another indexer may find segments that this one does not hold.
            self.due.merge(collection.space());
        }
        let outcome = self.run(collection, job).map(drop);
        if outcome.is_err() && urgency == Urgency::Now {
            collection.want_seal();
        }
        outcome
    }

    /// Builds what a job is about and puts it into service; answers how many bytes the new segment has, or nothing when
    /// nobody wanted it any more.
    pub(super) fn run(&self, collection: &Arc<OpenCollection>, job: Job) -> Result<Option<usize>> {
        let id = job.id();
        let built = catch_unwind(AssertUnwindSafe(|| self.build(collection, job)));
        let built = built.unwrap_or_else(|_| Err(Error::internal("a bug: a background job panicked")));
        let outcome = built.and_then(|sealed| match sealed {
            Some(sealed) => self.put_into_service(collection, sealed),
            None => Ok(None),
        });
        if !matches!(outcome, Ok(Some(_))) {
            collection.read(|engine| engine.abandon_job(id));
        }
        self.note_work(collection);
        collection.tell();
        outcome
    }

    /// Queues what is to be done for a collection: its memtable is full, segments can be merged, many points are dead.
    pub(super) fn note_work(&self, collection: &OpenCollection) {
        let (seal, merge) = collection.read(|engine| {
            let urgency = collection.urgency();
            (engine.seal_is_due(urgency), engine.merge_is_due(urgency))
        });
        if seal {
            self.due.seal(collection.space());
        }
        if merge {
            self.due.merge(collection.space());
        }
    }

    /// Runs a job to its end; `None` when nobody wants it any more.
    fn build(&self, collection: &OpenCollection, mut job: Job) -> Result<Option<SealedJob>> {
        while self.builders.lead(|| job.step_with(&self.builders, STEP))?.remaining > 0 {
            if self.due.is_stopped() || collection.check().is_err() {
                return Ok(None);
            }
        }
        let mut sealed = job.finish()?;
        if let Some(segment) = sealed.segment() {
            let Ok(_layout) = self.change_files() else { return Ok(None) };
            if !mutation::is(Mutation::ManifestBeforeSegment) {
                sealed.replace_segment(self.store_segment(collection.space(), segment)?)?;
            }
        }
        Ok(Some(sealed))
    }

    /// Makes a segment durable; answers as what it is there.
    fn store_segment(&self, space: SpaceId, segment: &Segment) -> Result<Arc<Segment>> {
        let (id, path) = (segment.id(), segment_file(space, segment.id()));
        files::replace(self.disk(), &path, segment.bytes()).map_err(|failure| failure.error)?;
        let bytes = self.disk().map(&path).map_err(|error| failed("mapping", &path, error))?;
        Ok(Arc::new(Segment::open(id, bytes, Checks::Structure)?))
    }

    /// Makes a job's result what is there: first on the device, then for readers. Answers as [`Database::run`].
    fn put_into_service(&self, collection: &Arc<OpenCollection>, mut sealed: SealedJob) -> Result<Option<usize>> {
        let space = collection.space();
        let _layout = read(&self.layout);
        let _flipping = held(&collection.flipping);
        if collection.check().is_err() || self.state() != State::Ready {
            // What was stored is swept with its collection, or when the database is opened again.
            return Ok(None);
        }
        let flip = collection.read(|engine| engine.flip(&sealed));
        if mutation::is(Mutation::SegmentsGoBeforeManifest) {
            self.remove_segments(space, &flip.dropped);
        }
        if mutation::is(Mutation::LogGoesBeforeManifest) {
            self.with_log(|log| {
                log.cut(|other| (other == space).then_some(flip.sealed_through).or(self.covered(other)))
            })?;
        }
        if let Err(error) = self.replace_manifest(space, &flip.manifest) {
            self.discard(collection, flip.added.as_deref());
            return Err(error);
        }
        if mutation::is(Mutation::ManifestBeforeSegment)
            && let Some(segment) = &flip.added
        {
            sealed.replace_segment(self.store_segment(space, segment)?)?;
        }
        collection.write(|engine| engine.install(sealed));
        self.remove_segments(space, &flip.dropped);
        self.cut_log();
        self.shorten_log();
        Ok(Some(flip.added.map_or(0, |segment| segment.byte_len())))
    }

    /// Removes segments that no manifest names any more.
    fn remove_segments(&self, space: SpaceId, dropped: &[SegmentId]) {
        for &id in dropped {
            let path = segment_file(space, id);
            if let Err(error) = self.disk().remove(&path) {
                tracing::warn!(path = %path.display(), %error, "a segment that nothing names stays until the next start");
            }
        }
    }

    /// Gives the space of a segment back that no manifest names, as far as that is known.
    fn discard(&self, collection: &OpenCollection, added: Option<&Segment>) {
        let is_named = |id| collection.snapshot().segments().iter().any(|s| s.segment.id() == id);
        let Some(id) = added.map(Segment::id).filter(|&id| self.state() == State::Ready && !is_named(id)) else {
            return;
        };
        // What cannot be removed now is swept when the database is opened again.
        let _ = self.disk().remove(&segment_file(collection.space(), id));
    }

    /// Up to where the records of a space are in segments; nothing when it does not exist any more.
    fn covered(&self, space: SpaceId) -> Option<Lsn> {
        match self.by_number(space) {
            Some(collection) => Some(collection.sealed_through()),
            None => self.is_damaged(space).then_some(Lsn(0)),
        }
    }

    /// Removes the log files whose records are all in segments; the caller sees to it that no snapshot needs them.
    pub(super) fn cut_log(&self) {
        let before = self.log_bytes.load(Ordering::Relaxed);
        if let Err(error) = self.with_log(|log| log.cut(|space| self.covered(space))) {
            tracing::warn!(%error, "old log files stay for now");
        }
        if self.log_bytes.load(Ordering::Relaxed) < before {
            // Writers of any collection may have waited for that.
            self.open_collections().iter().for_each(|collection| collection.tell());
        }
    }
}
