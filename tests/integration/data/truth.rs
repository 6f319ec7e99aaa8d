//! What a user gets at default settings, measured against exact ground truth.
//!
//! `HS_CONGRUENCE` names a folder into which each sealed collection is written, for the wasm build to open.

use super::npy::Matrix;
use super::sets::Set;
use crate::engine::host::Host;
use hyperspace_core::collection::{MAX_EF, Plan, Scratch, SearchRequest, Snapshot};
use hyperspace_core::filter::Filter;
use hyperspace_core::metadata::Value;
use hyperspace_core::metric::{Metric, QueryVector};
use hyperspace_core::quant::Quantization;
use hyperspace_core::types::PointId;

const K: usize = 10;
/// Lies so far out that its segment keeps full rows.
const BEYOND_CODES: &str = "poincare-10-edge";

fn measure(name: &str, metric: Metric) -> Option<(Set, Host)> {
    let set = Set::open(name, metric)?;
    let truth = set.truth.as_ref().map_or_else(|| brute_force(&set), |(_, distances)| rows_of(distances));
    let (host, full) = measure_as(&set, &truth, Quantization::None);
    let (coded, recall) = measure_as(&set, &truth, Quantization::ScalarI8);
    assert!(recall >= full - 0.01, "{name} {metric}: recall {recall} on codes, {full} on full rows");
    // The most that can be asked for, or less.
    let snapshot = coded.collection.snapshot();
    let best = [400, 1_000, MAX_EF].iter().find_map(|&ef| {
        let found = recall_by(&set, &snapshot, &truth, Plan::Graph, Some(ef)).0;
        (found >= 0.995).then_some((ef, found))
    });
    println!("{name:>20} {:>8} {:>9}: at ef {best:?}", metric.as_str(), "scalar_i8");
    assert!(best.is_some(), "{name} {metric}: no ef has recall 0.995 on codes");
    assert_same_distances(&set, &host.collection.snapshot(), &snapshot);
    congruence(name, metric, &host);
    Some((set, host))
}

/// Builds the set and measures it; the recall at defaults goes with it.
fn measure_as(set: &Set, truth: &[Vec<f64>], quantization: Quantization) -> (Host, f64) {
    let (name, metric) = (&set.name, set.metric);
    let began = std::time::Instant::now();
    let host = set.build(quantization);
    let built = began.elapsed();
    let snapshot = host.collection.snapshot();
    assert_eq!((snapshot.segments().len(), snapshot.pending()), (1, 0), "{name} is one sealed segment");
    let segment = &snapshot.segments()[0].segment;
    assert_eq!(segment.graph().unreachable(), Vec::<u32>::new(), "every live point of {name} is reachable");
    let is_coded = quantization != Quantization::None && name != BEYOND_CODES;
    assert_eq!(segment.codes().is_some(), is_coded, "{name} {quantization}");

    let (recall, share) = recall_by(set, &snapshot, truth, Plan::Graph, None);
    let (exact, _) = recall_by(set, &snapshot, truth, Plan::Exact, None);
    let selves = self_hits(set, &snapshot);
    println!(
        "{name:>20} {:>8} {:>9}: recall@10 {recall:.4}, exact {exact:.4}, distances {:.0} = {:.2} % of n, self-hits {:.3} %, {:.1} bytes a vector, built in {:.1} s",
        metric.as_str(),
        quantization.as_str(),
        share * snapshot.len() as f64,
        share * 100.0,
        selves * 100.0,
        segment.walked_bytes() as f64 / snapshot.len() as f64,
        built.as_secs_f64(),
    );
    assert!(recall >= 0.95, "{name} {metric:?} {quantization}: recall {recall}");
    assert!(exact >= 1.0, "{name} {metric:?} {quantization}: exact mode has recall {exact}");
    assert!(snapshot.len() < 50_000 || share < 0.10, "{name} {metric:?}: {share} of n evaluated is a scan");
    assert!(selves >= 0.999 || metric == Metric::Dot, "{name} {metric:?} {quantization}: {selves} find themselves");
    if is_coded {
        assert!(segment.walked_bytes() <= snapshot.len() * (set.base.columns + 16), "{name}: n x (d + 16) bytes");
    }
    (host, recall)
}

/// What is stored beside the rows changes no distance, exact or not.
fn assert_same_distances(set: &Set, full: &Snapshot, coded: &Snapshot) {
    let (mut one, mut other) = (Scratch::default(), Scratch::default());
    for at in (0..set.queries.rows()).step_by(50) {
        let mut found = |plan| {
            let query = || set.query(&set.queries, at);
            let full = search(full, query(), plan, None, None, &mut one).0;
            (full, search(coded, query(), plan, None, None, &mut other).0)
        };
        let (exact, exact_coded) = found(Plan::Exact);
        assert_eq!(exact, exact_coded, "{}: query {at}", set.name);
        let (walked, walked_coded) = found(Plan::Graph);
        for (id, distance) in walked_coded {
            let same = walked.iter().find(|hit| hit.0 == id).is_none_or(|hit| hit.1.to_bits() == distance.to_bits());
            assert!(same, "{}: query {at} has another distance from {id} on codes", set.name);
        }
    }
}

fn rows_of(distances: &Matrix) -> Vec<Vec<f64>> {
    (0..distances.rows()).map(|at| distances.row(at).to_vec()).collect()
}

fn search(
    snapshot: &Snapshot,
    query: QueryVector,
    plan: Plan,
    ef: Option<usize>,
    filter: Option<&Filter>,
    scratch: &mut Scratch,
) -> (Vec<(u64, f64)>, u64) {
    let mut request = SearchRequest::new(query, K).unwrap().with_plan(plan);
    if let Some(ef) = ef {
        request = request.with_ef(ef).unwrap();
    }
    if let Some(filter) = filter {
        request = request.with_filter(filter.clone());
    }
    let outcome = snapshot.search(&request, scratch).unwrap();
    let hits = outcome.hits.iter().map(|hit| match hit.id {
        PointId::Int(id) => (id, hit.distance),
        PointId::Str(_) => unreachable!("the sets have integer ids"),
    });
    (hits.collect(), outcome.distances)
}

/// The share of true nearest among the hits, by their true distances, and the mean share of points evaluated.
fn recall_by(set: &Set, snapshot: &Snapshot, truth: &[Vec<f64>], plan: Plan, ef: Option<usize>) -> (f64, f64) {
    let mut scratch = Scratch::default();
    let (mut found, mut evaluated) = (0, 0);
    for (at, nearest) in truth.iter().enumerate() {
        let (hits, distances) = search(snapshot, set.query(&set.queries, at), plan, ef, None, &mut scratch);
        evaluated += distances;
        found += right(set, at, &hits, nearest[K - 1]);
        if plan == Plan::Exact {
            check_distances(set, at, &hits, nearest);
        }
    }
    (found as f64 / (truth.len() * K) as f64, evaluated as f64 / (truth.len() * snapshot.len()) as f64)
}

/// How many hits are at most as far as the k-th nearest, by the true distance of the stored values.
fn right(set: &Set, query: usize, hits: &[(u64, f64)], kth: f64) -> usize {
    let limit = kth + kth.abs() * 1e-9;
    hits.iter()
        .filter(|(id, _)| true_distance(set, set.queries.row(query), set.base.row(*id as usize)) <= limit)
        .count()
}

fn true_distance(set: &Set, q: &[f64], v: &[f64]) -> f64 {
    let pairs = || q.iter().zip(v);
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f64>();
    let square: f64 = pairs().map(|(x, y)| (x - y) * (x - y)).sum();
    match set.metric {
        Metric::L2 => square.sqrt(),
        Metric::Cosine => 1.0 - dot(q, v) / (dot(q, q) * dot(v, v)).sqrt(),
        Metric::Dot => -dot(q, v),
        Metric::Poincare => (1.0 + 2.0 * square / ((1.0 - dot(q, q)) * (1.0 - dot(v, v)))).acosh(),
    }
}

/// The true distances of the k nearest, where no ground truth is stored.
fn brute_force(set: &Set) -> Vec<Vec<f64>> {
    (0..set.queries.rows())
        .map(|at| {
            let query = set.queries.row(at);
            let mut all: Vec<f64> = (0..set.base.rows()).map(|i| true_distance(set, query, set.base.row(i))).collect();
            all.select_nth_unstable_by(K, f64::total_cmp);
            all.truncate(K);
            all.sort_by(f64::total_cmp);
            all
        })
        .collect()
}

/// Recall alone forgives bad arithmetic.
fn check_distances(set: &Set, query: usize, hits: &[(u64, f64)], nearest: &[f64]) {
    for ((_, distance), expected) in hits.iter().zip(nearest) {
        let bound = 1e-5 * expected.abs().max(1.0);
        assert!((distance - expected).abs() <= bound, "{}: query {query}: {distance}, truth {expected}", set.name);
    }
}

/// The share of stored points that the graph finds first when they are the query, over an even sample.
fn self_hits(set: &Set, snapshot: &Snapshot) -> f64 {
    let mut scratch = Scratch::default();
    let step = (set.base.rows() / 10_000).max(1);
    let sample: Vec<usize> = (0..set.base.rows()).step_by(step).collect();
    let mut ask = |at: usize, plan| {
        let hits = search(snapshot, set.query(&set.base, at), plan, None, None, &mut scratch).0;
        // Copies of a point are as near as the point itself.
        hits.iter().take_while(|hit| hit.1 <= hits[0].1).any(|hit| hit.0 == at as u64)
    };
    if set.metric != Metric::Dot {
        let missed = sample.iter().step_by(10).find(|&&at| !ask(at, Plan::Exact));
        assert_eq!(missed, None, "{}: exact mode finds every stored point", set.name);
    }
    sample.iter().filter(|&&at| ask(at, Plan::Graph)).count() as f64 / sample.len() as f64
}

/// The six filters: ten results each, almost all of them the true ones.
fn check_filters(set: &Set, host: &Host) {
    let snapshot = host.collection.snapshot();
    let below = |limit: f32| condition("u", "$lt", Value::F64(f64::from(limit)));
    for (name, filter) in [
        ("u01", below(0.01)),
        ("u10", below(0.1)),
        ("u50", below(0.5)),
        ("time", condition("lexname", "$eq", Value::I64(28))),
        ("plant", condition("lexname", "$eq", Value::I64(20))),
        ("deep", condition("depth", "$gte", Value::I64(8))),
    ] {
        let filter = Filter::parse(&filter).unwrap();
        let truth = rows_of(&set.filtered_truth(name).1);
        let mut scratch = Scratch::default();
        let (mut found, mut evaluated) = (0, 0);
        let began = std::time::Instant::now();
        for (at, nearest) in truth.iter().enumerate() {
            let query = set.query(&set.queries, at);
            let (hits, distances) = search(&snapshot, query, Plan::Auto, None, Some(&filter), &mut scratch);
            assert_eq!(hits.len(), K, "{} {name}: query {at}", set.name);
            found += right(set, at, &hits, nearest[K - 1]);
            evaluated += distances;
        }
        let recall = found as f64 / (truth.len() * K) as f64;
        let mean_us = began.elapsed().as_micros() as usize / truth.len();
        println!(
            "{:>20} {name:>8}: recall@10 {recall:.4}, {} distances, {mean_us} us a search",
            set.name,
            evaluated as usize / truth.len()
        );
        assert!(recall >= 0.95, "{} {name}: recall {recall}", set.name);
    }
}

fn condition(field: &str, operator: &str, value: Value) -> Value {
    let inner = Value::Map([(operator.to_owned(), value)].into());
    Value::Map([(field.to_owned(), inner)].into())
}

/// Leaves manifest and segments where the wasm build's test finds them.
fn congruence(name: &str, metric: Metric, host: &Host) {
    let Some(folder) = std::env::var_os("HS_CONGRUENCE") else { return };
    let folder = std::path::Path::new(&folder).join(format!("{name}.{}", metric.as_str()));
    drop(std::fs::remove_dir_all(&folder));
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("manifest"), host.collection.manifest().encode()).unwrap();
    for sealed in host.collection.snapshot().segments() {
        std::fs::write(folder.join(format!("{}.segment", sealed.segment.id())), sealed.segment.bytes()).unwrap();
    }
}

#[test]
fn minilm_by_cosine_and_its_filters() {
    if let Some((set, host)) = measure("minilm-384", Metric::Cosine) {
        check_filters(&set, &host);
    }
}

#[test]
fn glove_by_l2() {
    measure("glove-50", Metric::L2);
}

#[test]
fn glove_by_cosine() {
    measure("glove-50", Metric::Cosine);
}

#[test]
fn glove_by_dot_against_brute_force() {
    measure("glove-50", Metric::Dot);
}

#[test]
fn mnist_by_l2() {
    measure("mnist-784", Metric::L2);
}

#[test]
fn poincare_nouns_and_their_filters() {
    if let Some((set, host)) = measure("poincare-10", Metric::Poincare) {
        check_filters(&set, &host);
    }
}

#[test]
fn poincare_nouns_at_the_edge_of_the_ball() {
    measure("poincare-10-edge", Metric::Poincare);
}

#[test]
fn poincare_mammals() {
    measure("poincare-5-mammals", Metric::Poincare);
}

#[test]
fn uniform_by_l2() {
    measure("uniform-8", Metric::L2);
}

#[test]
fn uniform_by_cosine() {
    measure("uniform-8", Metric::Cosine);
}

#[test]
fn uniform_by_poincare() {
    measure("uniform-8", Metric::Poincare);
}
