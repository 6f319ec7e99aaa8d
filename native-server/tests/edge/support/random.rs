//! A small generator of repeatable numbers.

/// `SplitMix64`; tests name the seed they give it.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut x = self.0;
        x = (x ^ x >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        x = (x ^ x >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        x ^ x >> 31
    }

    /// A number below `bound`.
    pub(crate) const fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// A number from 0 to 1.
    pub(crate) const fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    pub(crate) fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.next() as u8).collect()
    }

    /// A vector with components from -1 to 1.
    pub(crate) fn vector(&mut self, dimension: usize) -> Vec<f32> {
        (0..dimension).map(|_| (self.unit() * 2.0 - 1.0) as f32).collect()
    }

    /// Vectors behind each other.
    pub(crate) fn rows(&mut self, count: usize, dimension: usize) -> Vec<f32> {
        self.vector(count * dimension)
    }

    /// A vector in the ball, `norm` long.
    pub(crate) fn of_norm(&mut self, dimension: usize, norm: f64) -> Vec<f64> {
        let direction: Vec<f64> = (0..dimension).map(|_| self.unit() * 2.0 - 1.0).collect();
        let length = direction.iter().map(|x| x * x).sum::<f64>().sqrt();
        direction.into_iter().map(|x| x * norm / length).collect()
    }
}
