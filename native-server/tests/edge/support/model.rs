//! What a collection should be: a map, and distances by their definitions.

use std::collections::BTreeMap;

use hyperspace_server::proto::{Hit, Metric, Point, PointId, point_id};
use serde_json::Value;

use super::client::{components, number, text};

/// An id in the order of ties: integers by value, then strings by bytes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Id {
    Number(u64),
    Text(String),
}

impl Id {
    pub(crate) fn of(id: Option<&PointId>) -> Self {
        match id.and_then(|id| id.id.clone()) {
            Some(point_id::Id::Number(id)) => Self::Number(id),
            Some(point_id::Id::Text(id)) => Self::Text(id),
            None => panic!("an answer has an id without a value"),
        }
    }

    pub(crate) fn on_the_wire(&self) -> PointId {
        match self {
            Self::Number(id) => number(*id),
            Self::Text(id) => text(id),
        }
    }
}

/// Points by id: vector and metadata.
pub(crate) type Model = BTreeMap<Id, (Vec<f32>, Value)>;

/// Points of answers as a model has them; none may be there twice.
pub(crate) fn model_of(points: &[Point]) -> Model {
    let mut model = Model::new();
    for point in points {
        let id = Id::of(point.id.as_ref());
        let value = (components(&point.vector), serde_json::from_str(&point.metadata).unwrap());
        assert_eq!(model.insert(id.clone(), value), None, "{id:?} came twice");
    }
    model
}

/// A distance by its definition, in f64.
pub(crate) fn distance(metric: Metric, a: &[f32], b: &[f32]) -> f64 {
    let pairs = || a.iter().zip(b).map(|(&a, &b)| (f64::from(a), f64::from(b)));
    let squared = |v: &[f32]| v.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>();
    let dot: f64 = pairs().map(|(a, b)| a * b).sum();
    let apart: f64 = pairs().map(|(a, b)| (a - b).powi(2)).sum();
    match metric {
        Metric::L2 => apart.sqrt(),
        Metric::Cosine => 1.0 - dot / (squared(a) * squared(b)).sqrt(),
        Metric::Dot => -dot,
        Metric::Poincare => (1.0 + 2.0 * apart / ((1.0 - squared(a)) * (1.0 - squared(b)))).acosh(),
        Metric::Unspecified => panic!("no metric"),
    }
}

/// Whether two distances are the same but for rounding.
pub(crate) fn is_close(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-5 * a.abs().max(1.0)
}

/// The distances of the nearest, from all of them.
pub(crate) fn nearest_distances(metric: Metric, model: &Model, query: &[f32], top_k: usize) -> Vec<f64> {
    let mut all: Vec<f64> = model.values().map(|(row, _)| distance(metric, query, row)).collect();
    all.sort_by(f64::total_cmp);
    all.truncate(top_k);
    all
}

/// Checks hits of an exact search: each at its own distance, in order, and together the nearest there are.
pub(crate) fn assert_nearest(metric: Metric, model: &Model, query: &[f32], top_k: usize, hits: &[Hit]) {
    let expected = nearest_distances(metric, model, query, top_k);
    assert_eq!(hits.len(), expected.len());
    for (hit, expected) in hits.iter().zip(expected) {
        let (row, metadata) = &model[&Id::of(hit.id.as_ref())];
        let own = distance(metric, query, row);
        assert!(is_close(hit.distance, own), "{metric:?}: {:?} is at {own}, not {}", hit.id, hit.distance);
        assert!(is_close(hit.distance, expected), "{metric:?}: one at {expected} is missing, {hit:?} is there");
        assert_eq!(&serde_json::from_str::<Value>(&hit.metadata).unwrap(), metadata);
    }
    assert_in_order(hits);
}

/// Checks that hits stand nearest first, equal distances by id, none twice.
pub(crate) fn assert_in_order(hits: &[Hit]) {
    let place = |hit: &Hit| (hit.distance, Id::of(hit.id.as_ref()));
    for pair in hits.windows(2) {
        let ((a, first), (b, second)) = (place(&pair[0]), place(&pair[1]));
        assert!(a.total_cmp(&b).then(first.cmp(&second)).is_lt(), "{pair:?}");
    }
}
