//! Builders: the threads that share the building of each graph, whichever indexer asks.
//!
//! They are as many as there are indexers, all jobs together, so what is left to those who search and write does not depend
//! on how many jobs are out. A job's next step waits for a builder behind the steps of others.

use std::fmt::{self, Debug, Formatter};

use hyperspace_core::error::{Error, Result};
use hyperspace_core::hnsw::Crew;
use rayon::iter::{IndexedParallelIterator, IntoParallelRefMutIterator, ParallelIterator};
use rayon::{ThreadPool, ThreadPoolBuilder};

/// Threads, or the caller's alone, that build the very same.
pub(super) struct Builders(Option<ThreadPool>);

impl Builders {
    /// Starts so many threads; 0 leaves all to callers.
    pub(super) fn start(count: usize) -> Result<Self> {
        if count == 0 {
            return Ok(Self(None));
        }
        let pool =
            ThreadPoolBuilder::new().num_threads(count).thread_name(|number| format!("hs-build-{number}")).build();
        let pool = pool.map_err(|error| Error::unavailable(format!("starting {count} threads that build: {error}")))?;
        Ok(Self(Some(pool)))
    }

    /// Does a piece of work that they may share, on one of them.
    pub(super) fn lead<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        match &self.0 {
            Some(pool) => pool.install(work),
            None => work(),
        }
    }
}

impl Crew for Builders {
    // Smaller ones wake threads for little work; larger ones compute many distances to nodes that are not near.
    const BATCH: u32 = 64;

    fn hands(&self) -> usize {
        self.0.as_ref().map_or(1, ThreadPool::current_num_threads)
    }

    fn each<T: Send>(&self, items: &mut [T], work: impl Fn(&mut T) + Sync) {
        match &self.0 {
            Some(_) => items.par_iter_mut().with_max_len(1).for_each(&work),
            None => items.iter_mut().for_each(work),
        }
    }
}

impl Debug for Builders {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "Builders({})", self.hands())
    }
}
