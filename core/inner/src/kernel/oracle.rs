//! The kernels as a textbook writes them, in f64: what the vector forms are tested against.

pub(crate) fn squared_l2(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(&x, &y)| (f64::from(x) - f64::from(y)).powi(2)).sum()
}

pub(crate) fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(&x, &y)| f64::from(x) * f64::from(y)).sum()
}

pub(crate) fn dot_int(wide: &[i16], row: &[i8]) -> i32 {
    wide.iter().zip(row).map(|(&x, &y)| i32::from(x) * i32::from(y)).sum()
}
