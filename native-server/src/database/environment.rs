//! What a database is lent: a disk, the time, randomness, and whose threads do its work. The options are numbers that an
//! administrator sets; these are parts, and whoever replaces all of them repeats a run exactly.

use std::fmt::{self, Debug, Formatter};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use hyperspace_core::port::{Clock, Entropy};

use crate::disk::Disk;

/// What a database is lent.
#[derive(Clone)]
pub struct Environment {
    /// Its directory, which is nobody else's.
    pub disk: Arc<dyn Disk>,
    /// For stamps, and for the names of snapshots.
    pub clock: Arc<dyn Clock + Send + Sync>,
    /// For numbers that must not come twice, or be guessed.
    pub entropy: Arc<dyn Entropy + Send + Sync>,
    /// Who works.
    pub workers: Workers,
}

/// Who writes the log, seals and merges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Workers {
    /// Threads of the database: one for the log, and as many indexers as the options say.
    Own,
    /// Nobody but callers: of `Database::commit_next` and `Database::work_next`, and those who would have to wait.
    Callers,
}

/// A disk, with this system's clock and randomness, and threads of the database's own.
impl From<Arc<dyn Disk>> for Environment {
    fn from(disk: Arc<dyn Disk>) -> Self {
        Self { disk, clock: Arc::new(System), entropy: Arc::new(System), workers: Workers::Own }
    }
}

impl Debug for Environment {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("Environment").field("disk", &self.disk).field("workers", &self.workers).finish_non_exhaustive()
    }
}

impl Environment {
    pub(super) fn random_u64(&self) -> u64 {
        let mut bytes = [0; 8];
        self.entropy.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }
}

/// This system's clock and randomness.
struct System;

impl Clock for System {
    fn now_ms(&self) -> u64 {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_millis() as u64)
    }
}

impl Entropy for System {
    fn fill(&self, out: &mut [u8]) {
        // Without it two databases could take each other's logs and stamps for their own.
        getrandom::fill(out).expect("the system gives randomness");
    }
}
