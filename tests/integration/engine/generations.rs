//! Recall over the life of a collection: deletes and inserts must not wear the graph out.

use super::host::{Host, ids};
use crate::support::Random;
use hyperspace_core::collection::{CollectionConfig, Plan, Scratch, SearchRequest, Snapshot, Urgency, Vectors};
use hyperspace_core::metric::{Metric, QueryVector};
use hyperspace_core::types::PointId;

const DIMENSION: usize = 16;
const POINTS: usize = 6_000;
const SEED: u64 = 20_261;

#[test]
fn thirty_generations_of_deletes_keep_the_recall_of_a_fresh_build() {
    println!("seed {SEED}");
    let mut random = Random::new(SEED);
    let config = || CollectionConfig::new("worn", DIMENSION, Metric::L2).unwrap();
    let mut worn = Host::create(config()).unwrap();
    let mut live: Vec<PointId> = ids(0, POINTS);
    insert(&mut worn, &live, &clustered(&mut random, POINTS));
    worn.settle().unwrap();
    let mut next_id = POINTS as u64;
    for generation in 0..30 {
        let share = if generation % 2 == 0 { 50 } else { 100 };
        let count = live.len() / share;
        let gone: Vec<PointId> = (0..count).map(|_| live.swap_remove(random.below(live.len()))).collect();
        worn.delete(&gone).unwrap();
        let fresh = ids(next_id, count);
        next_id += count as u64;
        insert(&mut worn, &fresh, &clustered(&mut random, count));
        live.extend(fresh);
        worn.run_job(Urgency::Now).unwrap();
        while worn.run_job(Urgency::WhenFull).unwrap() {}
    }
    worn.settle().unwrap();
    let snapshot = worn.collection.snapshot();
    let (points, rows): (Vec<_>, Vec<_>) = snapshot.points().map(|p| (p.id, p.vector)).unzip();
    let mut anew = Host::create(config()).unwrap();
    insert(&mut anew, &points, &rows.concat());
    anew.settle().unwrap();
    let queries: Vec<Vec<f32>> = (0..300).map(|_| clustered(&mut random, 1)).collect();
    let (after, fresh) = (recall(&snapshot, &queries), recall(&anew.collection.snapshot(), &queries));
    println!(
        "recall@10 after 30 generations {after:.4}, of a fresh build {fresh:.4}, {} segments",
        snapshot.segments().len()
    );
    assert_eq!(snapshot.len(), POINTS);
    assert!(after >= fresh - 0.01, "{after} after 30 generations, {fresh} fresh");
    for sealed in snapshot.segments() {
        assert_eq!(sealed.segment.graph().unreachable(), Vec::<u32>::new());
    }
}

fn insert(host: &mut Host, ids: &[PointId], rows: &[f32]) {
    host.upsert(ids, Vectors::F32(rows), &[]).unwrap();
}

/// Points around 40 centres, like embeddings.
fn clustered(random: &mut Random, count: usize) -> Vec<f32> {
    let mut rows = Vec::with_capacity(count * DIMENSION);
    for _ in 0..count {
        let centre = random.below(40) as f32;
        rows.extend((0..DIMENSION).map(|i| (centre * (i as f32 + 1.0)).sin() + 0.3 * random.normal()));
    }
    rows
}

fn recall(snapshot: &Snapshot, queries: &[Vec<f32>]) -> f64 {
    let mut scratch = Scratch::default();
    let mut found = 0;
    for query in queries {
        let query = QueryVector::from_f32(Metric::L2, DIMENSION, query).unwrap();
        let mut ask = |plan| {
            let request = SearchRequest::new(query.clone(), 10).unwrap().with_plan(plan);
            snapshot.search(&request, &mut scratch).unwrap().hits
        };
        let (graph, exact) = (ask(Plan::Graph), ask(Plan::Exact));
        found += graph.iter().filter(|hit| hit.distance <= exact[9].distance).count();
    }
    found as f64 / (queries.len() * 10) as f64
}
