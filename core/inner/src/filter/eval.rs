//! Evaluation of a filter on encoded metadata, in place.
//!
//! A field's test is asked of each value that its path leads to, until one passes; nothing is collected. This is a hot
//! loop: a scan under a filter runs it once per row.

use core::cmp::Ordering;

use super::ast::{Comparison, Literal, Node, Test};
use crate::metadata::{MAX_METADATA_DEPTH, MetadataRef, ValueRef, compare_numbers, compare_values};

impl Node {
    pub(super) fn matches(&self, document: MetadataRef<'_>) -> bool {
        match self {
            Self::Everything => true,
            Self::All(nodes) => nodes.iter().all(|node| node.matches(document)),
            Self::Any(nodes) => nodes.iter().any(|node| node.matches(document)),
            Self::Not(node) => !node.matches(document),
            Self::Field { path, test } => test.passes(document, path.as_bytes()),
        }
    }
}

impl Test {
    fn passes(&self, document: MetadataRef<'_>, path: &[u8]) -> bool {
        match self {
            Self::Exists => any_at(document, path, MAX_METADATA_DEPTH, &|_| true),
            Self::Equals(literal) => {
                let literal = literal.view();
                any_at(document, path, MAX_METADATA_DEPTH, &|value| whole_or_element(value, |v| equal(v, literal)))
            }
            Self::Compares(side, bound) => {
                let bound = bound.view();
                any_at(document, path, MAX_METADATA_DEPTH, &|value| {
                    whole_or_element(value, |v| ordered(v, bound).is_some_and(|ordering| side.accepts(ordering)))
                })
            }
            Self::In(literals) => {
                any_at(document, path, MAX_METADATA_DEPTH, &|value| whole_or_element(value, |v| is_in(v, literals)))
            }
        }
    }
}

impl Comparison {
    const fn accepts(self, ordering: Ordering) -> bool {
        match self {
            Self::Greater => ordering.is_gt(),
            Self::GreaterOrEqual => ordering.is_ge(),
            Self::Less => ordering.is_lt(),
            Self::LessOrEqual => ordering.is_le(),
        }
    }
}

/// Whether any value at the path passes the test; a list on the way stands for its objects.
///
/// `levels` bounds the recursion on bytes that are not metadata; validated ones never nest deeper.
fn any_at<'a, F>(object: MetadataRef<'a>, path: &[u8], levels: usize, test: &F) -> bool
where
    F: Fn(ValueRef<'a>) -> bool,
{
    let Some((value, rest)) = object.step(path) else { return false };
    let Some(rest) = rest else { return test(value) };
    match value {
        ValueRef::Map(inner) if levels > 0 => any_at(inner, rest, levels - 1, test),
        ValueRef::List(items) if levels > 0 => {
            items.iter().any(|item| matches!(item, ValueRef::Map(inner) if any_at(inner, rest, levels - 1, test)))
        }
        _ => false,
    }
}

/// Whether the value passes or, if it is a list, any of its elements.
fn whole_or_element<'a>(value: ValueRef<'a>, passes: impl Fn(ValueRef<'a>) -> bool) -> bool {
    if passes(value) {
        return true;
    }
    match value {
        ValueRef::List(items) => items.iter().any(passes),
        _ => false,
    }
}

fn equal(left: ValueRef<'_>, right: ValueRef<'_>) -> bool {
    match (left, right) {
        // Texts of different lengths, the common case, are told apart without reading them.
        (ValueRef::Str(a), ValueRef::Str(b)) => a == b,
        _ => compare_values(left, right).is_eq(),
    }
}

/// The order of two values of one type that has an order.
fn ordered(left: ValueRef<'_>, right: ValueRef<'_>) -> Option<Ordering> {
    match (left, right) {
        (ValueRef::Number(a), ValueRef::Number(b)) => Some(compare_numbers(&a, &b)),
        (ValueRef::Str(a), ValueRef::Str(b)) => Some(a.cmp(b)),
        (ValueRef::Bool(a), ValueRef::Bool(b)) => Some(a.cmp(&b)),
        _ => None,
    }
}

fn is_in(value: ValueRef<'_>, sorted: &[Literal]) -> bool {
    sorted.binary_search_by(|literal| compare_values(literal.view(), value)).is_ok()
}
