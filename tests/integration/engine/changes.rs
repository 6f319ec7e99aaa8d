//! What may change while the vectors stay: metadata, and the numbers of the collection.

use super::host::{Host, ids};
use crate::support::Random;
use hyperspace_core::collection::{
    Collection, CollectionConfig, MAX_BATCH, Plan, Scratch, SearchRequest, Snapshot, Tuning, UpsertBatch, Urgency,
    Vectors,
};
use hyperspace_core::error::ErrorKind;
use hyperspace_core::filter::Filter;
use hyperspace_core::log::Stamper;
use hyperspace_core::map::Map;
use hyperspace_core::metadata::{Metadata, Value};
use hyperspace_core::metric::{Metric, QueryVector};
use hyperspace_core::types::{PointId, SegmentId};
use std::collections::BTreeMap;

const DIMENSION: usize = 4;

fn named(name: &str) -> Metadata {
    Metadata::from_value(&Value::Map([("name".to_owned(), Value::Str(name.to_owned()))].into())).unwrap()
}

/// The distance of every point from one query, bit for bit.
fn distances(snapshot: &Snapshot, query: &QueryVector) -> BTreeMap<PointId, u64> {
    let request = SearchRequest::new(query.clone(), 1_000).unwrap().with_plan(Plan::Exact);
    let hits = snapshot.search(&request, &mut Scratch::default()).unwrap().hits;
    hits.into_iter().map(|hit| (hit.id, hit.distance.to_bits())).collect()
}

#[test]
fn new_metadata_keeps_vector_and_term_bit_for_bit_in_the_memtable_and_in_segments() {
    let mut random = Random::new(3);
    let mut host = Host::create(CollectionConfig::new("rim", DIMENSION, Metric::Poincare).unwrap()).unwrap();
    // So near the rim that the rounded rows cannot tell how near.
    let mut rim = |count: usize| -> Vec<f64> {
        let rows = (0..count).flat_map(|_| {
            let row: Vec<f64> = (0..DIMENSION).map(|_| f64::from(random.normal())).collect();
            let norm = row.iter().map(|x| x * x).sum::<f64>().sqrt();
            row.into_iter().map(move |x| x / norm * (1.0 - 1e-11))
        });
        rows.collect()
    };
    host.upsert(&ids(0, 100), Vectors::F64(&rim(100)), &[]).unwrap();
    host.settle().unwrap();
    host.upsert(&ids(100, 100), Vectors::F64(&rim(100)), &[]).unwrap();
    let query = QueryVector::from_f64(Metric::Poincare, DIMENSION, &rim(1)).unwrap();
    let before = host.collection.snapshot();
    let far = distances(&before, &query);
    let changes: Vec<_> = [ids(50, 100), ids(900, 5)].concat().into_iter().map(|id| (id, named("new"))).collect();
    let applied = host.set_metadata(&changes).unwrap();
    assert_eq!((applied.upserted, applied.superseded), (100, 0), "ids that are not there are passed over");
    for settle in [false, true] {
        if settle {
            host.settle().unwrap();
        }
        host.reopen().unwrap();
        let after = host.collection.snapshot();
        assert_eq!(distances(&after, &query), far);
        for id in ids(0, 200) {
            let (old, new) = (before.get(&id).unwrap(), after.get(&id).unwrap());
            let is_new = ids(50, 100).contains(&id);
            assert_eq!(bits(&new.vector), bits(&old.vector));
            assert_eq!(new.metadata, if is_new { named("new") } else { Metadata::default() });
            assert_eq!(new.stamp > old.stamp, is_new);
        }
    }
}

fn bits(row: &[f32]) -> Vec<u32> {
    row.iter().map(|x| x.to_bits()).collect()
}

#[test]
fn metadata_is_refused_for_ids_listed_twice_and_while_a_write_is_not_yet_seen() {
    let mut host = Host::create(CollectionConfig::new("strict", 2, Metric::L2).unwrap()).unwrap();
    host.upsert(&ids(0, 2), Vectors::F32(&[0.0; 4]), &[]).unwrap();
    let change = |id: u64| (PointId::Int(id), Metadata::default());
    let mut refused = |changes: &[(PointId, Metadata)]| host.set_metadata(changes).unwrap_err();
    assert_eq!(refused(&[]).kind(), ErrorKind::InvalidArgument);
    let twice = refused(&[change(0), change(1), change(0)]);
    assert_eq!((twice.kind(), twice.message()), (ErrorKind::InvalidArgument, "point 0 is listed twice"));
    let many: Vec<_> = (0..=MAX_BATCH as u64).map(change).collect();
    assert_eq!(refused(&many).kind(), ErrorKind::LimitExceeded);
    let before = host.collection.newest_lsn();
    assert_eq!(host.set_metadata(&[change(7)]).unwrap().upserted, 0);
    assert_eq!(host.collection.newest_lsn(), before, "nothing live, nothing written");

    let mut stamper = Stamper::new(1, host.collection.newest_hlc(), 10_000);
    stamper.reserve(20_000);
    let batch = UpsertBatch { ids: &ids(0, 1), vectors: Vectors::F32(&[1.0, 1.0]), metadata: &[] };
    let pending = host.collection.prepare_upsert(&batch, &mut stamper, 5_000, None).unwrap();
    let early = host.collection.prepare_metadata(&[change(0)], &mut stamper, 5_000, None).unwrap_err();
    assert_eq!(early.kind(), ErrorKind::Internal);
    host.collection.publish(&pending).unwrap();
    assert!(host.collection.prepare_metadata(&[change(0)], &mut stamper, 5_000, None).unwrap().is_some());
}

#[test]
fn a_delete_of_more_ids_than_a_batch_has_is_refused_before_it_takes_a_number_or_a_stamp() {
    let mut collection = Collection::create(CollectionConfig::new("many", 1, Metric::L2).unwrap()).unwrap();
    let mut stamper = Stamper::new(1, 0, 0);
    stamper.reserve(20_000);
    let ids = ids(0, MAX_BATCH + 1);
    let batch = UpsertBatch { ids: &ids[..1], vectors: Vectors::F32(&[1.0]), metadata: &[] };
    let first = collection.prepare_upsert(&batch, &mut stamper, 5_000, None).unwrap();
    collection.publish(&first).unwrap();
    let before = stamper.last_hlc();
    let error = collection.prepare_delete(&ids, &mut stamper, 5_000, None).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LimitExceeded);
    assert_eq!(error.message(), "a batch has at most 10000 points, not 10001");
    assert!(stamper.last_hlc() == before && !collection.writes_are_pending());
    assert!(collection.prepare_delete(&ids[..MAX_BATCH], &mut stamper, 5_000, None).unwrap().is_some());
}

#[test]
fn tuned_numbers_show_in_the_next_snapshot_and_the_next_job_and_survive_a_restart() {
    let config = |ef_construction| CollectionConfig {
        ef_construction,
        ..CollectionConfig::new("tuned", DIMENSION, Metric::L2).unwrap()
    };
    let sealed = |config: CollectionConfig, tuning: Tuning| -> SegmentId {
        let mut random = Random::new(4);
        let mut host = Host::create(config).unwrap();
        host.tune(tuning).unwrap();
        let rows: Vec<f32> = (0..DIMENSION * 800).map(|_| random.normal()).collect();
        host.upsert(&ids(0, 800), Vectors::F32(&rows), &[]).unwrap();
        host.collection.next_job(Urgency::Now).unwrap().finish().unwrap().segment().unwrap().id()
    };
    let construction = |ef| Tuning { ef_construction: Some(ef), ..Tuning::default() };
    let built_with_12 = sealed(config(Some(12)), Tuning::default());
    assert_eq!(sealed(config(None), construction(Some(12))), built_with_12);
    assert_ne!(sealed(config(Some(12)), construction(None)), built_with_12);
    assert_eq!(sealed(config(Some(12)), construction(None)), sealed(config(None), Tuning::default()));

    let mut host = Host::create(config(None)).unwrap();
    let shown = |host: &Host| {
        let snapshot = host.collection.snapshot();
        (snapshot.config().ef_search, snapshot.config().ef_construction)
    };
    host.tune(Tuning { ef_search: Some(Some(99)), ef_construction: Some(Some(77)) }).unwrap();
    assert_eq!(shown(&host), (Some(99), Some(77)));
    host.reopen().unwrap();
    assert_eq!(shown(&host), (Some(99), Some(77)));
    for (field, tuning) in [
        ("ef_search", Tuning { ef_search: Some(Some(5_000)), ..Tuning::default() }),
        ("ef_construction", construction(Some(0))),
    ] {
        let stored = host.collection.manifest_tuned(tuning).unwrap_err();
        assert_eq!(stored.kind(), ErrorKind::InvalidArgument);
        assert!(stored.message().contains(field), "{stored}");
        assert_eq!(host.collection.tune(tuning).unwrap_err(), stored);
    }
    host.tune(construction(None)).unwrap();
    host.reopen().unwrap();
    assert_eq!(shown(&host), (Some(99), None), "what is not mentioned stays");
}

#[test]
fn a_scroll_for_something_rare_gives_empty_pages_instead_of_searching_without_end() {
    const POINTS: usize = 25_000;
    let mut host = Host::create(CollectionConfig::new("rare", 1, Metric::L2).unwrap()).unwrap();
    let ids = ids(0, POINTS);
    let mut by_key: Vec<_> = ids.iter().map(PointId::key).collect();
    by_key.sort_unstable();
    let last = ids.iter().find(|id| id.key() == by_key[POINTS - 1]).unwrap();
    for batch in ids.chunks(5_000) {
        host.upsert(batch, Vectors::F32(&vec![1.0; batch.len()]), &[]).unwrap();
    }
    host.set_metadata(&[(last.clone(), named("needle"))]).unwrap();
    let snapshot = host.collection.snapshot();
    let needle = Value::Map([("name".to_owned(), Value::Str("needle".to_owned()))].into());
    let rare = Filter::parse(&needle).unwrap();
    let (mut after, mut pages) = (None, Vec::new());
    loop {
        let page = snapshot.scroll(after, 5, &rare);
        pages.push(page.points.len());
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(pages, [0, 0, 1]);
    let all = snapshot.scroll(None, POINTS, &Filter::parse(&Value::Map(Map::new())).unwrap());
    assert_eq!((all.points.len(), all.next), (POINTS, None), "a page as large as it is asked for");
}
