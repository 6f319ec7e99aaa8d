//! A database of everything that there is: metrics, ids, metadata, points near the rim, sealed, waiting and deleted.

use std::collections::BTreeMap;

use hyperspace_core::collection::{Collection, CollectionConfig, Plan, Scratch, SearchRequest, Vectors};
use hyperspace_core::metadata::{Metadata, Value};
use hyperspace_core::metric::{Metric, QueryVector};
use hyperspace_core::types::PointId;

use crate::engine::host::Host;
use crate::support::Random;

const SEED: u64 = 41;
const DIMENSION: usize = 4;
const POINTS: usize = 300;

/// Row and term of a point as bits, and its metadata.
type Bits = (Vec<u32>, u32, Metadata);

/// A collection of each metric, and one without points, in the order of their names.
pub(super) fn database() -> Vec<Host> {
    println!("seed {SEED}");
    let mut random = Random::new(SEED);
    let metrics = [Metric::Poincare, Metric::Cosine, Metric::L2, Metric::Dot];
    let mut hosts: Vec<Host> = metrics.map(|metric| filled(metric, &mut random)).into();
    let empty = CollectionConfig::new("empty", 4096, Metric::L2).unwrap();
    hosts.push(Host::create(CollectionConfig { m: Some(64), ef_search: Some(4096), ..empty }).unwrap());
    hosts.sort_by_key(|host| host.collection.config().name.clone());
    hosts
}

fn filled(metric: Metric, random: &mut Random) -> Host {
    let config = CollectionConfig::new(metric.as_str(), DIMENSION, metric).unwrap();
    let config = CollectionConfig { ef_construction: Some(90), seed: 77, ..config };
    let mut host = Host::create(config).unwrap();
    let all: Vec<PointId> = (0..POINTS).map(id).collect();
    let metadata: Vec<Metadata> = (0..POINTS).map(metadata).collect();
    let rows: Vec<f64> = (0..POINTS).flat_map(|at| row(metric, at, random)).collect();
    // Two segments with dead points, and a memtable with some.
    for part in [0..120, 120..220, 220..POINTS] {
        let components = part.start * DIMENSION..part.end * DIMENSION;
        host.upsert(&all[part.clone()], Vectors::F64(&rows[components]), &metadata[part.clone()]).unwrap();
        if part.end < POINTS {
            host.settle().unwrap();
        }
    }
    host.delete(&all[100..130]).unwrap();
    host.delete(&all[230..235]).unwrap();
    host.upsert(&all[..5], Vectors::F64(&rows[5 * DIMENSION..10 * DIMENSION]), &metadata[5..10]).unwrap();
    let view = host.collection.snapshot();
    assert!(view.indexed() > 0 && view.dead() > 0 && view.pending() > 0);
    host
}

/// Numbers and strings, the largest of both among them.
fn id(at: usize) -> PointId {
    match at {
        1 => PointId::Int(u64::MAX),
        2 => PointId::string(&"i".repeat(128)).unwrap(),
        3 => PointId::string("3").unwrap(),
        4 => PointId::Int(3),
        _ if at.is_multiple_of(3) => PointId::string(&format!("punkt {at} – ü")).unwrap(),
        _ => PointId::Int(at as u64 + 1_000),
    }
}

/// Values of every kind, at the edges of their ranges.
fn metadata(at: usize) -> Metadata {
    let n = i64::try_from(at).unwrap();
    let all = [
        ("null", Value::Null),
        ("bool", Value::Bool(at.is_multiple_of(2))),
        ("i64", Value::I64([i64::MIN, i64::MAX, -1, 0, (1 << 53) + 1][at % 5])),
        ("u64", Value::U64(u64::MAX - at as u64)),
        ("f64", Value::F64([-0.0, 0.1, f64::MAX, f64::MIN_POSITIVE, 1.0][at % 5])),
        ("text", Value::Str(["", "ü", "日本語", "\u{0}"][at % 4].into())),
        ("list", Value::List(vec![Value::I64(n), Value::List(vec![]), Value::Str("x".into())])),
        ("map", Value::Map([("a.b".into(), Value::Map([(String::new(), Value::I64(-n))].into()))].into())),
    ];
    let chosen = all.into_iter().take(at % 9).map(|(key, value)| (key.into(), value));
    Metadata::from_value(&Value::Map(chosen.collect())).unwrap()
}

/// A vector that the metric takes; those of `poincare` come as near to the rim as doubles do.
fn row(metric: Metric, at: usize, random: &mut Random) -> Vec<f64> {
    let row: Vec<f64> = (0..DIMENSION).map(|_| f64::from(random.normal())).collect();
    if metric != Metric::Poincare {
        return row;
    }
    let norm = row.iter().map(|x| x * x).sum::<f64>().sqrt();
    let radius = 1.0 - 10_f64.powf(-((at % 31) as f64) / 2.0);
    row.iter().map(|x| x / norm * radius).collect()
}

/// Everything live, as bits.
pub(super) fn contents(collection: &Collection) -> BTreeMap<PointId, Bits> {
    let bits = |row: &[f32]| row.iter().map(|x| x.to_bits()).collect();
    let view = collection.snapshot();
    view.points().map(|point| (point.id, (bits(&point.vector), point.term.to_bits(), point.metadata))).collect()
}

/// What searches find, with the bits of the distances.
pub(super) fn answers(collection: &Collection, plan: Plan) -> Vec<Vec<(PointId, u64)>> {
    let config = collection.config();
    let mut random = Random::new(SEED);
    let mut scratch = Scratch::default();
    let mut answer = |at| {
        let query =
            QueryVector::from_f64(config.metric, config.dimension, &row(config.metric, at, &mut random)).unwrap();
        let request = SearchRequest::new(query, 20).unwrap().with_plan(plan);
        let hits = collection.snapshot().search(&request, &mut scratch).unwrap().hits;
        hits.into_iter().map(|hit| (hit.id, hit.distance.to_bits())).collect()
    };
    if config.dimension == DIMENSION { (0..40).map(&mut answer).collect() } else { Vec::new() }
}
