//! Jobs that are lent to a builder: whatever becomes of it, every point is indexed in the end.

use std::sync::Arc;

use hyperspace_core::bytes::AlignedBytes;
use hyperspace_core::collection::Job;
use hyperspace_core::segment::{Checks, Segment};
use hyperspace_core::types::SegmentId;

use super::*;
use crate::kv::Store;

type Lending = (SimulatedKv, Database<SimulatedKv>, Rc<OpenCollection>);

/// A database whose first job is with a builder.
fn lending() -> (Lending, AlignedBytes) {
    let kv = SimulatedKv::new();
    let database = open(&kv).unwrap();
    database.lend(true);
    let collection = notes(&database);
    let points: Vec<_> = (0..3_000).map(|id| (id, 0)).collect();
    run(upsert(&database, &collection, &points, Durability::Relaxed)).unwrap();
    assert!(!run(database.work(5.0)).unwrap(), "nothing is to be done here");
    let rows = database.lent().expect("the job is lent");
    assert!(database.lent().is_none(), "once");
    ((kv, database, collection), rows)
}

fn built(rows: AlignedBytes) -> (SegmentId, AlignedBytes) {
    let rows = Segment::open(SegmentId([0; 32]), Arc::new(rows), Checks::Structure).unwrap();
    let sealed = Job::borrowed(Arc::new(rows)).finish().unwrap();
    let segment = sealed.segment().unwrap();
    (segment.id(), AlignedBytes::copy_of(segment.bytes()))
}

fn indexed(collection: &OpenCollection) -> (usize, usize) {
    (collection.snapshot().indexed(), collection.snapshot().pending())
}

#[test]
fn the_engine_goes_on_while_a_job_is_away_and_installs_what_comes_back() {
    let ((kv, database, collection), rows) = lending();
    let wanted = collection.request_seal();
    run(upsert(&database, &collection, &[(1, 1), (7_000, 0)], Durability::Relaxed)).unwrap();
    assert_eq!(run(delete(&database, &collection, &[2])).unwrap(), 1);
    assert!(!run(database.work(5.0)).unwrap() && collection.sealed_through() < wanted);
    assert_eq!(nearest(&collection, &vector_of(7_000, 0)), Some(PointId::Int(7_000)));
    assert_eq!(database.progress().remove(0).indexed, 0);
    database.left(1_000);
    let indexed_there = database.progress().remove(0).indexed;
    assert!((2_000..3_000).contains(&indexed_there), "{indexed_there}");
    database.given_back(Some(built(rows)));
    work_off(&database).unwrap();
    assert!(collection.sealed_through() >= wanted);
    // The point that was written, and written again, meanwhile wait for the next seal.
    assert_eq!(indexed(&collection), (2_998, 2));
    assert_eq!((stored(&collection, 1), stored(&collection, 2)), (Some(vector_of(1, 1)), None));
    let again = open(&kv.after_process_death()).unwrap();
    let collection = run(again.collection("notes")).unwrap();
    assert_eq!((indexed(&collection), stored(&collection, 1)), ((2_998, 2), Some(vector_of(1, 1))));
}

#[test]
fn what_a_builder_does_not_give_back_is_built_here_and_no_more_is_lent() {
    let ((_, database, collection), _) = lending();
    database.given_back(None);
    work_off(&database).unwrap();
    assert_eq!(indexed(&collection), (3_000, 0));
    let points: Vec<_> = (3_000..6_000).map(|id| (id, 0)).collect();
    run(upsert(&database, &collection, &points, Durability::Relaxed)).unwrap();
    work_off(&database).unwrap();
    assert!(database.lent().is_none());
    assert_eq!(indexed(&collection), (6_000, 0));
}

#[test]
fn a_segment_that_is_not_of_the_rows_is_refused_and_the_job_done_here() {
    let ((kv, database, collection), rows) = lending();
    let (_, bytes) = built(rows);
    // As many bytes, and no segment.
    let mut broken = AlignedBytes::copy_of(bytes.as_ref());
    broken.as_mut()[..64].fill(0xff);
    database.given_back(Some((SegmentId([1; 32]), broken)));
    assert!(work_off(&database).is_err());
    assert_eq!(indexed(&collection), (0, 3_000));
    work_off(&database).unwrap();
    assert_eq!(indexed(&collection), (3_000, 0));
    assert_eq!(kv.rows_in(Store::Wal), 0);
}

#[test]
fn a_builder_that_is_late_changes_nothing() {
    let ((_, database, collection), rows) = lending();
    let late = built(rows);
    assert!(run(database.delete_collection("notes", None)).unwrap());
    drop(collection);
    database.given_back(Some(late));
    work_off(&database).unwrap();
    let collection = notes(&database);
    assert_eq!(collection.snapshot().len(), 0);
    run(upsert(&database, &collection, &[(1, 0)], Durability::Relaxed)).unwrap();
    seal(&database, &collection).unwrap();
    assert_eq!(indexed(&collection), (1, 0));
}

#[test]
fn what_comes_back_while_work_is_held_back_waits() {
    let ((_, database, collection), rows) = lending();
    database.pause_indexing(true);
    database.given_back(Some(built(rows)));
    assert!(!run(database.work(5.0)).unwrap());
    assert_eq!(indexed(&collection), (0, 3_000));
    database.pause_indexing(false);
    work_off(&database).unwrap();
    assert_eq!(indexed(&collection), (3_000, 0));
}

#[test]
fn a_database_that_ends_while_its_job_is_away_has_everything_in_its_log() {
    let ((kv, database, _), _) = lending();
    drop(database);
    let database = open(&kv.after_process_death()).unwrap();
    let collection = run(database.collection("notes")).unwrap();
    assert_eq!(indexed(&collection), (0, 3_000));
    seal(&database, &collection).unwrap();
    assert_eq!(indexed(&collection), (3_000, 0));
}
