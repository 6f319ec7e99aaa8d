//! Typed values and the exact order of numbers.
//!
//! A number is an `i64`, a `u64` above `i64::MAX`, or a finite `f64`, and is compared by its exact value: nothing is
//! rounded to be compared, so `2^53 + 1` and `9007199254740992.0` differ in every language alike.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::cmp::Ordering;

use crate::error::{Error, Result, Shown};
use crate::map::Map;

/// One value of metadata, or one literal of a filter.
///
/// `==` is structural: `I64(1)` and `F64(1.0)` differ, although filters find them equal.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Value {
    /// A value that is present and null.
    #[default]
    Null,
    /// A boolean.
    Bool(bool),
    /// An integer up to `i64::MAX`.
    I64(i64),
    /// An integer above `i64::MAX`. A smaller one is accepted and stored as [`Value::I64`].
    U64(u64),
    /// A finite number that came as a float; NaN and the infinities are refused when it is encoded.
    F64(f64),
    /// Text.
    Str(String),
    /// A list of any values.
    List(Vec<Value>),
    /// An object, its keys in the order of their bytes.
    Map(Map<String, Value>),
}

impl Value {
    /// Makes a number of a float.
    ///
    /// # Errors
    /// `InvalidArgument` when it is NaN or infinite.
    pub fn finite(number: f64) -> Result<Self> {
        if number.is_finite() { Ok(Self::F64(number)) } else { Err(not_finite(number)) }
    }

    /// What the value is, for messages: `a list`, `null`, ...
    pub const fn describe(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a boolean",
            Self::I64(_) | Self::U64(_) | Self::F64(_) => "a number",
            Self::Str(_) => "a string",
            Self::List(_) => "a list",
            Self::Map(_) => "an object",
        }
    }
}

pub(super) fn not_finite(number: f64) -> Error {
    Error::invalid_argument(format!("a number is finite, not {}", Shown(number)))
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::I64(value)
    }
}

impl From<u64> for Value {
    fn from(value: u64) -> Self {
        i64::try_from(value).map_or(Self::U64(value), Self::I64)
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::Str(String::from(value))
    }
}

impl From<String> for Value {
    fn from(value: String) -> Self {
        Self::Str(value)
    }
}

impl From<Vec<Value>> for Value {
    fn from(value: Vec<Value>) -> Self {
        Self::List(value)
    }
}

impl From<Map<String, Value>> for Value {
    fn from(value: Map<String, Value>) -> Self {
        Self::Map(value)
    }
}

/// A number in the form it was given.
///
/// Has no `==`, because equality of forms is never what is meant: use [`compare_numbers`].
#[derive(Clone, Copy, Debug)]
pub enum Number {
    /// A signed integer.
    I64(i64),
    /// An unsigned integer.
    U64(u64),
    /// A finite float.
    F64(f64),
}

/// Compares two numbers by their exact values.
///
/// A total order over all finite numbers, in which `-0.0` equals `0`. For NaN, which no stored value is, the answer is
/// unspecified but does not panic.
pub fn compare_numbers(left: &Number, right: &Number) -> Ordering {
    use Number::{F64, I64, U64};
    match (*left, *right) {
        (I64(a), I64(b)) => a.cmp(&b),
        (U64(a), U64(b)) => a.cmp(&b),
        (F64(a), F64(b)) => a.partial_cmp(&b).unwrap_or_else(|| a.total_cmp(&b)),
        (I64(a), U64(b)) => signed_with_unsigned(a, b),
        (U64(a), I64(b)) => signed_with_unsigned(b, a).reverse(),
        (I64(a), F64(b)) => signed_with_float(a, b),
        (F64(a), I64(b)) => signed_with_float(b, a).reverse(),
        (U64(a), F64(b)) => unsigned_with_float(a, b),
        (F64(a), U64(b)) => unsigned_with_float(b, a).reverse(),
    }
}

fn signed_with_unsigned(a: i64, b: u64) -> Ordering {
    u64::try_from(a).map_or(Ordering::Less, |a| a.cmp(&b))
}

/// 2^63, the first float above every `i64`.
const TWO_POW_63: f64 = 9_223_372_036_854_775_808.0;
/// 2^64, the first float above every `u64`.
const TWO_POW_64: f64 = 18_446_744_073_709_551_616.0;

fn signed_with_float(a: i64, b: f64) -> Ordering {
    if b >= TWO_POW_63 {
        return Ordering::Less;
    }
    if b < -TWO_POW_63 {
        return Ordering::Greater;
    }
    // `b` fits, so the cast cuts its fraction off and nothing else; the whole part goes back to a float exactly.
    let whole = b as i64;
    a.cmp(&whole).then_with(|| (whole as f64).partial_cmp(&b).unwrap_or(Ordering::Less))
}

fn unsigned_with_float(a: u64, b: f64) -> Ordering {
    if b >= TWO_POW_64 {
        return Ordering::Less;
    }
    if b < 0.0 {
        return Ordering::Greater;
    }
    #[expect(clippy::cast_sign_loss, reason = "negative floats returned above")]
    let whole = b as u64;
    a.cmp(&whole).then_with(|| (whole as f64).partial_cmp(&b).unwrap_or(Ordering::Less))
}
