//! A naive evaluator that reads the filter and the document as trees, and random pairs on which both must agree.

use alloc::string::ToString;
use alloc::vec::Vec;
use alloc::{format, vec};
use core::cmp::Ordering;

use crate::filter::Filter;
use crate::map::Map;
use crate::metadata::testing::{Rng, random_object, random_value};
use crate::metadata::{Metadata, MetadataRef, Value};

const SEED: u64 = 0x6669_6c74;

fn entries(value: &Value) -> &Map<alloc::string::String, Value> {
    let Value::Map(entries) = value else { unreachable!("{value:?} is an object") };
    entries
}

fn items(value: &Value) -> &[Value] {
    let Value::List(items) = value else { unreachable!("{value:?} is a list") };
    items
}

fn holds(filter: &Value, document: &Value) -> bool {
    entries(filter).iter().all(|(key, operand)| match key.as_str() {
        "$and" => items(operand).iter().all(|filter| holds(filter, document)),
        "$or" => items(operand).iter().any(|filter| holds(filter, document)),
        "$not" => !holds(operand, document),
        path => field_holds(path, operand, document),
    })
}

fn field_holds(path: &str, operand: &Value, document: &Value) -> bool {
    match operand {
        Value::Map(operators) if operators.keys().any(|key| key.starts_with('$')) => {
            operators.iter().all(|(operator, operand)| operator_holds(path, operator, operand, document))
        }
        _ => operator_holds(path, "$eq", operand, document),
    }
}

fn operator_holds(path: &str, operator: &str, operand: &Value, document: &Value) -> bool {
    let found = resolve(document, path);
    let any = |test: &dyn Fn(&Value) -> bool| {
        found.iter().any(|value| test(value) || matches!(value, Value::List(items) if items.iter().any(test)))
    };
    let ordered = |accepts: fn(Ordering) -> bool| any(&|value| order(value, operand).is_some_and(accepts));
    match operator {
        "$eq" => any(&|value| equal(value, operand)),
        "$ne" => !any(&|value| equal(value, operand)),
        "$gt" => ordered(Ordering::is_gt),
        "$gte" => ordered(Ordering::is_ge),
        "$lt" => ordered(Ordering::is_lt),
        "$lte" => ordered(Ordering::is_le),
        "$in" => items(operand).iter().any(|literal| any(&|value| equal(value, literal))),
        "$nin" => !items(operand).iter().any(|literal| any(&|value| equal(value, literal))),
        "$exists" => *operand == Value::Bool(!found.is_empty()),
        "$not" => !field_holds(path, operand, document),
        _ => unreachable!("{operator} is not made here"),
    }
}

/// All values that a path leads to.
fn resolve<'v>(document: &'v Value, path: &str) -> Vec<&'v Value> {
    let object = entries(document);
    if let Some(value) = object.get(path) {
        return vec![value];
    }
    let dots: Vec<usize> = path.match_indices('.').map(|(at, _)| at).collect();
    for &dot in dots.iter().rev() {
        let rest = &path[dot + 1..];
        match object.get(&path[..dot]) {
            None => {}
            Some(inner @ Value::Map(_)) => return resolve(inner, rest),
            Some(Value::List(items)) => {
                return items.iter().filter(|v| matches!(v, Value::Map(_))).flat_map(|v| resolve(v, rest)).collect();
            }
            Some(_) => return Vec::new(),
        }
    }
    Vec::new()
}

fn equal(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Null, Value::Null) => true,
        (Value::List(a), Value::List(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| equal(a, b)),
        (Value::Map(a), Value::Map(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| equal(a, b)))
        }
        _ => order(left, right) == Some(Ordering::Equal),
    }
}

fn order(left: &Value, right: &Value) -> Option<Ordering> {
    fn parts(value: &Value) -> Option<(i128, f64)> {
        match *value {
            Value::I64(n) => Some((n.into(), 0.0)),
            Value::U64(n) => Some((n.into(), 0.0)),
            Value::F64(x) => Some((x.floor() as i128, x - x.floor())),
            _ => None,
        }
    }
    match (left, right) {
        (Value::Bool(a), Value::Bool(b)) => Some(a.cmp(b)),
        (Value::Str(a), Value::Str(b)) => Some(a.as_bytes().cmp(b.as_bytes())),
        (Value::F64(a), Value::F64(b)) => a.partial_cmp(b),
        _ => parts(left)?.partial_cmp(&parts(right)?),
    }
}

const PATHS: [&str; 16] =
    ["a", "b", "c", "a.b", "b.c", "a.b.c", "a.a", "c.b", "b.a.b", "a!", "a!.b", "", "a.", "é", "é.a", "missing"];

fn random_filter(rng: &mut Rng, levels: usize) -> Value {
    let count = if rng.below(20) == 0 { 0 } else { 1 + rng.below(2) };
    let entry = |rng: &mut Rng| match if levels == 0 { 9 } else { rng.below(10) } {
        0 => ("$and".to_string(), random_filters(rng, levels - 1)),
        1 => ("$or".to_string(), random_filters(rng, levels - 1)),
        2 => ("$not".to_string(), random_filter(rng, levels - 1)),
        _ => (rng.pick(&PATHS).to_string(), random_condition(rng)),
    };
    Value::Map((0..count).map(|_| entry(rng)).collect())
}

fn random_filters(rng: &mut Rng, levels: usize) -> Value {
    Value::List((0..=rng.below(3)).map(|_| random_filter(rng, levels)).collect())
}

fn random_condition(rng: &mut Rng) -> Value {
    if rng.below(3) == 0 { random_value(rng, 2) } else { random_operators(rng, 2) }
}

fn random_operators(rng: &mut Rng, levels: usize) -> Value {
    let entry = |rng: &mut Rng| {
        let operator = *rng.pick(&["$eq", "$ne", "$gt", "$gte", "$lt", "$lte", "$in", "$nin", "$exists", "$not"]);
        match operator {
            "$gt" | "$gte" | "$lt" | "$lte" => (operator.to_string(), random_bound(rng)),
            "$in" | "$nin" => {
                (operator.to_string(), Value::List((0..rng.below(6)).map(|_| random_value(rng, 2)).collect()))
            }
            "$exists" => (operator.to_string(), Value::Bool(rng.below(2) == 0)),
            "$not" if levels > 0 => (operator.to_string(), random_operators(rng, levels - 1)),
            "$not" | "$eq" => ("$eq".to_string(), random_value(rng, 2)),
            _ => (operator.to_string(), random_value(rng, 2)),
        }
    };
    Value::Map((0..=rng.below(2)).map(|_| entry(rng)).collect())
}

fn random_bound(rng: &mut Rng) -> Value {
    loop {
        let value = random_value(rng, 0);
        if value != Value::Null {
            return value;
        }
    }
}

#[test]
fn random_filters_agree_with_the_naive_evaluator() {
    let mut rng = Rng(SEED);
    let mut matched = 0;
    let mut asked = 0;
    for round in 0..4_000 {
        let tree = random_filter(&mut rng, 3);
        let context = format!("seed {SEED:#x}, round {round}, filter {tree:?}");
        let filter = Filter::parse(&tree).unwrap_or_else(|error| panic!("{context}: {error}"));
        for _ in 0..25 {
            let document = random_object(&mut rng, 3);
            let expected = holds(&tree, &document);
            let encoded = Metadata::from_value(&document).unwrap();
            assert_eq!(filter.matches(encoded.view()), expected, "{context}, document {document:?}");
            asked += 1;
            matched += usize::from(expected);
        }
    }
    // Both answers have to be common, or the agreement says little.
    assert!((asked / 10..asked * 9 / 10).contains(&matched), "{matched} of {asked} matched");
}

#[test]
fn every_operator_alone_agrees_with_the_naive_evaluator_on_every_pair_of_values() {
    let mut rng = Rng(SEED + 1);
    let mut values = crate::metadata::testing::edge_numbers();
    values.extend((0..60).map(|_| random_value(&mut rng, 3)));
    for operator in ["$eq", "$ne", "$gt", "$gte", "$lt", "$lte", "$in", "$nin"] {
        for operand in &values {
            let operand = match operator {
                "$in" | "$nin" => Value::List(vec![Value::from("b"), operand.clone(), Value::Null]),
                _ => operand.clone(),
            };
            let operators = Value::Map([(operator.to_string(), operand)].into());
            let tree = Value::Map([("a".to_string(), operators)].into());
            let Ok(filter) = Filter::parse(&tree) else { continue };
            for value in &values {
                let document = Value::Map([("a".to_string(), value.clone())].into());
                let found = filter.matches(Metadata::from_value(&document).unwrap().view());
                assert_eq!(found, holds(&tree, &document), "filter {tree:?}, document {document:?}");
            }
        }
    }
}

#[test]
fn filters_on_damaged_bytes_never_panic() {
    let mut rng = Rng(SEED + 2);
    let filters: Vec<Filter> = (0..50).map(|_| Filter::parse(&random_filter(&mut rng, 3)).unwrap()).collect();
    for _ in 0..20_000 {
        let mut bytes = Metadata::from_value(&random_object(&mut rng, 3)).unwrap().as_bytes().to_vec();
        if bytes.is_empty() {
            continue;
        }
        let at = rng.below(bytes.len());
        bytes[at] ^= 1 << rng.below(8);
        bytes.truncate(1 + rng.below(bytes.len()));
        rng.pick(&filters).matches(MetadataRef::trusted(&bytes));
    }
}

#[test]
fn a_path_into_deep_garbage_does_not_exhaust_the_stack() {
    let mut bytes = Vec::new();
    for left in (0..13_000u16).rev() {
        bytes.extend_from_slice(&[1, 0, b'a', 11]);
        bytes.extend_from_slice(&(left * 5).to_le_bytes());
    }
    let path = format!("a{}", ".a".repeat(12_000));
    let filter = Filter::parse(&Value::Map([(path, Value::Null)].into())).unwrap();
    assert!(!filter.matches(MetadataRef::trusted(&bytes)));
}
