//! Between JavaScript values of any shape and ours, by hand: exact about integers, and it refuses what JSON cannot say.
//!
//! A number that is a safe integer is an integer; a bigint is an i64 or u64; on the way out, integers beyond 2^53-1
//! are bigints again. Properties that are `undefined` are left out, as `JSON.stringify` does.

use hyperspace_core::error::{Error, Result, shortened};
use hyperspace_core::filter::Filter;
use hyperspace_core::map::Map;
use hyperspace_core::metadata::{Metadata, Value};
use hyperspace_core::types::PointId;
use js_sys::{Array, BigInt, Object, Reflect};
use wasm_bindgen::prelude::*;

/// The largest integer that a JavaScript number holds exactly with all smaller ones: 2^53 - 1.
const MAX_SAFE: f64 = 9_007_199_254_740_991.0;
/// Deeper values are refused before the stack is; core's own limit is far below.
const MAX_DEPTH: usize = 64;

/// An error as it crosses.
pub(super) fn js_error(error: &Error) -> JsValue {
    object(&[
        ("code", error.kind().code().into()),
        ("message", error.message().into()),
        ("retryable", error.is_retryable().into()),
    ])
}

/// A plain object with these properties.
pub(super) fn object(properties: &[(&str, JsValue)]) -> JsValue {
    let out = Object::new();
    for (key, value) in properties {
        set(&out, key, value);
    }
    out.into()
}

fn set(target: &Object, key: &str, value: &JsValue) {
    // Cannot fail: the object is ours, plain and not frozen.
    let _ = Reflect::set(target, &JsValue::from_str(key), value);
}

/// A property, when it is there and neither undefined nor null.
pub(super) fn property(object: &JsValue, key: &str) -> Option<JsValue> {
    let value = Reflect::get(object, &JsValue::from_str(key)).ok()?;
    (!value.is_undefined() && !value.is_null()).then_some(value)
}

/// A whole number within a range; whoever checked that may cast.
fn whole(number: f64, most: f64) -> bool {
    number.fract() == 0.0 && (0.0..=most).contains(&number)
}

/// An optional whole number within a u32.
#[allow(clippy::cast_sign_loss, reason = "checked")]
pub(super) fn optional_u32(object: &JsValue, key: &str) -> Result<Option<u32>> {
    let Some(value) = property(object, key) else { return Ok(None) };
    match value.as_f64() {
        Some(number) if whole(number, f64::from(u32::MAX)) => Ok(Some(number as u32)),
        _ => Err(Error::invalid_argument(format!("`{key}` is a whole number, not {}", describe(&value)))),
    }
}

/// Whether a property is `true`.
pub(super) fn flag(object: &JsValue, key: &str) -> bool {
    property(object, key).is_some_and(|value| value == JsValue::TRUE)
}

/// A string; what is none is an empty one, which names nothing.
pub(super) fn text(value: &JsValue) -> String {
    value.as_string().unwrap_or_default()
}

pub(super) fn describe(value: &JsValue) -> String {
    if value.as_f64().is_some() {
        return as_text(value);
    }
    if let Some(text) = value.as_string() {
        return format!("the string `{}`", shortened(&text));
    }
    value.js_typeof().as_string().map_or_else(|| "something else".into(), |kind| format!("a value of type {kind}"))
}

/// A number as JavaScript writes it; Rust's own float formatting would be ten kilobytes.
fn as_text(number: &JsValue) -> String {
    let number: &js_sys::Number = number.unchecked_ref();
    number.to_string_with_radix(10).map(String::from).unwrap_or_default()
}

#[allow(clippy::cast_sign_loss, reason = "checked")]
pub(super) fn to_id(value: &JsValue) -> Result<PointId> {
    if let Some(text) = value.as_string() {
        return PointId::string(&text);
    }
    if let Some(number) = value.as_f64() {
        if whole(number, MAX_SAFE) {
            return Ok(PointId::Int(number as u64));
        }
        return Err(Error::invalid_argument(format!(
            "an id that is a number is an integer from 0 to 2^53-1, not {}; use a bigint above",
            as_text(value)
        )));
    }
    if value.is_bigint() {
        return u64::try_from(value.clone())
            .map(PointId::Int)
            .map_err(|_| Error::invalid_argument("an id that is a bigint is from 0 to 2^64-1"));
    }
    Err(Error::invalid_argument(format!("an id is a number, a bigint or a string, not {}", describe(value))))
}

pub(super) fn to_ids(values: &Array) -> Result<Vec<PointId>> {
    values.iter().map(|value| to_id(&value)).collect()
}

pub(super) fn from_id(id: &PointId) -> JsValue {
    match id {
        PointId::Int(number) => from_u64(*number),
        PointId::Str(text) => JsValue::from_str(text),
    }
}

fn from_u64(number: u64) -> JsValue {
    if number as f64 <= MAX_SAFE { JsValue::from_f64(number as f64) } else { BigInt::from(number).into() }
}

fn from_i64(number: i64) -> JsValue {
    if (number as f64).abs() <= MAX_SAFE { JsValue::from_f64(number as f64) } else { BigInt::from(number).into() }
}

/// Metadata, one object a point; missing ones are empty. An empty list means that no point has any.
pub(super) fn to_metadata(values: &JsValue) -> Result<Vec<Metadata>> {
    let Some(values) = values.dyn_ref::<Array>() else { return Ok(Vec::new()) };
    let named = |at: usize, e: &Error| Error::new(e.kind(), format!("the metadata of point {at}: {}", e.message()));
    values
        .iter()
        .enumerate()
        .map(|(at, value)| {
            if value.is_undefined() || value.is_null() {
                return Ok(Metadata::default());
            }
            let value = to_value(&value, 0).map_err(|e| named(at, &e))?;
            Metadata::from_value(&value).map_err(|e| named(at, &e))
        })
        .collect()
}

pub(super) fn to_filter(value: &JsValue) -> Result<Filter> {
    if value.is_undefined() || value.is_null() {
        return Filter::parse(&Value::Map(Map::new()));
    }
    let value = to_value(value, 0).map_err(|e| Error::new(e.kind(), format!("the filter: {}", e.message())))?;
    Filter::parse(&value)
}

fn to_value(value: &JsValue, depth: usize) -> Result<Value> {
    if depth > MAX_DEPTH {
        return Err(Error::limit_exceeded(format!("more than {MAX_DEPTH} levels deep")));
    }
    if value.is_null() {
        return Ok(Value::Null);
    }
    if let Some(truth) = value.as_bool() {
        return Ok(Value::Bool(truth));
    }
    if let Some(number) = value.as_f64() {
        let is_integer = number.fract() == 0.0 && number.abs() <= MAX_SAFE;
        return if is_integer { Ok(Value::I64(number as i64)) } else { Value::finite(number) };
    }
    if let Some(text) = value.as_string() {
        return Ok(Value::Str(text));
    }
    if value.is_bigint() {
        return i64::try_from(value.clone())
            .map(Value::I64)
            .or_else(|value| u64::try_from(value).map(Value::U64))
            .map_err(|_| Error::invalid_argument("a bigint in metadata is from -2^63 to 2^64-1"));
    }
    if let Some(list) = value.dyn_ref::<Array>() {
        return list.iter().map(|item| to_value(&item, depth + 1)).collect::<Result<_>>().map(Value::List);
    }
    if is_plain(value) {
        return to_map(value.unchecked_ref(), depth).map(Value::Map);
    }
    Err(Error::invalid_argument(format!("only JSON values, not {}", describe_object(value))))
}

fn to_map(object: &Object, depth: usize) -> Result<Map<String, Value>> {
    let mut map = Map::new();
    for entry in Object::entries(object).iter() {
        let entry: Array = entry.unchecked_into();
        let (key, value) = (entry.get(0), entry.get(1));
        if value.is_undefined() {
            continue;
        }
        let key = text(&key);
        let inner = to_value(&value, depth + 1)
            .map_err(|e| Error::new(e.kind(), format!("`{}`: {}", shortened(&key), e.message())))?;
        map.insert(key, inner);
    }
    Ok(map)
}

/// Whether an object is a plain one: of `Object.prototype` (of any realm) or of none.
fn is_plain(value: &JsValue) -> bool {
    if !value.is_object() {
        return false;
    }
    let prototype = Object::get_prototype_of(value);
    prototype.is_null() || Object::get_prototype_of(&prototype).is_null()
}

fn describe_object(value: &JsValue) -> String {
    let name = property(value, "constructor").and_then(|class| property(&class, "name")?.as_string());
    name.map_or_else(|| describe(value), |name| format!("a {name}"))
}

pub(super) fn from_value(value: &Value) -> JsValue {
    match value {
        Value::Null => JsValue::NULL,
        Value::Bool(truth) => (*truth).into(),
        Value::I64(number) => from_i64(*number),
        Value::U64(number) => from_u64(*number),
        Value::F64(number) => (*number).into(),
        Value::Str(text) => text.into(),
        Value::List(items) => items.iter().map(from_value).collect::<Array>().into(),
        Value::Map(map) => {
            let out = Object::new();
            for (key, value) in map {
                // `Reflect.set` on `__proto__` would change the prototype instead of adding a property.
                if key == "__proto__" {
                    let property = object(&[
                        ("value", from_value(value)),
                        ("enumerable", true.into()),
                        ("configurable", true.into()),
                        ("writable", true.into()),
                    ]);
                    let _ = Reflect::define_property(&out, &key.into(), property.unchecked_ref());
                } else {
                    set(&out, key, &from_value(value));
                }
            }
            out.into()
        }
    }
}
