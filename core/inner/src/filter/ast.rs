//! The parsed form of a filter: what `parse.rs` proves and `eval.rs` walks.
//!
//! Negative operators are gone: `$ne`, `$nin` and `$exists: false` are [`Node::Not`] of the positive one, which makes
//! them exact negations by construction.

use alloc::boxed::Box;
use alloc::vec::Vec;

use crate::error::Result;
use crate::metadata::{Number, Value, ValueRef, check_literal, encode_literal};

/// A filter or a part of one.
#[derive(Debug)]
pub(super) enum Node {
    /// Holds for every document.
    Everything,
    /// Holds where all of at least two nodes hold.
    All(Vec<Node>),
    /// Holds where any node holds.
    Any(Vec<Node>),
    /// Holds where the node does not.
    Not(Box<Node>),
    /// Holds where any value at the path passes the test.
    Field { path: Box<str>, test: Test },
}

/// What a value has to be.
#[derive(Debug)]
pub(super) enum Test {
    /// Present.
    Exists,
    /// Equal.
    Equals(Literal),
    /// Of the same type as the bound, and on this side of it.
    Compares(Comparison, Literal),
    /// Equal to one of these, which are sorted by `compare_values` and free of duplicates.
    In(Box<[Literal]>),
}

/// A side of a bound.
#[derive(Clone, Copy, Debug)]
pub(super) enum Comparison {
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
}

/// A value of the filter in the form that evaluation reads: scalars decoded, lists and objects encoded.
#[derive(Debug)]
pub(super) enum Literal {
    Null,
    Bool(bool),
    Number(Number),
    Str(Box<str>),
    /// The encoding of one list or object.
    Nested(Box<[u8]>),
}

impl Literal {
    /// Prepares a value; the limits of metadata hold for each literal.
    pub(super) fn new(value: &Value) -> Result<Self> {
        check_literal(value)?;
        Ok(match value {
            Value::Null => Self::Null,
            Value::Bool(value) => Self::Bool(*value),
            Value::I64(n) => Self::Number(Number::I64(*n)),
            Value::U64(n) => Self::Number(Number::U64(*n)),
            Value::F64(x) => Self::Number(Number::F64(*x)),
            Value::Str(text) => Self::Str(text.as_str().into()),
            Value::List(_) | Value::Map(_) => Self::Nested(encode_literal(value)?),
        })
    }

    pub(super) fn view(&self) -> ValueRef<'_> {
        match self {
            Self::Null => ValueRef::Null,
            Self::Bool(value) => ValueRef::Bool(*value),
            Self::Number(number) => ValueRef::Number(*number),
            Self::Str(text) => ValueRef::Str(text.as_bytes()),
            Self::Nested(bytes) => ValueRef::decode(bytes).unwrap_or(ValueRef::Null),
        }
    }
}
