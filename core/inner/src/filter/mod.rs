//! Filters: the one query language over metadata, exact and the same in every host and SDK.
//!
//! ```text
//! filter    = { entry* }                                   all entries must hold; {} holds for every document
//! entry     = path: literal                                the same as path: { "$eq": literal }
//!           | path: { operator: operand, .. }              all operators must hold
//!           | "$and": [filter, ..] | "$or": [filter, ..]   at least one filter each
//!           | "$not": filter
//! operator  = $eq $ne: literal | $gt $gte $lt $lte: number, string or boolean
//!           | $in $nin: [literal, ..] | $exists: boolean | $not: { operator: operand, .. }
//! ```
//!
//! **Paths.** `a.b` leads to key `b` of the object at key `a`. A key may itself hold dots: at each object the longest
//! key that begins the rest of the path is taken, so an exact key wins, and there is no second try. A list on the way
//! stands for those of its elements that are objects. A path that leads nowhere is missing, never an error.
//!
//! **Lists.** A list value satisfies an operator when any of its elements does, or when the list as a whole does:
//! `$eq: [1, 2]` finds the lists `[1, 2]` and `[[1, 2], 3]`. Both this and the rule for paths open one level; a list
//! inside a list is one element. Each operator chooses its own element: `{ "$gt": 1, "$lt": 0 }` finds `[-5, 5]`.
//!
//! **Comparison.** Numbers by exact value whatever their form (`compare_numbers`), strings by their bytes, `false`
//! before `true`; null, lists and objects have equality only, by their contents. Values of different types are neither
//! equal nor ordered. Null equals a null that is present; a missing field is found by `$exists: false`.
//!
//! **Negation.** `$ne`, `$nin` and `$not` hold exactly where `$eq`, `$in` and the negated filter do not, so also for
//! documents in which the field is missing, and for lists only when no element matches.
//!
//! **Errors.** An unknown operator, a mix of operators and plain keys, an operand of the wrong type: `InvalidArgument`.
//! An object meant as a literal is taken as one unless its keys begin with `$`; since a `$` deeper in it is far more
//! often a mistake, such an object needs an explicit `$eq`.
//!
//! Limits: [`MAX_FILTER_DEPTH`], [`MAX_FILTER_NODES`], [`MAX_IN_VALUES`], and those of metadata for each literal.
//! Knows metadata; not points, segments or plans.

mod ast;
mod eval;
mod parse;
#[cfg(test)]
mod tests;

use alloc::sync::Arc;

use crate::error::Result;
use crate::metadata::{MetadataRef, Value};
use ast::Node;

/// The most levels of a filter: one, and one for each `$and`, `$or` and `$not` around a condition.
pub const MAX_FILTER_DEPTH: usize = 16;
/// The most nodes of a filter: each `$and`, `$or`, `$not`, each empty filter, and each operator on a field.
pub const MAX_FILTER_NODES: usize = 256;
/// The most values of one `$in` or `$nin`.
pub const MAX_IN_VALUES: usize = 1000;

/// A parsed filter; cheap to clone, and evaluated without allocating.
#[derive(Clone, Debug)]
pub struct Filter {
    root: Arc<Node>,
}

impl Filter {
    /// Parses a filter of the language that the module describes.
    ///
    /// # Errors
    /// `InvalidArgument` when it is not one; `LimitExceeded`, naming the limit, when it is too large.
    pub fn parse(filter: &Value) -> Result<Self> {
        Ok(Self { root: Arc::new(parse::parse(filter)?) })
    }

    /// Whether a document satisfies the filter.
    pub fn matches(&self, document: MetadataRef<'_>) -> bool {
        self.root.matches(document)
    }

    /// Whether the filter has no condition at all, as `{}`.
    pub fn matches_everything(&self) -> bool {
        matches!(*self.root, Node::Everything)
    }
}
