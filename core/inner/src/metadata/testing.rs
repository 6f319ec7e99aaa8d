//! What tests of metadata and filters share: values from JSON, random documents, and a seeded source of choices.

use alloc::string::ToString;
use alloc::vec;
use alloc::vec::Vec;

use super::{Metadata, Value};

/// A [`Value`] of JSON, made without the serde implementation under test.
pub(crate) fn value(json: &serde_json::Value) -> Value {
    match json {
        serde_json::Value::Null => Value::Null,
        serde_json::Value::Bool(value) => Value::Bool(*value),
        serde_json::Value::Number(n) => match (n.as_i64(), n.as_u64()) {
            (Some(n), _) => Value::I64(n),
            (None, Some(n)) => Value::U64(n),
            (None, None) => Value::F64(n.as_f64().unwrap()),
        },
        serde_json::Value::String(text) => Value::Str(text.clone()),
        serde_json::Value::Array(items) => Value::List(items.iter().map(value).collect()),
        serde_json::Value::Object(entries) => {
            Value::Map(entries.iter().map(|(key, item)| (key.clone(), value(item))).collect())
        }
    }
}

pub(crate) fn metadata(json: &serde_json::Value) -> Metadata {
    Metadata::from_value(&value(json)).unwrap()
}

/// `SplitMix64` (Steele, Lea and Flood, 2014).
pub(crate) struct Rng(pub(crate) u64);

impl Rng {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    pub(crate) fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}

/// Keys that collide with dotted paths on purpose.
pub(crate) const KEYS: [&str; 8] = ["a", "b", "c", "a.b", "b.c", "a!", "", "é"];

/// Numbers at which lossy comparisons go wrong.
pub(crate) fn edge_numbers() -> Vec<Value> {
    vec![
        Value::I64(0),
        Value::F64(0.0),
        Value::F64(-0.0),
        Value::I64(1),
        Value::F64(1.0),
        Value::F64(0.5),
        Value::F64(-0.5),
        Value::I64(-1),
        Value::F64(-1.0),
        Value::I64((1 << 53) - 1),
        Value::I64(1 << 53),
        Value::I64((1 << 53) + 1),
        Value::F64(9_007_199_254_740_991.0),
        Value::F64(9_007_199_254_740_992.0),
        Value::F64(9_007_199_254_740_994.0),
        Value::I64(-(1 << 53) - 1),
        Value::F64(-9_007_199_254_740_992.0),
        Value::I64(i64::MAX),
        Value::I64(i64::MIN),
        Value::U64(1 << 63),
        Value::U64((1 << 63) + 1),
        Value::U64(u64::MAX),
        Value::F64(9_223_372_036_854_775_808.0),
        Value::F64(-9_223_372_036_854_775_808.0),
        Value::F64(18_446_744_073_709_551_616.0),
        Value::F64(18_446_744_073_709_549_568.0),
        Value::F64(f64::MIN_POSITIVE),
        Value::F64(f64::MAX),
        Value::F64(f64::MIN),
        Value::I64(127),
        Value::I64(128),
        Value::I64(-129),
        Value::I64(32_768),
        Value::I64(-32_769),
        Value::I64(2_147_483_648),
    ]
}

pub(crate) fn random_scalar(rng: &mut Rng) -> Value {
    match rng.below(8) {
        0 => Value::Null,
        1 => Value::Bool(rng.below(2) == 0),
        2 | 3 => Value::from(rng.next() % 3),
        4 => rng.pick(&edge_numbers()).clone(),
        _ => Value::from(*rng.pick(&["", "a", "b", "ab", "é", "1", "a\u{0}"])),
    }
}

pub(crate) fn random_value(rng: &mut Rng, levels: usize) -> Value {
    match if levels == 0 { 9 } else { rng.below(10) } {
        0..=1 => Value::List((0..rng.below(4)).map(|_| random_value(rng, levels - 1)).collect()),
        2..=4 => random_object(rng, levels - 1),
        _ => random_scalar(rng),
    }
}

pub(crate) fn random_object(rng: &mut Rng, levels: usize) -> Value {
    let entry = |rng: &mut Rng| (rng.pick(&KEYS).to_string(), random_value(rng, levels));
    Value::Map((0..rng.below(6)).map(|_| entry(rng)).collect())
}
