//! The codec against its own canonical form and against damage; numbers against exact integers.

use alloc::string::ToString;
use alloc::vec::Vec;
use alloc::{format, vec};
use core::cmp::Ordering;

use serde_json::json;

use super::testing::{Rng, edge_numbers, metadata, random_object, random_value, value};
use super::{
    MAX_METADATA_BYTES, MAX_METADATA_DEPTH, Metadata, MetadataRef, Number, Value, ValueRef, compare_numbers,
    compare_values, encode_literal,
};
use crate::error::ErrorKind;

const SEED: u64 = 0x6d65_7461;

fn object(key: &str, value: Value) -> Value {
    Value::Map([(key.to_string(), value)].into())
}

fn nested_lists(levels: usize) -> Value {
    (0..levels).fold(Value::Null, |inner, _| Value::List(vec![inner]))
}

fn number(value: &Value) -> Number {
    match *value {
        Value::I64(n) => Number::I64(n),
        Value::U64(n) => Number::U64(n),
        Value::F64(x) => Number::F64(x),
        _ => unreachable!("only numbers are asked for"),
    }
}

/// The oracle: the whole part as a wide integer, then the fraction; floats among themselves as floats.
fn exact_order(left: &Value, right: &Value) -> Ordering {
    fn parts(value: &Value) -> (i128, f64) {
        match *value {
            Value::I64(n) => (n.into(), 0.0),
            Value::U64(n) => (n.into(), 0.0),
            Value::F64(x) => (x.floor() as i128, x - x.floor()),
            _ => unreachable!("only numbers are asked for"),
        }
    }
    match (left, right) {
        (Value::F64(a), Value::F64(b)) => a.partial_cmp(b).unwrap(),
        _ => parts(left).partial_cmp(&parts(right)).unwrap(),
    }
}

#[test]
fn numbers_compare_by_exact_value_in_every_form() {
    let numbers = edge_numbers();
    for a in &numbers {
        for b in &numbers {
            assert_eq!(compare_numbers(&number(a), &number(b)), exact_order(a, b), "{a:?} with {b:?}");
        }
    }
}

#[test]
fn a_float_neighbour_of_a_large_integer_is_not_equal_to_it() {
    let above = Number::I64((1 << 53) + 1);
    assert_eq!(compare_numbers(&above, &Number::F64(9_007_199_254_740_992.0)), Ordering::Greater);
    assert_eq!(compare_numbers(&Number::U64(u64::MAX), &Number::F64(18_446_744_073_709_551_616.0)), Ordering::Less);
    assert_eq!(compare_numbers(&Number::F64(-0.0), &Number::I64(0)), Ordering::Equal);
}

#[test]
fn nan_compares_without_a_panic() {
    for n in edge_numbers() {
        let _ = compare_numbers(&number(&n), &Number::F64(f64::NAN));
        let _ = compare_numbers(&Number::F64(f64::NAN), &number(&n));
    }
}

#[test]
fn documents_survive_encoding() {
    let mut rng = Rng(SEED);
    for round in 0..5_000 {
        let tree = random_object(&mut rng, 4);
        let encoded = Metadata::from_value(&tree).unwrap();
        assert_eq!(encoded.to_value(), tree, "seed {SEED:#x}, round {round}");
        let read = Metadata::from_bytes(encoded.as_bytes()).unwrap();
        assert_eq!(read, encoded, "seed {SEED:#x}, round {round}");
        let Value::Map(entries) = &tree else { unreachable!("random_object makes objects") };
        for (key, value) in entries {
            assert_eq!(encoded.view().get(key).map(ValueRef::to_value).as_ref(), Some(value));
        }
        assert!(encoded.view().get("absent").is_none());
        assert!(encoded.view().iter().map(|(key, _)| key).eq(entries.keys().map(alloc::string::String::as_str)));
    }
}

#[test]
fn the_layout_is_the_documented_one() {
    let encoded = metadata(&json!({ "b": [1, 300, "x", null], "a": { "k": true } }));
    let expected: &[u8] = &[
        1, 0, b'a', 11, 4, 0, 1, 0, b'k', 2, // "a": { "k": true }
        1, 0, b'b', 10, 10, 0, 3, 1, 4, 44, 1, 9, 1, 0, b'x', 0, // "b": [1, 300, "x", null]
    ];
    assert_eq!(encoded.as_bytes(), expected);
    assert!(metadata(&json!({})).is_empty());
    assert_eq!(Metadata::default(), metadata(&json!({})));
    assert_eq!(Metadata::default().as_bytes(), b"");
}

#[test]
fn a_small_unsigned_integer_is_stored_as_a_signed_one() {
    let encoded = Metadata::from_value(&object("n", Value::U64(5))).unwrap();
    assert_eq!(encoded, metadata(&json!({ "n": 5 })));
    let large = Metadata::from_value(&object("n", Value::U64(u64::MAX))).unwrap();
    assert_eq!(large.to_value(), object("n", Value::U64(u64::MAX)));
}

#[test]
fn only_objects_of_finite_numbers_are_metadata() {
    for wrong in [json!([]), json!(null), json!("x"), json!(1)] {
        assert_eq!(Metadata::from_value(&value(&wrong)).unwrap_err().kind(), ErrorKind::InvalidArgument);
    }
    for wrong in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let error = Metadata::from_value(&object("deep", Value::List(vec![Value::F64(wrong)]))).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(error.message().contains("`deep`"), "{error}");
    }
}

#[test]
fn the_size_limit_is_exact() {
    // Key length, key, tag and text length take 6 bytes.
    let fits = object("k", Value::Str("x".repeat(MAX_METADATA_BYTES - 6)));
    let encoded = Metadata::from_value(&fits).unwrap();
    assert_eq!(encoded.as_bytes().len(), MAX_METADATA_BYTES);
    assert_eq!(Metadata::from_bytes(encoded.as_bytes()).unwrap().to_value(), fits);

    let error = Metadata::from_value(&object("k", Value::Str("x".repeat(MAX_METADATA_BYTES - 5)))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LimitExceeded);
    assert!(error.message().contains("65537") && error.message().contains("65536"), "{error}");

    let mut longer = encoded.as_bytes().to_vec();
    longer.extend_from_slice(&[1, 0, b'l', 0]);
    assert_eq!(Metadata::from_bytes(&longer).unwrap_err().kind(), ErrorKind::Corrupted);
}

#[test]
fn the_depth_limit_is_exact() {
    let fits = object("k", nested_lists(MAX_METADATA_DEPTH - 1));
    let encoded = Metadata::from_value(&fits).unwrap();
    assert_eq!(Metadata::from_bytes(encoded.as_bytes()).unwrap().to_value(), fits);

    let error = Metadata::from_value(&object("k", nested_lists(MAX_METADATA_DEPTH))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LimitExceeded);
    assert!(error.message().contains("33") && error.message().contains("32"), "{error}");

    let mut deeper = vec![1, 0, b'k'];
    for left in (0..MAX_METADATA_DEPTH as u8).rev() {
        deeper.extend_from_slice(&[10, left * 3, 0]);
    }
    assert_eq!(Metadata::from_bytes(&deeper).unwrap_err().kind(), ErrorKind::Corrupted);
}

#[test]
fn bytes_that_are_not_canonical_are_refused() {
    let cases: [(&str, &[u8]); 16] = [
        ("key cut off", &[2, 0, b'a']),
        ("value missing", &[1, 0, b'a']),
        ("length of the key cut off", &[1]),
        ("unknown tag", &[1, 0, b'a', 12]),
        ("keys not rising", &[1, 0, b'b', 0, 1, 0, b'a', 0]),
        ("key twice", &[1, 0, b'a', 0, 1, 0, b'a', 0]),
        ("key not UTF-8", &[1, 0, 0xff, 0]),
        ("text not UTF-8", &[1, 0, b'a', 9, 1, 0, 0xc3]),
        ("i16 that fits i8", &[1, 0, b'a', 4, 5, 0]),
        ("i32 that fits i16", &[1, 0, b'a', 5, 0, 1, 0, 0]),
        ("i64 that fits i32", &[1, 0, b'a', 6, 0, 0, 0, 1, 0, 0, 0, 0]),
        ("u64 that fits i64", &[1, 0, b'a', 7, 0, 0, 0, 0, 0, 0, 0, 1]),
        ("NaN", &[1, 0, b'a', 8, 0, 0, 0, 0, 0, 0, 0xf8, 0x7f]),
        ("infinity", &[1, 0, b'a', 8, 0, 0, 0, 0, 0, 0, 0xf0, 0x7f]),
        ("list longer than its object", &[1, 0, b'a', 10, 2, 0, 0]),
        ("value beyond its list", &[1, 0, b'a', 10, 1, 0, 3, 1]),
    ];
    for (what, bytes) in cases {
        let error = Metadata::from_bytes(bytes).expect_err(what);
        assert_eq!(error.kind(), ErrorKind::Corrupted, "{what}");
    }
}

/// Reads damaged bytes in every way there is; what passes the checks must be canonical.
fn read_everything(bytes: &[u8]) {
    if let Ok(read) = Metadata::from_bytes(bytes) {
        assert_eq!(Metadata::from_value(&read.to_value()).unwrap().as_bytes(), bytes);
    }
    let view = MetadataRef::trusted(bytes);
    let _ = view.to_value();
    let _ = compare_values(ValueRef::Map(view), ValueRef::Map(view));
    for key in super::testing::KEYS {
        let _ = view.get(key);
        let _ = view.step(key.as_bytes());
    }
}

#[test]
fn damaged_bytes_never_panic_and_never_pass_unless_canonical() {
    let mut rng = Rng(SEED);
    let documents: Vec<Metadata> =
        (0..200).map(|_| Metadata::from_value(&random_object(&mut rng, 4)).unwrap()).collect();
    for document in &documents {
        for end in 0..document.as_bytes().len() {
            read_everything(&document.as_bytes()[..end]);
        }
    }
    for _ in 0..20_000 {
        let mut bytes = rng.pick(&documents).as_bytes().to_vec();
        if bytes.is_empty() {
            continue;
        }
        for _ in 0..=rng.below(3) {
            let at = rng.below(bytes.len());
            bytes[at] ^= 1 << rng.below(8);
        }
        read_everything(&bytes);
    }
    for _ in 0..20_000 {
        let noise: Vec<u8> = (0..rng.below(40)).map(|_| rng.below(13) as u8).collect();
        read_everything(&noise);
    }
}

#[test]
fn deep_garbage_does_not_exhaust_the_stack() {
    // 13 000 levels of { "a": { "a": ..., which no validated bytes hold.
    let mut bytes = Vec::new();
    for left in (0..13_000u16).rev() {
        bytes.extend_from_slice(&[1, 0, b'a', 11]);
        bytes.extend_from_slice(&(left * 5).to_le_bytes());
    }
    read_everything(&bytes);
}

#[test]
fn values_have_one_total_order() {
    let mut rng = Rng(SEED);
    let encoded: Vec<_> = (0..120).map(|_| encode_literal(&random_value(&mut rng, 3)).unwrap()).collect();
    let views: Vec<_> = encoded.iter().map(|bytes| ValueRef::decode(bytes).unwrap()).collect();
    for &a in &views {
        assert_eq!(compare_values(a, a), Ordering::Equal);
        for &b in &views {
            assert_eq!(compare_values(a, b), compare_values(b, a).reverse());
            for &c in &views {
                if compare_values(a, b).is_le() && compare_values(b, c).is_le() {
                    assert!(compare_values(a, c).is_le(), "{a:?} {b:?} {c:?}");
                }
            }
        }
    }
}

#[test]
fn debug_shows_the_values() {
    assert_eq!(format!("{:?}", metadata(&json!({ "a": 1 }))), "Map({\"a\": I64(1)})");
}

#[cfg(feature = "serde")]
mod with_serde {
    use alloc::string::ToString;
    use alloc::{format, vec};

    use ::serde::Deserialize;
    use ::serde::de::IntoDeserializer;
    use ::serde::de::value::{BytesDeserializer, Error, F64Deserializer, I64Deserializer, U64Deserializer};

    use super::{Metadata, Rng, SEED, Value, object, random_object};
    use crate::metric::Metric;

    #[test]
    fn values_survive_json() {
        let mut rng = Rng(SEED);
        for round in 0..2_000 {
            let tree = random_object(&mut rng, 4);
            let text = serde_json::to_string(&tree).unwrap();
            assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), tree, "seed {SEED:#x}, round {round}: {text}");
        }
    }

    #[test]
    fn numbers_keep_their_form() {
        let read = |text| serde_json::from_str::<Value>(text).unwrap();
        assert_eq!(read("1"), Value::I64(1));
        assert_eq!(read("1.0"), Value::F64(1.0));
        assert_eq!(read("-9223372036854775808"), Value::I64(i64::MIN));
        assert_eq!(read("9223372036854775807"), Value::I64(i64::MAX));
        assert_eq!(read("9223372036854775808"), Value::U64(1 << 63));
        assert_eq!(read("18446744073709551615"), Value::U64(u64::MAX));
    }

    /// What serde-wasm-bindgen hands over: numbers as i64 or f64, bigints as i64 or u64, absence as unit.
    #[test]
    fn javascript_values_are_read() {
        let signed: I64Deserializer<Error> = (-3i64).into_deserializer();
        assert_eq!(Value::deserialize(signed).unwrap(), Value::I64(-3));
        let unsigned: U64Deserializer<Error> = 7u64.into_deserializer();
        assert_eq!(Value::deserialize(unsigned).unwrap(), Value::I64(7));
        let float: F64Deserializer<Error> = 1e16.into_deserializer();
        assert_eq!(Value::deserialize(float).unwrap(), Value::F64(1e16));
        assert_eq!(Value::deserialize(IntoDeserializer::<Error>::into_deserializer(())).unwrap(), Value::Null);
    }

    #[test]
    fn what_is_not_a_value_is_refused() {
        let nan: F64Deserializer<Error> = f64::NAN.into_deserializer();
        assert!(Value::deserialize(nan).is_err());
        assert!(Value::deserialize(BytesDeserializer::<Error>::new(b"ab")).is_err());
        let twice = serde_json::from_str::<Value>(r#"{ "a": 1, "a": 2 }"#).unwrap_err();
        assert!(twice.to_string().contains("`a` is given twice"));
    }

    #[test]
    fn a_message_quotes_no_more_than_64_characters_of_what_came_from_outside() {
        let long = "é".repeat(30_000);
        let twice = serde_json::from_str::<Value>(&format!(r#"{{ "{long}": 1, "{long}": 2 }}"#)).unwrap_err();
        let field = Metadata::from_value(&object(&long, Value::F64(f64::NAN))).unwrap_err();
        let metric = Metric::parse(&long).unwrap_err();
        for message in [twice.to_string(), field.to_string(), metric.to_string()] {
            assert_eq!(message.matches('é').count(), 64, "{message}");
        }
    }

    #[test]
    fn endless_nesting_ends_in_an_error() {
        /// Like a JavaScript array that contains itself.
        #[derive(Clone, Copy)]
        struct Cyclic;

        impl<'de> ::serde::Deserializer<'de> for Cyclic {
            type Error = Error;

            fn deserialize_any<V: ::serde::de::Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
                visitor.visit_seq(::serde::de::value::SeqDeserializer::new(core::iter::repeat(Self)))
            }

            ::serde::forward_to_deserialize_any! {
                bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit
                unit_struct newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
            }
        }

        impl IntoDeserializer<'_, Error> for Cyclic {
            type Deserializer = Self;

            fn into_deserializer(self) -> Self {
                self
            }
        }

        let error = Value::deserialize(Cyclic).unwrap_err();
        assert!(alloc::string::ToString::to_string(&error).contains("128 levels"), "{error}");
    }

    #[test]
    fn a_text_of_more_values_than_anything_can_hold_is_refused_while_it_is_read() {
        let read = |item: &str, count: usize| {
            let text = format!(r#"{{"a":[{}{item}]}}"#, format!("{item},").repeat(count - 1));
            serde_json::from_str::<Value>(&text)
        };
        // As many as metadata can hold of what takes the fewest bytes there, and as many as a filter may list.
        for (item, count) in [(r#"{"":0}"#, 65_530 / 7), (r#"{"":null}"#, 65_530 / 6), ("null", 65_530), ("0", 256_000)]
        {
            assert!(read(item, count).is_ok(), "{count} of {item}");
        }
        for (item, count) in [(r#"{"":0}"#, 15_000), ("0", 262_144), ("[]", 262_144)] {
            let error = read(item, count).unwrap_err();
            assert!(error.to_string().contains("more than 262144 values"), "{error}");
        }
    }

    #[test]
    fn values_are_written_as_json() {
        let tree = object("k", Value::List(vec![Value::Null, Value::U64(u64::MAX), Value::F64(0.5)]));
        assert_eq!(serde_json::to_string(&tree).unwrap(), r#"{"k":[null,18446744073709551615,0.5]}"#);
    }
}
