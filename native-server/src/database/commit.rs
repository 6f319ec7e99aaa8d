//! Group commit: what is queued goes into the log together, is synced once, and is published in the order of its
//! preparing.
//!
//! A write waits for no timer. While one group is on its way to the device the next one gathers. When a group fails,
//! everything queued behind it fails too: a later record of a collection must not be published without an earlier one.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use hyperspace_core::collection::{Applied, Collection, Prepared};
use hyperspace_core::error::{Error, Result};
use hyperspace_core::types::Lsn;
use tokio::sync::oneshot;

use super::collection::OpenCollection;
use super::options::{State, Written};
use super::{Database, Workers, held};
use crate::mutation::{self, Mutation};
use crate::store::log::{Log, LogEntry};

/// Bytes of records after which a group is closed.
const GROUP_BYTES: usize = 8 << 20;

/// A write on its way to the device. Who drops it stops waiting; the write goes on.
#[derive(Debug)]
pub struct Ticket {
    /// What is known already.
    written: Written,
    /// The records that are on their way.
    awaited: Vec<oneshot::Receiver<Result<Written>>>,
}

impl Ticket {
    /// A write that had nothing to do; `newest` is the newest number in the log.
    pub(super) fn done(newest: Lsn) -> Self {
        Self { written: Written { sequence: newest.0, ..Written::default() }, awaited: Vec::new() }
    }

    /// A write of several records.
    pub(super) fn all(tickets: Vec<Self>) -> Self {
        let mut all = Self { written: Written::default(), awaited: Vec::new() };
        for ticket in tickets {
            all.written.add(&ticket.written);
            all.awaited.extend(ticket.awaited);
        }
        all
    }

    /// Answers when the write is durable as asked, and visible.
    ///
    /// # Errors
    /// `LimitExceeded` when the disk is full, `NotFound` when the collection was deleted meanwhile: nothing was written.
    /// After `Unavailable` the write may be there or not.
    pub async fn wait(self) -> Result<Written> {
        let mut written = self.written;
        for answer in self.awaited {
            written.add(&answer.await.unwrap_or_else(|_| Err(gone()))?);
        }
        Ok(written)
    }

    /// The same for a thread that may block.
    ///
    /// # Errors
    /// As [`Ticket::wait`].
    pub fn wait_blocking(self) -> Result<Written> {
        let mut written = self.written;
        for answer in self.awaited {
            written.add(&answer.blocking_recv().unwrap_or_else(|_| Err(gone()))?);
        }
        Ok(written)
    }
}

fn gone() -> Error {
    Error::unavailable("the database ended before the write was answered: it may be there or not")
}

/// Prepared writes of all collections.
#[derive(Debug, Default)]
pub(super) struct Queue {
    state: Mutex<QueueState>,
    arrived: Condvar,
    /// Bytes of the records that are not answered yet.
    bytes: Arc<AtomicUsize>,
}

#[derive(Debug, Default)]
struct QueueState {
    waiting: VecDeque<Waiting>,
    /// A group has failed, and what was prepared behind it is being given up.
    failing: bool,
    /// Why nothing more is taken.
    stopped: Option<Error>,
}

#[derive(Debug)]
struct Waiting {
    collection: Arc<OpenCollection>,
    prepared: Prepared,
    strict: bool,
    answer: oneshot::Sender<Result<Written>>,
    #[expect(dead_code, reason = "held for its drop")]
    weight: Weight,
}

/// What a record adds to the bytes of the queue, until it is dropped.
#[derive(Debug)]
struct Weight(usize, Arc<AtomicUsize>);

impl Weight {
    fn of(bytes: usize, sum: &Arc<AtomicUsize>) -> Self {
        sum.fetch_add(bytes, Ordering::Relaxed);
        Self(bytes, Arc::clone(sum))
    }
}

impl Drop for Weight {
    fn drop(&mut self) {
        self.1.fetch_sub(self.0, Ordering::Relaxed);
    }
}

impl QueueState {
    fn take_group(&mut self) -> Vec<Waiting> {
        let sizes = self.waiting.iter().map(|waiting| waiting.prepared.record().len());
        let sums = sizes.scan(0, |sum, size| {
            *sum += size;
            Some(*sum)
        });
        let count = sums.take_while(|&sum| sum <= GROUP_BYTES).count().max(1);
        self.waiting.drain(..count).collect()
    }
}

impl Queue {
    /// Bytes of the records that are not answered yet.
    pub(super) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Queues a write; the caller holds the lock of the collection's writer, so that the queue has its writes in order.
    ///
    /// # Errors
    /// `Unavailable`, or why the queue was stopped; then the caller gives up what it prepared before it lets go of the lock.
    pub(super) fn push(&self, collection: &Arc<OpenCollection>, prepared: Prepared, strict: bool) -> Result<Ticket> {
        let (answer, awaited) = oneshot::channel();
        let mut state = held(&self.state);
        if let Some(error) = &state.stopped {
            return Err(error.clone());
        }
        if state.failing {
            return Err(Error::unavailable("the write before this one failed: try again"));
        }
        let weight = Weight::of(prepared.record().len(), &self.bytes);
        state.waiting.push_back(Waiting { collection: Arc::clone(collection), prepared, strict, answer, weight });
        self.arrived.notify_one();
        Ok(Ticket { written: Written::default(), awaited: vec![awaited] })
    }

    /// Refuses everything from now on with this error, and ends the log's thread once the queue is empty.
    pub(super) fn stop(&self, error: Error) {
        held(&self.state).stopped = Some(error);
        self.arrived.notify_all();
    }

    /// Waits for writes; `None` when there are none and will be none.
    fn next_group(&self) -> Option<Vec<Waiting>> {
        let mut state = held(&self.state);
        while state.waiting.is_empty() {
            if state.stopped.is_some() {
                return None;
            }
            state = self.arrived.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        Some(state.take_group())
    }

    /// Takes what is queued, as far as it goes into one group.
    fn queued_group(&self) -> Option<Vec<Waiting>> {
        let mut state = held(&self.state);
        (!state.waiting.is_empty()).then(|| state.take_group())
    }

    /// Takes everything that waits, and refuses more until [`Queue::go_on`].
    fn fail(&self) -> Vec<Waiting> {
        let mut state = held(&self.state);
        state.failing = true;
        state.waiting.drain(..).collect()
    }

    fn go_on(&self) {
        held(&self.state).failing = false;
    }

    /// Refuses everything from now on, and lets those who wait know.
    fn give_up(&self, error: Error) {
        let mut state = held(&self.state);
        for waiting in state.waiting.drain(..) {
            let _ = waiting.answer.send(Err(error.clone()));
        }
        state.stopped = Some(error);
    }
}

/// Starts the thread that writes the log.
pub(super) fn start(database: &Arc<Database>) -> Result<JoinHandle<()>> {
    let (queue, database) = (Arc::clone(&database.queue), Arc::downgrade(database));
    let run = move || {
        while let Some(group) = queue.next_group() {
            // Without a database nobody waits for an answer.
            let Some(database) = database.upgrade() else { return };
            if catch_unwind(AssertUnwindSafe(|| database.commit(group))).is_err() {
                // How far it got is not known; what is on the device is read when the database is opened again.
                let error = Error::unavailable("a bug: the log's thread panicked");
                database.become_read_only(&error);
                queue.give_up(error);
                database.open_collections().iter().for_each(|collection| collection.tell());
                return;
            }
        }
    };
    let started = thread::Builder::new().name("hs-log".into()).spawn(run);
    started.map_err(|error| Error::unavailable(format!("starting the log's thread: {error}")))
}

impl Database {
    /// Writes the group that is queued, on the calling thread; says whether there was one. A database with threads of its
    /// own does that by itself, and here nothing.
    pub fn commit_next(&self) -> bool {
        if self.environment.workers == Workers::Own {
            return false;
        }
        // Groups are published in the order in which they were taken.
        let _committing = held(&self.committing);
        let Some(group) = self.queue.queued_group() else { return false };
        self.commit(group);
        true
    }

    fn commit(&self, group: Vec<Waiting>) {
        let was_crowded = self.queue.bytes() > self.options.memtable_limit;
        let mut kept = Vec::with_capacity(group.len());
        for waiting in group {
            match waiting.collection.check() {
                Ok(()) => kept.push(waiting),
                Err(error) => drop(waiting.answer.send(Err(error))),
            }
        }
        let group = kept;
        if let Err(error) = self.append(&group) {
            self.give_up(group, &error);
            return;
        }
        for (Waiting { prepared, answer, .. }, published) in self.publish(group) {
            if let Err(error) = &published {
                self.become_read_only(error);
            }
            self.count(published.as_ref().ok());
            // Who asked may have gone.
            let _ = answer.send(published.map(|applied| Written { sequence: prepared.lsn().0, applied }));
        }
        if mutation::is(Mutation::AnswerBeforeSync) {
            let _ = self.sync_log();
        }
        if was_crowded {
            // Writers of any collection may have waited for room in the queue.
            self.open_collections().iter().for_each(|collection| collection.tell());
        }
        self.shorten_log();
    }

    /// Shows what each collection has of a group at once: a view for every write would cost as much as all that waits for
    /// a graph. The order matters within a collection only.
    fn publish(&self, mut group: Vec<Waiting>) -> impl Iterator<Item = (Waiting, Result<Applied>)> + use<> {
        group.sort_by_key(|waiting| waiting.collection.space());
        let mut published = Vec::with_capacity(group.len());
        for writes in group.chunk_by(|a, b| a.collection.space() == b.collection.space()) {
            let collection = &writes[0].collection;
            let prepared = writes.iter().map(|waiting| &waiting.prepared);
            published.extend(collection.write(|engine| engine.publish_group(prepared)));
            self.note_work(collection);
        }
        group.into_iter().zip(published)
    }

    fn append(&self, group: &[Waiting]) -> Result<()> {
        let entries: Vec<LogEntry<'_>> = group
            .iter()
            .map(|Waiting { collection, prepared, .. }| LogEntry {
                space: collection.space(),
                lsn: prepared.lsn(),
                record: prepared.record(),
            })
            .collect();
        self.with_log(|log| {
            log.append(&entries)?;
            let is_strict = group.iter().any(|waiting| waiting.strict) && !mutation::is(Mutation::AnswerBeforeSync);
            if is_strict { log.sync() } else { Ok(()) }
        })
    }

    /// Makes everything that is visible durable.
    pub(super) fn sync_log(&self) -> Result<()> {
        self.with_log(Log::sync)
    }

    /// Takes the numbers of a group and of everything behind it back, then answers with the error: who asks again at
    /// once is not refused.
    fn give_up(&self, mut group: Vec<Waiting>, error: &Error) {
        group.extend(self.queue.fail());
        for Waiting { collection, .. } in &group {
            collection.read(Collection::give_up_prepared);
        }
        self.queue.go_on();
        for Waiting { collection, answer, .. } in group {
            collection.tell();
            let _ = answer.send(Err(error.clone()));
        }
    }

    fn count(&self, applied: Option<&Applied>) {
        let Applied { upserted, deleted, .. } = applied.copied().unwrap_or_default();
        self.points_written.fetch_add(upserted as u64, Ordering::Relaxed);
        self.points_deleted.fetch_add(deleted as u64, Ordering::Relaxed);
    }

    /// When the log has grown long, removes what is no longer needed of it, and seals the memtables that keep the rest.
    ///
    /// What was sealed while it stood in the last file could not be removed then, and nobody else looks at it again. While
    /// a snapshot keeps all files it is left to the end of that.
    pub(super) fn shorten_log(&self) {
        let is_long = |log: &Log| log.bytes() > self.options.log_limit || log.files() > self.options.most_log_files();
        if !held(&self.log).as_ref().is_some_and(is_long) {
            return;
        }
        if let Ok(_layout) = self.layout.try_read()
            && self.state() == State::Ready
        {
            self.cut_log();
        }
        let holders: Vec<_> =
            held(&self.log).as_ref().filter(|log| is_long(log)).into_iter().flat_map(Log::oldest_holds).collect();
        for (space, newest) in holders {
            if let Some(collection) = self.by_number(space).filter(|c| c.sealed_through() < newest) {
                self.ask_for_seal(&collection);
            }
        }
    }

    /// Has a memtable sealed however small it is.
    pub(super) fn ask_for_seal(&self, collection: &OpenCollection) {
        collection.want_seal();
        self.due.seal(collection.space());
    }
}
