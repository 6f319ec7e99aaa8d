//! A clock that jumps and randomness that can be repeated.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use hyperspace_core::port::{Clock, Entropy};

use crate::random::Random;

/// Ten minutes: how far a clock may be off.
const JUMP_MS: u64 = 600_000;

#[derive(Debug)]
pub(super) struct SimClock(AtomicU64);

impl SimClock {
    pub(super) fn new() -> Self {
        Self(AtomicU64::new(1_800_000_000_000))
    }

    /// Jumps up to ten minutes in either direction.
    pub(super) fn jump(&self, random: &mut Random) {
        let by = random.below(2 * JUMP_MS as usize) as u64;
        self.0.fetch_add(by.wrapping_sub(JUMP_MS), Ordering::Relaxed);
    }
}

impl Clock for SimClock {
    fn now_ms(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed)
    }
}

#[derive(Debug)]
pub(super) struct SimEntropy(Mutex<Random>);

impl SimEntropy {
    pub(super) fn new(seed: u64) -> Self {
        Self(Mutex::new(Random::new(seed)))
    }
}

impl Entropy for SimEntropy {
    fn fill(&self, out: &mut [u8]) {
        let mut random = self.0.lock().unwrap();
        for piece in out.chunks_mut(8) {
            piece.copy_from_slice(&random.next().to_le_bytes()[..piece.len()]);
        }
    }
}
