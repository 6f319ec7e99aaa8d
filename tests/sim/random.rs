//! Repeatable numbers, and how many of them a run is worth. Every test prints the seed that it gives.

/// How much more than on every change is to be done, as `HS_TEST_LEVEL` says.
pub(crate) fn effort(ci: usize, nightly: usize, release: usize) -> usize {
    match std::env::var("HS_TEST_LEVEL").as_deref() {
        Ok("nightly") => nightly,
        Ok("release") => release,
        Ok("ci") | Err(_) => ci,
        Ok(other) => panic!("HS_TEST_LEVEL is ci, nightly or release, not {other}"),
    }
}

/// A small generator of repeatable numbers (`SplitMix64`).
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut x = self.0;
        x = (x ^ x >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        x = (x ^ x >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        x ^ x >> 31
    }

    /// A number below `bound`.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    /// True once in so many times.
    pub(crate) fn one_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    /// About normal: the sum of twelve uniform numbers less six.
    pub(crate) fn normal(&mut self) -> f32 {
        (0..12).map(|_| (self.next() >> 40) as f32 / (1 << 24) as f32).sum::<f32>() - 6.0
    }

    /// A vector that no other call gives again.
    pub(crate) fn vector(&mut self, dimension: usize) -> Vec<f32> {
        (0..dimension).map(|_| self.normal()).collect()
    }
}
