//! Threads that build graphs together, as the server's do.

use hyperspace_core::hnsw::Crew;
use rayon::iter::{IndexedParallelIterator, IntoParallelRefMutIterator, ParallelIterator};
use rayon::{ThreadPool, ThreadPoolBuildError, ThreadPoolBuilder};

/// A pool of threads.
#[derive(Debug)]
pub struct Hands(ThreadPool);

impl Hands {
    /// Starts so many.
    ///
    /// # Errors
    /// The system's, when it gives no threads.
    pub fn new(count: usize) -> Result<Self, ThreadPoolBuildError> {
        ThreadPoolBuilder::new().num_threads(count).build().map(Self)
    }

    /// Does work that they are to share.
    pub fn lead<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        self.0.install(work)
    }
}

impl Crew for Hands {
    const BATCH: u32 = 64;

    fn hands(&self) -> usize {
        self.0.current_num_threads()
    }

    fn each<T: Send>(&self, items: &mut [T], work: impl Fn(&mut T) + Sync) {
        items.par_iter_mut().with_max_len(1).for_each(&work);
    }
}
