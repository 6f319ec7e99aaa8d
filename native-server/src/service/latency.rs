//! How long searches take inside the server: one histogram since the start, of which watchers take differences.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hdrhistogram::Histogram;

/// The longest latency that is told apart, in microseconds.
const LONGEST: u64 = 60_000_000;
/// Digits that are kept of each latency: two take 20 KiB.
const DIGITS: u8 = 2;

/// Latencies since the start, in microseconds.
#[derive(Debug)]
pub(super) struct Latencies(Mutex<Histogram<u64>>);

impl Default for Latencies {
    fn default() -> Self {
        Self(Mutex::new(none()))
    }
}

impl Latencies {
    /// Counts one search.
    pub(super) fn record(&self, taken: Duration) {
        let micros = u64::try_from(taken.as_micros()).unwrap_or(LONGEST);
        self.histogram().saturating_record(micros.clamp(1, LONGEST));
    }

    /// All searches until now.
    pub(super) fn until_now(&self) -> Histogram<u64> {
        self.histogram().clone()
    }

    fn histogram(&self) -> MutexGuard<'_, Histogram<u64>> {
        // Counting cannot leave it half done in a way that matters.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// No searches.
pub(super) fn none() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LONGEST, DIGITS).expect("these bounds are valid")
}
