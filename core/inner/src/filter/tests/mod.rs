//! One table for each rule of the language; `oracle.rs` holds the rest against a naive evaluator.

mod oracle;

use alloc::string::String;
use alloc::vec::Vec;

use serde_json::{Value as Json, json};

use super::{Filter, MAX_FILTER_DEPTH, MAX_FILTER_NODES, MAX_IN_VALUES};
use crate::error::{Error, ErrorKind};
use crate::metadata::Value;
use crate::metadata::testing::{metadata, value};

fn parse(filter: &Json) -> Filter {
    Filter::parse(&value(filter)).unwrap_or_else(|error| panic!("{filter}: {error}"))
}

fn refusal(filter: &Json) -> Error {
    Filter::parse(&value(filter)).map(|_| ()).expect_err(&std::format!("{filter} is refused"))
}

/// Checks rows of (filter, document, whether it matches).
fn check(rows: &[(Json, Json, bool)]) {
    for (filter, document, expected) in rows {
        let found = parse(filter).matches(metadata(document).view());
        assert_eq!(found, *expected, "filter {filter} on document {document}");
    }
}

#[test]
fn equality_finds_the_same_value_of_the_same_type() {
    check(&[
        (json!({ "lang": "en" }), json!({ "lang": "en" }), true),
        (json!({ "lang": "en" }), json!({ "lang": "eng" }), false),
        (json!({ "lang": "en" }), json!({ "aaa": "en", "zzz": "en" }), false),
        (json!({ "lang": { "$eq": "en" } }), json!({ "lang": "en" }), true),
        (json!({ "n": 1 }), json!({ "n": 1.0 }), true),
        (json!({ "n": 1.0 }), json!({ "n": 1 }), true),
        (json!({ "n": -0.0 }), json!({ "n": 0 }), true),
        (json!({ "n": 1 }), json!({ "n": "1" }), false),
        (json!({ "n": 1 }), json!({ "n": true }), false),
        (json!({ "n": 0 }), json!({ "n": null }), false),
        (json!({ "n": 9_007_199_254_740_993_i64 }), json!({ "n": 9_007_199_254_740_992.0 }), false),
        (json!({ "n": 9_007_199_254_740_992_i64 }), json!({ "n": 9_007_199_254_740_992.0 }), true),
        (json!({ "n": u64::MAX }), json!({ "n": u64::MAX }), true),
        (json!({ "n": u64::MAX }), json!({ "n": 18_446_744_073_709_551_616.0 }), false),
        (json!({ "n": u64::MAX }), json!({ "n": -1 }), false),
        (json!({ "o": { "b": 1, "a": [2] } }), json!({ "o": { "a": [2.0], "b": 1 } }), true),
        (json!({ "o": { "a": 1 } }), json!({ "o": { "a": 1, "b": 2 } }), false),
        (json!({ "o": {} }), json!({ "o": {} }), true),
        (json!({ "o": {} }), json!({ "o": { "a": 1 } }), false),
    ]);
}

#[test]
fn null_is_a_value_and_missing_is_not_null() {
    check(&[
        (json!({ "a": null }), json!({ "a": null }), true),
        (json!({ "a": null }), json!({}), false),
        (json!({ "a": null }), json!({ "a": [null] }), true),
        (json!({ "a": { "$ne": null } }), json!({}), true),
        (json!({ "a": { "$exists": true } }), json!({ "a": null }), true),
        (json!({ "a": { "$exists": false } }), json!({ "a": null }), false),
        (json!({ "a": { "$exists": false } }), json!({}), true),
        (json!({ "a": { "$exists": true } }), json!({ "a": [] }), true),
        (json!({ "a.b": { "$exists": true } }), json!({ "a": [1, { "b": 2 }] }), true),
        (json!({ "a.b": { "$exists": false } }), json!({ "a": [1, { "c": 2 }] }), true),
    ]);
}

#[test]
fn order_holds_within_one_type_only() {
    check(&[
        (json!({ "n": { "$gt": 1 } }), json!({ "n": 1.5 }), true),
        (json!({ "n": { "$gt": 1 } }), json!({ "n": 1 }), false),
        (json!({ "n": { "$gte": 1 } }), json!({ "n": 1.0 }), true),
        (json!({ "n": { "$lt": 1 } }), json!({ "n": 0.999 }), true),
        (json!({ "n": { "$lt": 1 } }), json!({ "n": 1 }), false),
        (json!({ "n": { "$lte": 1 } }), json!({ "n": 1 }), true),
        (json!({ "n": { "$gt": 1 } }), json!({ "n": "2" }), false),
        (json!({ "n": { "$lt": 1 } }), json!({ "n": "0" }), false),
        (json!({ "n": { "$lt": "1" } }), json!({ "n": 0 }), false),
        (json!({ "n": { "$gte": 0 } }), json!({ "n": null }), false),
        (json!({ "n": { "$gte": 0 } }), json!({}), false),
        (json!({ "n": { "$gt": 9_007_199_254_740_992.0 } }), json!({ "n": 9_007_199_254_740_993_i64 }), true),
        (json!({ "n": { "$lt": 18_446_744_073_709_551_616.0 } }), json!({ "n": u64::MAX }), true),
        (json!({ "n": { "$gt": i64::MAX } }), json!({ "n": 9_223_372_036_854_775_808_u64 }), true),
        (json!({ "s": { "$gt": "Z" } }), json!({ "s": "a" }), true),
        (json!({ "s": { "$lt": "é" } }), json!({ "s": "z" }), true),
        (json!({ "s": { "$lt": "ab" } }), json!({ "s": "a" }), true),
        (json!({ "b": { "$gt": false } }), json!({ "b": true }), true),
        (json!({ "b": { "$gte": true } }), json!({ "b": false }), false),
        (json!({ "y": { "$gte": 2000, "$lt": 2010 } }), json!({ "y": 2005 }), true),
        (json!({ "y": { "$gte": 2000, "$lt": 2010 } }), json!({ "y": 2010 }), false),
    ]);
}

#[test]
fn a_list_matches_by_any_element_or_as_a_whole() {
    check(&[
        (json!({ "t": "x" }), json!({ "t": ["y", "x"] }), true),
        (json!({ "t": "x" }), json!({ "t": ["y"] }), false),
        (json!({ "t": "x" }), json!({ "t": [] }), false),
        (json!({ "t": "x" }), json!({ "t": [["x"]] }), false),
        (json!({ "t": ["x", "y"] }), json!({ "t": ["x", "y"] }), true),
        (json!({ "t": ["x", "y"] }), json!({ "t": ["y", "x"] }), false),
        (json!({ "t": ["x"] }), json!({ "t": ["x", "y"] }), false),
        (json!({ "t": ["x"] }), json!({ "t": [["x"], "y"] }), true),
        (json!({ "t": [] }), json!({ "t": [] }), true),
        (json!({ "t": { "$ne": "x" } }), json!({ "t": ["x", "y"] }), false),
        (json!({ "t": { "$gt": 1, "$lt": 0 } }), json!({ "t": [-5, 5] }), true),
        (json!({ "t": { "$in": ["a", "x"] } }), json!({ "t": ["x"] }), true),
        (json!({ "t": { "$in": [["x"]] } }), json!({ "t": ["x"] }), true),
        (json!({ "t": { "$nin": ["a", "x"] } }), json!({ "t": ["b", "x"] }), false),
    ]);
}

#[test]
fn membership_compares_like_equality() {
    check(&[
        (json!({ "a": { "$in": [] } }), json!({ "a": 1 }), false),
        (json!({ "a": { "$nin": [] } }), json!({ "a": 1 }), true),
        (json!({ "a": { "$in": [3, 1.0, 2] } }), json!({ "a": 1 }), true),
        (json!({ "a": { "$in": ["1", true, null] } }), json!({ "a": 1 }), false),
        (json!({ "a": { "$in": ["1", 5, null] } }), json!({ "a": null }), true),
        (json!({ "a": { "$in": [null] } }), json!({}), false),
        (json!({ "a": { "$nin": [null] } }), json!({}), true),
        (json!({ "a": { "$in": [{ "b": 1 }, { "b": 2 }] } }), json!({ "a": { "b": 2.0 } }), true),
        (json!({ "a": { "$in": [1, 1, 1.0] } }), json!({ "a": 1 }), true),
    ]);
}

#[test]
fn paths_lead_through_objects_lists_and_dotted_keys() {
    check(&[
        (json!({ "a.b.c": 1 }), json!({ "a": { "b": { "c": 1 } } }), true),
        (json!({ "a.b.c": 1 }), json!({ "a.b": { "c": 1 } }), true),
        (json!({ "a.b.c": 1 }), json!({ "a": { "b.c": 1 } }), true),
        (json!({ "a.b.c": 1 }), json!({ "a.b.c": 1 }), true),
        (json!({ "a.b": 1 }), json!({ "a": { "b": 1 }, "a.b": 2 }), false),
        (json!({ "a.b": 2 }), json!({ "a": { "b": 1 }, "a.b": 2 }), true),
        (json!({ "a.b.c": 1 }), json!({ "a": { "b": { "c": 1 } }, "a.b": 3 }), false),
        (json!({ "a.b": 1 }), json!({ "a": { "b": 1 }, "a!": 0, "a-b": 0 }), true),
        (json!({ "a.b": 1 }), json!({ "a": 1 }), false),
        (json!({ "a.b": 2 }), json!({ "a": [{ "b": 1 }, { "b": 2 }] }), true),
        (json!({ "a.b": 2 }), json!({ "a": [[{ "b": 2 }]] }), false),
        (json!({ "a.b": 2 }), json!({ "a": [{ "b": [1, 2] }] }), true),
        (json!({ "a.0": 1 }), json!({ "a": [1] }), false),
        (json!({ "": 1 }), json!({ "": 1 }), true),
        (json!({ "a.": 1 }), json!({ "a": { "": 1 } }), true),
        (json!({ "a.$x": 1 }), json!({ "a": { "$x": 1 } }), true),
        (json!({ "a": { "b": 1 } }), json!({ "a": { "b": 1, "c": 2 } }), false),
    ]);
}

#[test]
fn negations_are_exact() {
    check(&[
        (json!({ "a": { "$ne": 1 } }), json!({}), true),
        (json!({ "a": { "$ne": 1 } }), json!({ "a": 1.0 }), false),
        (json!({ "a": { "$ne": 1 } }), json!({ "a": "1" }), true),
        (json!({ "a": { "$nin": [1, 2] } }), json!({ "a": 3 }), true),
        (json!({ "a": { "$not": { "$gt": 5 } } }), json!({}), true),
        (json!({ "a": { "$not": { "$gt": 5 } } }), json!({ "a": "x" }), true),
        (json!({ "a": { "$not": { "$gt": 5 } } }), json!({ "a": 6 }), false),
        (json!({ "a": { "$not": { "$gt": 5, "$lt": 9 } } }), json!({ "a": 10 }), true),
        (json!({ "a": { "$not": { "$not": { "$gt": 5 } } } }), json!({ "a": 6 }), true),
        (json!({ "$not": { "a": 1, "b": 2 } }), json!({ "a": 1, "b": 3 }), true),
        (json!({ "$not": { "a": 1, "b": 2 } }), json!({ "a": 1, "b": 2 }), false),
        (json!({ "$not": {} }), json!({}), false),
    ]);
}

#[test]
fn conditions_combine() {
    let filter = json!({ "lang": "en", "year": { "$gte": 2020 }, "$or": [{ "kind": "a" }, { "kind": "b" }] });
    check(&[
        (filter.clone(), json!({ "lang": "en", "year": 2021, "kind": "b" }), true),
        (filter.clone(), json!({ "lang": "en", "year": 2021, "kind": "c" }), false),
        (filter.clone(), json!({ "lang": "de", "year": 2021, "kind": "b" }), false),
        (filter, json!({ "lang": "en", "year": 2019, "kind": "b" }), false),
        (json!({ "$and": [{ "a": 1 }, { "b": 2 }] }), json!({ "a": 1, "b": 2 }), true),
        (json!({ "$and": [{ "a": 1 }, { "b": 2 }] }), json!({ "a": 1 }), false),
        (json!({ "$or": [{ "a": 1 }, {}] }), json!({}), true),
    ]);
}

#[test]
fn only_a_filter_without_conditions_matches_everything() {
    for everything in [json!({}), json!({ "$and": [{}] })] {
        assert!(parse(&everything).matches_everything(), "{everything}");
        assert!(parse(&everything).matches(metadata(&json!({})).view()));
    }
    for some in [json!({ "a": 1 }), json!({ "$not": {} }), json!({ "$or": [{ "a": 1 }] })] {
        assert!(!parse(&some).matches_everything(), "{some}");
    }
}

#[test]
fn what_is_not_a_filter_is_refused_and_named() {
    let rows = [
        (json!(null), "null"),
        (json!([]), "a list"),
        (json!({ "a": { "$regex": "x" } }), "`$regex`"),
        (json!({ "$nor": [{}] }), "`$nor`"),
        (json!({ "$gt": 1 }), "`$gt` needs a field"),
        (json!({ "a": { "$gt": 1, "b": 2 } }), "mixes operator `$gt` with plain key `b`"),
        (json!({ "a": { "b": { "$gt": 1 } } }), "`$gt` inside the object"),
        (json!({ "a": { "$or": [{ "$gt": 1 }] } }), "`$or` stands beside fields"),
        (json!({ "$and": [] }), "`$and` needs at least one"),
        (json!({ "$or": [] }), "`$or` needs at least one"),
        (json!({ "$or": { "a": 1 } }), "`$or` takes a list"),
        (json!({ "$or": [1] }), "a filter is an object, not a number"),
        (json!({ "$not": [{}] }), "a filter is an object, not a list"),
        (json!({ "a": { "$not": 5 } }), "`$not` of field `a`"),
        (json!({ "a": { "$not": { "$foo": 5 } } }), "`$foo`"),
        (json!({ "a": { "$exists": 1 } }), "`$exists` of field `a` takes a boolean"),
        (json!({ "a": { "$in": 1 } }), "`$in` of field `a` takes a list"),
        (json!({ "a": { "$gt": null } }), "`$gt` of field `a`"),
        (json!({ "a": { "$lte": [1] } }), "not a list"),
        (json!({ "a": { "$lt": {} } }), "not an object"),
    ];
    for (filter, part) in rows {
        let error = refusal(&filter);
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{filter}");
        assert!(error.message().contains(part), "{filter}: {error}");
    }
    let nan = Value::Map([(String::from("a"), Value::F64(f64::NAN))].into());
    assert_eq!(Filter::parse(&nan).unwrap_err().kind(), ErrorKind::InvalidArgument);
}

#[test]
fn an_explicit_equality_takes_dollar_keys_literally() {
    check(&[(json!({ "a": { "$eq": { "$gt": 1 } } }), json!({ "a": { "$gt": 1 } }), true)]);
}

#[test]
fn the_limits_are_exact_and_named() {
    let deep = |levels: usize| (1..levels).fold(json!({ "a": 1 }), |inner, _| json!({ "$not": inner }));
    let deep_operators =
        |levels: usize| json!({ "a": (1..levels).fold(json!({ "$eq": 1 }), |inner, _| json!({ "$not": inner })) });
    let wide = |nodes: usize| json!({ "$or": (1..nodes).map(|n| json!({ "a": n })).collect::<Vec<_>>() });
    let empty = |nodes: usize| json!({ "$or": (1..nodes).map(|_| json!({})).collect::<Vec<_>>() });
    let many = |values: usize| json!({ "a": { "$in": (0..values).collect::<Vec<_>>() } });
    let rows = [
        (deep(MAX_FILTER_DEPTH), deep(MAX_FILTER_DEPTH + 1), "filter depth", "17", "16"),
        (deep_operators(MAX_FILTER_DEPTH), deep_operators(MAX_FILTER_DEPTH + 1), "filter depth", "17", "16"),
        (wide(MAX_FILTER_NODES), wide(MAX_FILTER_NODES + 1), "filter nodes", "257", "256"),
        (empty(MAX_FILTER_NODES), empty(MAX_FILTER_NODES + 1), "filter nodes", "257", "256"),
        (many(MAX_IN_VALUES), many(MAX_IN_VALUES + 1), "filter values", "1001", "1000"),
        (json!({ "a": "" }), json!({ "a": "x".repeat(70_000) }), "`$eq` of field `a`", "70003", "65536"),
    ];
    for (fits, exceeds, name, is, limit) in rows {
        parse(&fits);
        let error = refusal(&exceeds);
        assert_eq!(error.kind(), ErrorKind::LimitExceeded, "{error}");
        for part in [name, is, limit] {
            assert!(error.message().contains(part), "{error} lacks {part}");
        }
    }
}
