//! Rows of numbers: read from an `.npy` file, or made from a seed.
//!
//! Files are of version 1.0 with two dimensions of little-endian f32, as `numpy.save` writes them: nothing else is needed.

use std::path::Path;

const CENTRES: usize = 200;

/// Rows of one dimension, one after the other.
#[derive(Clone, Debug, Default)]
pub struct Rows {
    /// Components of a row.
    pub dimension: usize,
    /// All components.
    pub values: Vec<f32>,
}

impl Rows {
    /// How many there are.
    pub fn count(&self) -> usize {
        self.values.len() / self.dimension.max(1)
    }

    /// One after the other.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[f32]> {
        self.values.chunks_exact(self.dimension.max(1))
    }

    /// Reads a file.
    ///
    /// # Errors
    /// What is wrong with the file, with its path.
    pub fn read(path: &Path) -> Result<Self, String> {
        let bytes = std::fs::read(path).map_err(|e| e.to_string());
        bytes.and_then(|bytes| parse(&bytes)).map_err(|e| format!("{}: {e}", path.display()))
    }

    /// Rows that are even in the cube from -1 to 1.
    pub fn even(seed: u64, count: usize, dimension: usize) -> Self {
        let mut random = Random(seed);
        Self { dimension, values: (0..count * dimension).map(|_| random.even()).collect() }
    }

    /// Rows around random centres, nearer to their own than to others.
    pub fn clustered(seed: u64, count: usize, dimension: usize) -> Self {
        let centres = Self::even(seed, CENTRES, dimension);
        let mut random = Random(seed ^ u64::MAX);
        let mut values = Vec::with_capacity(count * dimension);
        for _ in 0..count {
            let centre = (random.bits() % CENTRES as u64) as usize * dimension;
            values.extend(centres.values[centre..][..dimension].iter().map(|x| x + 0.7 * random.even()));
        }
        Self { dimension, values }
    }
}

/// A small generator of repeatable numbers (`SplitMix64`: Steele, Lea & Flood, 2014).
#[derive(Clone, Debug)]
pub struct Random(pub u64);

impl Random {
    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        bits ^ (bits >> 31)
    }

    fn even(&mut self) -> f32 {
        (self.bits() >> 40) as f32 / (1 << 23) as f32 - 1.0
    }
}

fn parse(bytes: &[u8]) -> Result<Rows, String> {
    let after = bytes.strip_prefix(b"\x93NUMPY\x01\x00").ok_or("is no .npy file of version 1.0")?;
    let (length, rest) = after.split_first_chunk::<2>().ok_or("ends in its header")?;
    let (header, data) = rest.split_at_checked(u16::from_le_bytes(*length) as usize).ok_or("ends in its header")?;
    let header = str::from_utf8(header).map_err(|e| e.to_string())?;
    if !header.contains("'<f4'") || !header.contains("'fortran_order': False") {
        return Err(format!("holds no rows of <f4: {header}"));
    }
    let shape = header.split_once("'shape': (").and_then(|(_, rest)| rest.split_once(')')).ok_or("has no shape")?.0;
    let shape: Vec<usize> = shape.split(',').filter_map(|number| number.trim().parse().ok()).collect();
    let [count, dimension] = shape[..] else { return Err(format!("has {} dimensions, expected 2", shape.len())) };
    if data.len() != count * dimension * 4 {
        return Err(format!("has {} bytes of data, expected {count} x {dimension} x 4", data.len()));
    }
    let (words, _) = data.as_chunks::<4>();
    Ok(Rows { dimension, values: words.iter().map(|word| f32::from_le_bytes(*word)).collect() })
}
