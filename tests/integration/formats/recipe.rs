//! How an image is made: a database over two sessions, and beside it a model that knows nothing of the engine.
//!
//! The model is a sorted map; its distances are the textbook's, in f64 over the values that were given, with rows rounded
//! to f32 where the formats round them.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use hyperspace_core::collection::{CollectionConfig, Tuning, UpsertBatch, Vectors};
use hyperspace_core::metric::Metric;
use hyperspace_core::types::PointId;
use hyperspace_server::database::{Database, DatabaseOptions, OpenCollection, Which};
use serde_json::{Value, json};

use super::contents::{Contents, Expected, Id, Point, Search, State, tenant, to_metadata};
use crate::support::Random;

const SEED: u64 = 1;
const TOP_K: usize = 5;
const EF_SEARCH: u32 = 77;
const LANGUAGES: [&str; 3] = ["en", "de", "日本語"];

/// A filter in JSON, and what it means.
type Condition = (Value, fn(&Value) -> bool);

#[derive(Clone, PartialEq)]
struct Given {
    vector: Vec<f64>,
    metadata: Value,
}

/// Points by id, and how far apart they are.
struct Model {
    tenant: &'static str,
    name: &'static str,
    dimension: usize,
    metric: Metric,
    ef_search: Option<u32>,
    points: BTreeMap<Id, Given>,
    queries: Vec<Vec<f64>>,
}

/// Makes a data directory; says what is in it.
pub(super) fn make(data: &Path) -> Expected {
    let mut random = Random::new(SEED);
    let mut notes = Model::new("default", "notes", 4, Metric::L2, &mut random);
    let mut tree = Model::new("default", "tree", 3, Metric::Poincare, &mut random);
    let mut others = Model::new("ada@example.org", "notes", 3, Metric::Cosine, &mut random);

    let database = open(data);
    for model in [&notes, &tree, &others] {
        let config = CollectionConfig::new(model.name, model.dimension, model.metric).unwrap();
        database.create(&tenant(model.tenant), config).unwrap();
    }
    forget_one(&database, &mut random);

    // Two segments: of the first a part died before it was written anew, its tombstones are in the second.
    notes.upsert(&database, 0..60, &mut random);
    notes.vacuum(&database);
    notes.delete(&database, 0..6);
    notes.upsert(&database, 6..12, &mut random);
    notes.upsert(&database, 60..95, &mut random);
    notes.vacuum(&database);
    // Dead in the bitmaps of the manifest, and in the log, but still in the segments.
    let before = notes.points.clone();
    notes.delete(&database, 12..17);
    notes.upsert(&database, 17..20, &mut random);
    notes.tune(&database);
    let sealed: BTreeMap<_, _> = before.into_iter().filter(|(id, given)| notes.points.get(id) == Some(given)).collect();
    let notes_sealed = notes.state(&sealed, 2, 8, 6);

    tree.upsert(&database, 0..50, &mut random);
    tree.vacuum(&database);
    let tree_sealed = tree.state(&tree.points, 1, 0, 0);
    let others_sealed = others.state(&BTreeMap::new(), 0, 0, 0);
    others.upsert(&database, 0..8, &mut random);
    database.close().unwrap();

    let database = open(data);
    notes.upsert(&database, 100..110, &mut random);
    notes.delete(&database, 20..23);
    notes.describe(&database, 60..62);
    tree.upsert(&database, 40..55, &mut random);
    tree.delete(&database, 0..2);
    others.delete(&database, 7..8);
    let collections = vec![
        notes.contents(&database, notes_sealed, notes.state(&notes.points, 2, 13, 14)),
        tree.contents(&database, tree_sealed, tree.state(&tree.points, 1, 12, 2)),
        others.contents(&database, others_sealed, others.state(&others.points, 0, 0, 1)),
    ];
    database.close().unwrap();
    std::fs::remove_file(data.join("LOCK")).unwrap();
    Expected { collections }
}

fn open(data: &Path) -> Arc<Database> {
    // Without indexers nothing is sealed but when the recipe says so.
    Database::open(data, DatabaseOptions { indexers: 0, ..DatabaseOptions::default() }).unwrap()
}

/// A collection that was deleted: its records stay in the log.
fn forget_one(database: &Arc<Database>, random: &mut Random) {
    let mut gone = Model::new("default", "gone", 2, Metric::Dot, random);
    database.create(&tenant(gone.tenant), CollectionConfig::new("gone", 2, Metric::Dot).unwrap()).unwrap();
    gone.upsert(database, 0..3, random);
    database.delete_collection(&tenant(gone.tenant), gone.name).unwrap();
}

/// Numbers and strings, the largest number among them.
fn id(at: u64) -> Id {
    match at {
        1 => Id::Number(u64::MAX),
        _ if at.is_multiple_of(3) => Id::Text(format!("note {at} – ü")),
        _ => Id::Number(at),
    }
}

fn metadata(at: u64) -> Value {
    let mut fields = json!({
        "lang": LANGUAGES[at as usize % 3],
        "year": 2000 + at % 25,
        "score": at as f64 / 8.0 - 0.5,
        "tags": [if at.is_multiple_of(2) { "even" } else { "odd" }, at % 7],
        "deep": { "a": { "b": at.is_multiple_of(3) } },
    });
    if at.is_multiple_of(4) {
        fields["big"] = json!((1_u64 << 63) + at);
    }
    if at.is_multiple_of(5) {
        fields["none"] = Value::Null;
    }
    fields
}

fn conditions() -> Vec<Condition> {
    vec![
        (json!({}), |_| true),
        (json!({ "lang": "de" }), |m| m["lang"] == "de"),
        (json!({ "year": { "$gte": 2010 }, "tags": "even" }), |m| {
            m["year"].as_u64() >= Some(2010) && m["tags"][0] == "even"
        }),
        (json!({ "$or": [{ "deep.a.b": true }, { "score": { "$lt": 2 } }] }), |m| {
            m["deep"]["a"]["b"] == true || m["score"].as_f64().is_some_and(|score| score < 2.0)
        }),
        // Neighbours that are one and the same float.
        (json!({ "big": { "$gt": (1_u64 << 63) + 40 } }), |m| m["big"].as_u64() > Some((1 << 63) + 40)),
        (json!({ "none": { "$exists": true } }), |m| m.get("none").is_some()),
    ]
}

impl Model {
    fn new(tenant: &'static str, name: &'static str, dimension: usize, metric: Metric, random: &mut Random) -> Self {
        let mut model =
            Self { tenant, name, dimension, metric, ef_search: None, points: BTreeMap::new(), queries: Vec::new() };
        // Well inside the ball: near its edge a row of f32 does not tell which of two neighbours is nearer.
        model.queries = (0..2).map(|_| model.vector(random, 0.5)).collect();
        model
    }

    /// Sixteenths apart, so that there are ties that are exact, and never zero; in the ball full digits, `height` below its edge.
    fn vector(&self, random: &mut Random, height: f64) -> Vec<f64> {
        let vector: Vec<f64> = (0..self.dimension).map(|_| (random.below(65) as f64 - 32.25) / 16.0).collect();
        if self.metric != Metric::Poincare {
            return vector;
        }
        let radius = vector.iter().map(|x| x * x).sum::<f64>().sqrt();
        vector.iter().map(|x| x / radius * (1.0 - height)).collect()
    }

    fn upsert(&mut self, database: &Arc<Database>, range: std::ops::Range<u64>, random: &mut Random) {
        let heights = [0.5, 1e-2, 1e-4, 1e-7, 1e-9];
        let given: Vec<(Id, Given)> = range
            .map(|at| {
                let metadata = if self.name == "notes" { metadata(at) } else { json!({}) };
                (id(at), Given { vector: self.vector(random, heights[at as usize % 5]), metadata })
            })
            .collect();
        let ids: Vec<PointId> = given.iter().map(|(id, _)| id.to_point_id()).collect();
        let vectors: Vec<f64> = given.iter().flat_map(|(_, given)| given.vector.clone()).collect();
        let metadata: Vec<_> = given.iter().map(|(_, given)| to_metadata(&given.metadata)).collect();
        let batch = UpsertBatch { ids: &ids, vectors: Vectors::F64(&vectors), metadata: &metadata };
        database.upsert(&self.collection(database), &batch, None).unwrap().wait_blocking().unwrap();
        self.points.extend(given);
    }

    fn delete(&mut self, database: &Arc<Database>, range: std::ops::Range<u64>) {
        let ids: Vec<PointId> = range.clone().map(|at| id(at).to_point_id()).collect();
        database.delete(&self.collection(database), Which::Ids(&ids), None).unwrap().wait_blocking().unwrap();
        range.for_each(|at| drop(self.points.remove(&id(at))));
    }

    /// Gives points the metadata of others.
    fn describe(&mut self, database: &Arc<Database>, range: std::ops::Range<u64>) {
        for at in range {
            let other = metadata(at + 1);
            let changes = [(id(at).to_point_id(), to_metadata(&other))];
            database.set_metadata(&self.collection(database), &changes, None).unwrap().wait_blocking().unwrap();
            self.points.get_mut(&id(at)).unwrap().metadata = other;
        }
    }

    fn vacuum(&self, database: &Arc<Database>) {
        database.vacuum(&self.collection(database)).unwrap();
    }

    /// Replaces the manifest by one that knows which points are dead by now.
    fn tune(&mut self, database: &Arc<Database>) {
        self.ef_search = Some(EF_SEARCH);
        let tuning = Tuning { ef_search: Some(self.ef_search), ..Tuning::default() };
        database.configure(&self.collection(database), tuning).unwrap();
    }

    fn collection(&self, database: &Arc<Database>) -> Arc<OpenCollection> {
        database.collection(&tenant(self.tenant), self.name).unwrap()
    }

    fn contents(&self, database: &Arc<Database>, sealed: State, whole: State) -> Contents {
        Contents {
            tenant: self.tenant.to_owned(),
            name: self.name.to_owned(),
            space: format!("{:016x}", self.collection(database).space().0),
            dimension: self.dimension,
            metric: self.metric.as_str().to_owned(),
            ef_search: self.ef_search,
            sealed,
            whole,
        }
    }

    fn state(&self, points: &BTreeMap<Id, Given>, segments: usize, dead: usize, tombstones: usize) -> State {
        let shortest = |x: f64| (x as f32).to_string().parse::<f64>().unwrap();
        let shown = points.iter().map(|(id, given)| Point {
            id: id.clone(),
            vector: given.vector.iter().map(|&x| shortest(x)).collect(),
            metadata: given.metadata.clone(),
        });
        let searches = self.queries.iter().flat_map(|query| {
            conditions().into_iter().map(|(filter, holds)| Search {
                query: query.clone(),
                filter,
                top_k: TOP_K,
                hits: self.nearest(points, query, holds),
            })
        });
        State { segments, dead, tombstones, points: shown.collect(), searches: searches.collect() }
    }

    fn nearest(&self, points: &BTreeMap<Id, Given>, query: &[f64], holds: fn(&Value) -> bool) -> Vec<(Id, f64)> {
        let matching = points.iter().filter(|(_, given)| holds(&given.metadata));
        let mut hits: Vec<(Id, f64)> =
            matching.map(|(id, given)| (id.clone(), distance(self.metric, query, &given.vector))).collect();
        // Stable: ties stay in the order of ids.
        hits.sort_by(|a, b| a.1.total_cmp(&b.1));
        hits.truncate(TOP_K);
        hits
    }
}

fn distance(metric: Metric, q: &[f64], v: &[f64]) -> f64 {
    let rounded = |vector: &[f64]| vector.iter().map(|&x| f64::from(x as f32)).collect::<Vec<f64>>();
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f64>();
    let square: f64 = rounded(q).iter().zip(rounded(v)).map(|(x, y)| (x - y) * (x - y)).sum();
    match metric {
        Metric::L2 => square.sqrt(),
        Metric::Cosine => 1.0 - dot(q, v) / (dot(q, q) * dot(v, v)).sqrt(),
        Metric::Dot => -dot(q, v),
        // How far a point is from the edge is known before its row is rounded only.
        Metric::Poincare => (1.0 + 2.0 * square / ((1.0 - dot(q, q)) * (1.0 - dot(v, v)))).acosh(),
    }
}
