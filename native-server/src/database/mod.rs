//! A database: all collections of all tenants in one data directory, with the threads that work for them.
//!
//! Writes are prepared under their collection's lock and queued in that order; one thread appends what is queued to the
//! log, syncs it when one of them asked for that, and publishes. Indexers seal and merge on their own threads and put
//! their results into service by replacing a manifest. Searches take a snapshot and meet none of this.
//!
//! Invariants: a record is in the log, as durable as asked, before it is visible or acknowledged; a log file goes only
//! when manifests that cover its records are durable; what cannot be known after a failure (a sync, the rename of a
//! manifest) makes the database read-only until it is opened again, which [`Keeper`] does while the process lives.

mod aside;
mod builders;
pub mod check;
mod collection;
mod commit;
mod environment;
mod follow;
mod jobs;
mod keeper;
mod manage;
mod options;
mod recover;
mod replicate;
mod ship;
mod upkeep;
mod write;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::thread::JoinHandle;
use std::time::Instant;

use hyperspace_core::error::{Error, Result};
use hyperspace_core::log::Stamper;
use hyperspace_core::types::{SpaceId, Tenant};
use tokio::sync::{Notify, watch};

use crate::disk::{self, DirectoryLock, Disk, LocalDisk};
use crate::store::catalog::Catalog;
use crate::store::files::{self, SNAPSHOTS, Unreplaced};
use crate::store::log::Log;

pub use collection::OpenCollection;
pub use commit::Ticket;
pub use environment::{Environment, Workers};
pub use follow::Stepped;
pub use hyperspace_core::collection::Tuning;
pub use keeper::Keeper;
pub use options::{
    CollectionStats, DatabaseOptions, DatabaseStats, SegmentStats, SnapshotReport, State, VacuumReport, Which, Written,
};
pub use replicate::{Greeting, Items, PINNED_FOR};

use builders::Builders;
use commit::Queue;
use jobs::Due;
use replicate::Pinned;
use ship::Lent;

/// All collections of all tenants in one data directory.
///
/// Methods may block on the disk: they are called where that is allowed.
#[derive(Debug)]
pub struct Database {
    environment: Environment,
    options: DatabaseOptions,
    spaces: RwLock<BTreeMap<(Tenant, String), Entry>>,
    numbered: RwLock<BTreeMap<SpaceId, Arc<OpenCollection>>>,
    /// Held while collections come and go. Lock order: this, `layout`, a collection's locks, `stamper`, `catalog`, `log`.
    managing: Mutex<()>,
    /// What is stored in the catalog; held while it is replaced.
    catalog: Mutex<Catalog>,
    /// Read by whoever changes which files belong to the database; written by who wants none to change: a snapshot, and
    /// the end.
    layout: RwLock<()>,
    stamper: Mutex<Stamper>,
    /// Nothing while the database is read-only from the start.
    log: Mutex<Option<Log>>,
    queue: Arc<Queue>,
    /// Held by the caller who writes a group.
    committing: Mutex<()>,
    due: Arc<Due>,
    builders: Builders,
    state: Mutex<State>,
    /// Signalled when the database has failed.
    failure: Notify,
    /// It was opened read-only because of damage, which opening it again would find again.
    is_damaged: bool,
    threads: Mutex<Vec<JoinHandle<()>>>,
    lock: Mutex<Option<DirectoryLock>>,
    /// Bytes of the log, for writers that look whether there is room.
    log_bytes: AtomicU64,
    /// The term in which it leads: that of a collection which is made in it.
    term: AtomicU32,
    points_written: AtomicU64,
    points_deleted: AtomicU64,
    /// Live points of a moment that replicas reconcile with, oldest first.
    pinned: Mutex<Vec<Pinned>>,
    /// Segments that replicas fetch.
    lent: Mutex<Vec<Lent>>,
    /// Tells whenever a collection changes.
    told: watch::Sender<()>,
    /// Tells whenever collections come, go or are tuned, or a file beside them is replaced.
    catalogued: watch::Sender<()>,
}

/// A collection in the catalog.
#[derive(Clone, Debug)]
enum Entry {
    Open(Arc<OpenCollection>),
    /// Its files, or its records in the log, fail their checks.
    Damaged(SpaceId, Error),
}

impl Database {
    /// Takes a directory's lock, recovers what is stored there, starts the log's thread and the indexers.
    ///
    /// # Errors
    /// `Unavailable` when another process has the directory; `Corrupted` when its catalog is damaged; what the disk says.
    pub fn open(folder: &Path, options: DatabaseOptions) -> Result<Arc<Self>> {
        let (disk, lock) = LocalDisk::open(folder)?;
        let disk: Arc<dyn Disk> = Arc::new(disk);
        let database = Self::open_on(disk, options)?;
        *held(&database.lock) = Some(lock);
        Ok(database)
    }

    /// The same on a disk that the caller owns alone, or in a whole environment of the caller's.
    ///
    /// # Errors
    /// As [`Database::open`].
    pub fn open_on(environment: impl Into<Environment>, options: DatabaseOptions) -> Result<Arc<Self>> {
        let database = Arc::new(Self::recover(environment.into(), options)?);
        let mut threads = held(&database.threads);
        if database.state() == State::Ready && database.environment.workers == Workers::Own {
            threads.push(commit::start(&database)?);
            for number in 0..database.options.indexers {
                threads.push(jobs::start(&database, number)?);
            }
        }
        drop(threads);
        Ok(database)
    }

    /// Whether writes are accepted.
    pub fn state(&self) -> State {
        held(&self.state).clone()
    }

    /// Whether it accepts no writes and may when it is opened again: something failed, or the disk was full at the start.
    pub fn has_failed(&self) -> bool {
        matches!(*held(&self.state), State::ReadOnly(_)) && !self.is_damaged
    }

    /// Waits until [`Database::has_failed`]. One waits at a time.
    pub(super) async fn failed(&self) {
        while !self.has_failed() {
            self.failure.notified().await;
        }
    }

    /// A collection by name.
    ///
    /// # Errors
    /// `NotFound`, or `Corrupted` when its files are damaged.
    pub fn collection(&self, tenant: &Tenant, name: &str) -> Result<Arc<OpenCollection>> {
        self.check_open()?;
        match read(&self.spaces).get(&(tenant.clone(), name.to_owned())) {
            Some(Entry::Open(collection)) => Ok(Arc::clone(collection)),
            Some(Entry::Damaged(_, error)) => Err(error.clone()),
            None => Err(Error::not_found(format!("there is no collection `{}`", name.escape_debug()))),
        }
    }

    /// The collections of a tenant by name, damaged ones aside.
    pub fn collections(&self, tenant: &Tenant) -> Vec<Arc<OpenCollection>> {
        let spaces = read(&self.spaces);
        let own = spaces.range((tenant.clone(), String::new())..).take_while(|((owner, _), _)| owner == tenant);
        own.filter_map(|(_, entry)| match entry {
            Entry::Open(collection) => Some(Arc::clone(collection)),
            Entry::Damaged(..) => None,
        })
        .collect()
    }

    /// Counters of the whole database.
    pub fn stats(&self) -> DatabaseStats {
        let (log_bytes, (log_syncs, log_records)) =
            held(&self.log).as_ref().map_or((0, (0, 0)), |log| (log.bytes(), log.counts()));
        DatabaseStats {
            points_written: self.points_written.load(Ordering::Relaxed),
            points_deleted: self.points_deleted.load(Ordering::Relaxed),
            disk_bytes: bytes_below(self.disk(), Path::new("")),
            log_bytes,
            disk_free_bytes: disk::free_bytes(&self.disk().location(Path::new(""))).unwrap_or(0),
            log_syncs,
            log_records,
        }
    }

    /// Refuses new writes, answers those under way, makes the log durable, stops all threads, gives the directory back.
    ///
    /// # Errors
    /// What the disk says; it is closed all the same.
    pub fn close(&self) -> Result<()> {
        let before = std::mem::replace(&mut *held(&self.state), State::Closed);
        let panicked = self.retire(&Error::closed("the database is closed"));
        let closed = match held(&self.log).as_mut() {
            Some(log) if before == State::Ready => log.close(),
            _ => Ok(()),
        };
        drop(held(&self.lock).take());
        closed?;
        if panicked > 0 {
            return Err(Error::internal(format!("{panicked} threads of the database had panicked")));
        }
        Ok(())
    }

    /// Waits until `done` holds; says whether it does before the deadline, or before nothing is left to be done for it.
    fn wait_until(
        &self,
        collection: &OpenCollection,
        deadline: Option<Instant>,
        mut done: impl FnMut() -> bool,
    ) -> bool {
        if self.environment.workers == Workers::Own {
            return collection.wait_until(deadline, done);
        }
        // Nobody else would do it.
        loop {
            if done() {
                return true;
            }
            if !self.commit_next() && !self.work_next().unwrap_or(false) {
                return done();
            }
        }
    }

    fn disk(&self) -> &dyn Disk {
        &*self.environment.disk
    }

    fn now_ms(&self) -> u64 {
        self.environment.clock.now_ms()
    }

    /// Answers the writes that are queued and refuses those that come with this error; stops all threads and says how many
    /// had panicked. The state says already that nothing is to be written: from here on nothing is.
    fn retire(&self, refusal: &Error) -> usize {
        self.due.stop();
        self.queue.stop(refusal.clone());
        self.open_collections().iter().for_each(|collection| collection.tell());
        let threads = std::mem::take(&mut *held(&self.threads));
        let panicked = threads.into_iter().filter_map(|thread| thread.join().err()).count();
        while self.commit_next() {}
        // Callers who are changing files finish first, and those who come later look at the state.
        drop(write(&self.layout));
        drop(held(&self.catalog));
        panicked
    }

    /// Works with the log; once it is broken, nothing more is written.
    fn with_log<T>(&self, work: impl FnOnce(&mut Log) -> Result<T>) -> Result<T> {
        let mut log = held(&self.log);
        let log = log.as_mut().ok_or_else(|| Error::unavailable("the database has no log to write to"))?;
        let outcome = work(log);
        self.log_bytes.store(log.bytes(), Ordering::Relaxed);
        if let Some(broken) = log.broken() {
            self.become_read_only(broken);
        }
        outcome
    }

    fn check_open(&self) -> Result<()> {
        if *held(&self.state) == State::Closed { Err(Error::closed("the database is closed")) } else { Ok(()) }
    }

    /// # Errors
    /// `Closed`, or `Unavailable` with the reason when nothing can be written.
    fn check_writable(&self) -> Result<()> {
        match &*held(&self.state) {
            State::Ready => Ok(()),
            State::ReadOnly(reason) => Err(Error::unavailable(format!("the database is read-only: {reason}"))),
            State::Closed => Err(Error::closed("the database is closed")),
        }
    }

    /// Accepts no more writes: what is on the device is not known, or not to be changed.
    fn become_read_only(&self, reason: &Error) {
        let mut state = held(&self.state);
        if *state == State::Ready {
            tracing::error!(reason = reason.message(), "the database is read-only until it is opened again");
            *state = State::ReadOnly(reason.message().to_owned());
            drop(state);
            self.failure.notify_one();
            // Who waits for room, or for a write, waits in vain.
            self.open_collections().iter().for_each(|collection| collection.tell());
        }
    }

    /// Keeps snapshots and the end of the database away while files come and go.
    fn change_files(&self) -> Result<RwLockReadGuard<'_, ()>> {
        let layout = read(&self.layout);
        self.check_writable()?;
        Ok(layout)
    }

    /// Takes note of a file that may or may not have been replaced.
    fn unreplaced(&self, failure: Unreplaced) -> Error {
        if failure.doubtful {
            self.become_read_only(&failure.error);
        }
        failure.error
    }

    /// Replaces the catalog by a changed one.
    fn change_catalog<T>(&self, change: impl FnOnce(&mut Catalog) -> T) -> Result<T> {
        let mut stored = held(&self.catalog);
        self.check_writable()?;
        let mut changed = stored.clone();
        let outcome = change(&mut changed);
        files::replace(self.disk(), Path::new(files::CATALOG), &changed.encode())
            .map_err(|failure| self.unreplaced(failure))?;
        *stored = changed;
        Ok(outcome)
    }
}

impl Database {
    /// All collections of all tenants, damaged ones aside.
    pub fn open_collections(&self) -> Vec<Arc<OpenCollection>> {
        let spaces = read(&self.spaces);
        let open = spaces.values().filter_map(|entry| match entry {
            Entry::Open(collection) => Some(Arc::clone(collection)),
            Entry::Damaged(..) => None,
        });
        open.collect()
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // Threads hold no reference that keeps the database: they end when they see that it is gone.
        self.due.stop();
        self.queue.stop(Error::closed("the database is gone"));
    }
}

/// Locks what no panic can leave half changed.
fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

/// Bytes of the files below a directory, snapshots aside.
fn bytes_below(disk: &dyn Disk, directory: &Path) -> u64 {
    // A figure is not worth an error: what cannot be listed is not counted.
    let entries = disk.list(directory).unwrap_or_default();
    let below = entries.iter().filter(|entry| entry.is_directory && entry.name != SNAPSHOTS);
    let below: u64 = below.map(|entry| bytes_below(disk, &directory.join(&entry.name))).sum();
    below + entries.iter().map(|entry| entry.len).sum::<u64>()
}
