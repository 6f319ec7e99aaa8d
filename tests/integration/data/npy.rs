//! Reads `.npy` version 1.0 and `.npy.gz`, widening to f64 (exact).

use flate2::read::GzDecoder;
use std::io::Read;
use std::path::Path;

/// A matrix; `columns` is 1 for a list.
pub(super) struct Matrix {
    pub(super) columns: usize,
    pub(super) values: Vec<f64>,
}

impl Matrix {
    pub(super) fn rows(&self) -> usize {
        self.values.len() / self.columns
    }

    pub(super) fn row(&self, at: usize) -> &[f64] {
        &self.values[at * self.columns..][..self.columns]
    }

    pub(super) fn row_f32(&self, at: usize) -> Vec<f32> {
        self.row(at).iter().map(|&x| x as f32).collect()
    }
}

/// Reads a file; a path that ends in `.gz` is inflated first.
pub(super) fn read(path: &Path) -> Matrix {
    let mut bytes = std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    if path.extension().is_some_and(|e| e == "gz") {
        let mut inflated = Vec::new();
        GzDecoder::new(&bytes[..]).read_to_end(&mut inflated).unwrap();
        bytes = inflated;
    }
    assert_eq!(&bytes[..8], b"\x93NUMPY\x01\x00", "{} is .npy 1.0", path.display());
    let start = 10 + usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    let header = std::str::from_utf8(&bytes[10..start]).unwrap();
    let after = |key: &str| header.split_once(key).unwrap().1;
    assert!(after("'fortran_order': ").starts_with("False"));
    let dtype = after("'descr': '").split('\'').next().unwrap();
    let shape: Vec<usize> =
        after("'shape': (").split(')').next().unwrap().split(',').filter_map(|n| n.trim().parse().ok()).collect();
    let data = &bytes[start..];
    let values: Vec<f64> = match dtype {
        "<f2" => data.chunks_exact(2).map(|c| widen(u16::from_le_bytes([c[0], c[1]]))).collect(),
        "<f4" => data.chunks_exact(4).map(|c| f64::from(f32::from_le_bytes(c.try_into().unwrap()))).collect(),
        "<f8" => data.chunks_exact(8).map(|c| f64::from_le_bytes(c.try_into().unwrap())).collect(),
        "<i4" => data.chunks_exact(4).map(|c| f64::from(i32::from_le_bytes(c.try_into().unwrap()))).collect(),
        "|u1" => data.iter().map(|&b| f64::from(b)).collect(),
        other => panic!("{}: dtype {other}", path.display()),
    };
    assert_eq!(values.len(), shape.iter().product::<usize>(), "{}", path.display());
    Matrix { columns: shape.get(1).copied().unwrap_or(1), values }
}

/// A half-precision number in f64.
fn widen(half: u16) -> f64 {
    let sign = if half >> 15 == 1 { -1.0 } else { 1.0 };
    let fraction = f64::from(half & 0x3ff);
    match i32::from(half >> 10 & 0x1f) {
        0 => sign * fraction * 2_f64.powi(-24),
        31 => panic!("no infinities in the data sets"),
        exponent => sign * (1024.0 + fraction) * 2_f64.powi(exponent - 25),
    }
}

#[test]
fn halves_are_widened_exactly() {
    let cases = [
        (0x3c00, 1.0),
        (0xc000, -2.0),
        (0x0001, 5.960_464_477_539_063e-8),
        (0x3555, 0.333_251_953_125),
        (0x7bff, 65504.0),
    ];
    for (half, expected) in cases {
        assert!(widen(half).total_cmp(&expected).is_eq(), "{half:#x}");
    }
}
