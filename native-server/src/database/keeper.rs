//! The database that is served now, and how another one takes its place after a failure.
//!
//! A sync that failed is never tried again, and a database that does not know what is on the device never finds out. So it
//! ends its threads, and the directory is opened again as a new process would: the log is read back, and what may be in the
//! system's memory only is written anew, into new files. Until that has succeeded the old one answers searches. Writes that
//! were not acknowledged may be there afterwards or not.
//!
//! Invariants: the directory's lock is never let go of in between; the failed database changes nothing on the disk once the
//! next one begins to read it. Knows nothing of when to try: that is the caller's.

use std::path::Path;
use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;
use hyperspace_core::error::{Error, Result};

use super::options::{DatabaseOptions, DatabaseStats, State};
use super::{Database, Environment, held};

/// Serves a data directory, by one database after another.
#[derive(Debug)]
pub struct Keeper {
    present: ArcSwap<Database>,
    past: Mutex<Past>,
    /// Held while another database is put in the place of the present one, and by who ends it.
    changing: Mutex<()>,
}

/// What databases before the present one have done.
#[derive(Debug, Default)]
struct Past {
    reopenings: u64,
    stats: DatabaseStats,
}

impl Keeper {
    /// Opens a directory.
    ///
    /// # Errors
    /// Those of [`Database::open`].
    pub fn open(folder: &Path, options: DatabaseOptions) -> Result<Self> {
        Database::open(folder, options).map(Self::of)
    }

    /// The same on a disk that the caller owns alone, or in a whole environment of the caller's.
    ///
    /// # Errors
    /// Those of [`Database::open_on`].
    pub fn open_on(environment: impl Into<Environment>, options: DatabaseOptions) -> Result<Self> {
        Database::open_on(environment, options).map(Self::of)
    }

    fn of(database: Arc<Database>) -> Self {
        Self { present: ArcSwap::new(database), past: Mutex::default(), changing: Mutex::default() }
    }

    /// The present database. Who keeps it over a failure is told `Unavailable` for every write, and searches what it was.
    pub fn database(&self) -> Arc<Database> {
        self.present.load_full()
    }

    /// Waits until the present database has failed: [`Keeper::reopen`] is worth a try.
    pub async fn failed(&self) {
        self.database().failed().await;
    }

    /// Opens the directory again when its database has failed; may be called again and again.
    ///
    /// # Errors
    /// Those of [`Database::open`], and `Unavailable` when it would accept no writes either. The present one goes on
    /// answering searches then.
    pub fn reopen(&self) -> Result<()> {
        let _changing = held(&self.changing);
        let failed = self.database();
        if !failed.has_failed() {
            return Ok(());
        }
        let threads = failed.retire(&Error::unavailable("the database is being opened again: try again later"));
        if threads > 0 {
            tracing::error!(threads, "threads of the database had panicked");
        }
        let next = Database::open_on(failed.environment.clone(), failed.options.clone())?;
        if let State::ReadOnly(reason) = next.state() {
            return Err(Error::unavailable(format!("opened again, it is read-only: {reason}")));
        }
        *held(&next.lock) = held(&failed.lock).take();
        let mut past = held(&self.past);
        past.reopenings += 1;
        past.stats.count_also(&failed.stats());
        self.present.store(next);
        Ok(())
    }

    /// How often the database was opened again.
    pub fn reopenings(&self) -> u64 {
        held(&self.past).reopenings
    }

    /// Counters of all databases so far, and sizes of the present one.
    pub fn stats(&self) -> DatabaseStats {
        let past = held(&self.past);
        let mut stats = self.database().stats();
        stats.count_also(&past.stats);
        stats
    }

    /// Closes the database for good.
    ///
    /// # Errors
    /// Those of [`Database::close`].
    pub fn close(&self) -> Result<()> {
        let _changing = held(&self.changing);
        self.database().close()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    use crate::disk::LocalDisk;

    #[test]
    fn the_lock_goes_from_one_database_to_the_next_and_ends_with_the_last() {
        let folder = tempfile::tempdir().unwrap();
        let keeper = Keeper::open(folder.path(), DatabaseOptions::default()).unwrap();
        let first = keeper.database();
        first.become_read_only(&Error::unavailable("a sync failed"));
        let is_locked = || LocalDisk::open(folder.path()).is_err_and(|error| error.is_retryable());
        assert!(is_locked() && first.has_failed());
        keeper.reopen().unwrap();
        let second = keeper.database();
        assert!(!Arc::ptr_eq(&first, &second) && is_locked());
        drop(first);
        assert!(is_locked(), "the first one has no part in it any more");
        keeper.close().unwrap();
        assert!(!is_locked(), "though somebody still holds the second one");
        drop(second);
        keeper.reopen().unwrap();
        assert_eq!(keeper.reopenings(), 1, "what is closed stays closed");
    }

    #[test]
    fn a_failure_is_heard_of_before_and_after_one_listens_and_counters_go_on() {
        let folder = tempfile::tempdir().unwrap();
        let keeper =
            Keeper::open(folder.path(), DatabaseOptions { indexers: 1, ..DatabaseOptions::default() }).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        for round in 1..4 {
            let database = keeper.database();
            database.points_written.fetch_add(7, std::sync::atomic::Ordering::Relaxed);
            if round == 1 {
                database.become_read_only(&Error::unavailable("a sync failed"));
                runtime.block_on(keeper.failed());
            } else {
                let fail = async { database.become_read_only(&Error::unavailable("a sync failed")) };
                runtime.block_on(async { tokio::join!(keeper.failed(), fail) });
            }
            keeper.reopen().unwrap();
            assert_eq!((keeper.reopenings(), keeper.stats().points_written), (round, 7 * round));
        }
        keeper.close().unwrap();
    }
}
