//! [`Value`] to and from every serde format: JSON on the server, JavaScript values in the tab.
//!
//! A format's integers become integers and its floats stay floats, even integral ones: filters compare by value.
//! Absence (`null`, `undefined`, unit, none) is [`Value::Null`]. Bytes, keys that are not strings, keys given twice
//! and numbers that are not finite are refused. Depth is bounded here only to protect the stack from cyclic objects, and
//! the number of values to protect the memory; the limits of metadata and filters are tighter, and are checked where
//! their error can be typed.
//!
//! `serde_json` reads some floats one bit off unless its feature `float_roundtrip` is on; hosts that parse JSON turn it on.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::cell::Cell;
use core::fmt;

use ::serde::de::{self, Deserialize, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use ::serde::ser::{Serialize, Serializer};

use super::value::Value;
use crate::error::shortened;
use crate::map::Map;

/// The most levels of lists and objects that are read at all.
const MAX_READ_DEPTH: usize = 128;
/// The most values that are read at all, an object that is not empty counting as [`OBJECT`] more: above what metadata or a
/// filter within its limits can have. A text of a few bytes a value must not become a tree of any size.
const MAX_READ_VALUES: usize = 1 << 18;
/// The first entry of an object makes lists with room for four, which take less memory than so many values.
const OBJECT: usize = 16;

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::I64(n) => serializer.serialize_i64(*n),
            Self::U64(n) => serializer.serialize_u64(*n),
            Self::F64(x) => serializer.serialize_f64(*x),
            Self::Str(text) => serializer.serialize_str(text),
            Self::List(items) => serializer.collect_seq(items),
            Self::Map(entries) => serializer.collect_map(entries),
        }
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Seed { levels: MAX_READ_DEPTH, values: &Cell::new(MAX_READ_VALUES) }.deserialize(deserializer)
    }
}

/// Reads one value that may nest `levels` more levels.
#[derive(Clone, Copy)]
struct Seed<'a> {
    levels: usize,
    /// How many more may be read, here and around.
    values: &'a Cell<usize>,
}

impl Seed<'_> {
    fn inner<E: de::Error>(self) -> Result<Self, E> {
        let levels = self.levels.checked_sub(1);
        let levels = levels.ok_or_else(|| E::custom(format!("a value nests deeper than {MAX_READ_DEPTH} levels")))?;
        Ok(Self { levels, ..self })
    }

    fn spend<E: de::Error>(self, values: usize) -> Result<(), E> {
        let left = self.values.get().checked_sub(values);
        let left = left.ok_or_else(|| E::custom(format!("there are more than {MAX_READ_VALUES} values")))?;
        self.values.set(left);
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        self.spend(1)?;
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("null, a boolean, a finite number, a string, a list or an object")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E: de::Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        self.inner::<D::Error>()?.deserialize(deserializer)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Value, E> {
        Ok(Value::I64(value))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Value, E> {
        Value::finite(value).map_err(|error| E::custom(error.message()))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_string<E: de::Error>(self, value: String) -> Result<Value, E> {
        Ok(Value::Str(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let inner = self.inner()?;
        // Not sized by the format's hint, which comes from outside.
        let mut items = Vec::new();
        while let Some(item) = access.next_element_seed(inner)? {
            items.push(item);
        }
        Ok(Value::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let inner = self.inner()?;
        let mut entries = Map::new();
        while let Some(key) = access.next_key::<String>()? {
            if entries.is_empty() {
                inner.spend(OBJECT)?;
            }
            if entries.contains_key(&key) {
                return Err(de::Error::custom(format!("key `{}` is given twice", shortened(&key))));
            }
            entries.insert(key, access.next_value_seed(inner)?);
        }
        Ok(Value::Map(entries))
    }
}
