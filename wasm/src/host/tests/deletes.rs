//! Deletes: of any number of points, and of none that was written later.

use hyperspace_core::collection::MAX_BATCH;
use hyperspace_core::filter::Filter;

use super::*;

#[test]
fn deleting_by_filter_spares_a_point_that_is_being_rewritten_so_that_it_no_longer_matches() {
    let database = open(&SimulatedKv::new()).unwrap();
    let kv = database.kv.inner().clone();
    let collection = notes(&database);
    run(upsert(&database, &collection, &[(1, 0), (2, 0)], Durability::Relaxed)).unwrap();
    kv.hold();
    let (database, collection) = (&database, &collection);
    let write: Boxed<'_, Result<usize>> =
        Box::pin(async move { upsert(database, collection, &[(1, 1)], Durability::Relaxed).await.map(|_| 0) });
    let filter = &version_is(0);
    let deletion: Boxed<'_, Result<usize>> =
        Box::pin(
            async move { database.delete_where(collection, filter, None, None).await.map(|(deleted, _)| deleted) },
        );
    let mut both = [(write, None), (deletion, None)];
    poll_all(&mut both);
    kv.release();
    while poll_all(&mut both) < 2 {}
    assert_eq!(both[1].1.take().unwrap().unwrap(), 1);
    assert_eq!(stored(collection, 1), Some(vector_of(1, 1)), "the new point does not match");
    assert_eq!(stored(collection, 2), None);
}

#[test]
fn a_strict_delete_that_finds_nothing_is_as_durable_as_what_made_it_find_nothing() {
    let kv = SimulatedKv::new();
    let database = open(&kv).unwrap();
    let collection = notes(&database);
    run(upsert(&database, &collection, &[(1, 0)], Durability::Strict)).unwrap();
    let delete =
        |durability| run(database.delete_where(&collection, &version_is(0), Some(durability), None)).unwrap().0;
    assert_eq!((delete(Durability::Relaxed), delete(Durability::Strict)), (1, 0));
    assert_eq!(notes(&open(&kv.after_power_failure()).unwrap()).snapshot().len(), 0);
}

#[test]
fn more_points_than_a_batch_are_deleted_by_id_and_by_filter() {
    const POINTS: u64 = 2 * MAX_BATCH as u64 + 5;
    for by_filter in [false, true] {
        let kv = SimulatedKv::new();
        let database = open(&kv).unwrap();
        let collection = notes(&database);
        let points: Vec<_> = (0..POINTS).map(|id| (id, u32::from(id == 7))).collect();
        for batch in points.chunks(MAX_BATCH) {
            run(upsert(&database, &collection, batch, Durability::Relaxed)).unwrap();
        }
        let (deleted, reached) = if by_filter {
            run(database.delete_where(&collection, &version_is(0), None, None)).unwrap()
        } else {
            let ids: Vec<PointId> = (0..POINTS).filter(|&id| id != 7).map(PointId::Int).collect();
            run(database.delete(&collection, &ids, None, None)).unwrap()
        };
        assert_eq!((deleted as u64, reached), (POINTS - 1, Lsn(3 + 3)), "three batches each way");
        let database = open(&kv.after_process_death()).unwrap();
        let collection = notes(&database);
        assert_eq!((collection.snapshot().len(), stored(&collection, 7)), (1, Some(vector_of(7, 1))));
    }
}

#[test]
fn points_rewritten_while_more_than_a_batch_is_deleted_by_filter_are_there_afterwards() {
    const POINTS: u64 = 2 * MAX_BATCH as u64;
    let database = open(&SimulatedKv::new()).unwrap();
    let collection = notes(&database);
    let points: Vec<_> = (0..POINTS).map(|id| (id, 0)).collect();
    for batch in points.chunks(MAX_BATCH) {
        run(upsert(&database, &collection, batch, Durability::Relaxed)).unwrap();
    }
    // Reserves the stamps of a batch and takes none: the first batch need not wait for them.
    let absent: Vec<u64> = (POINTS..POINTS + MAX_BATCH as u64).collect();
    assert_eq!(run(delete(&database, &collection, &absent)).unwrap(), 0);
    let kv = database.kv.inner().clone();
    kv.hold();
    let (database, collection, filter) = (&database, &collection, &version_is(0));
    let deletion: Boxed<'_, Result<()>> =
        Box::pin(async move { database.delete_where(collection, filter, None, None).await.map(drop) });
    // While the first batch is on its way, points of both are written anew: so few that there are stamps.
    let rewrite: Boxed<'_, Result<()>> = Box::pin(async move {
        let some: Vec<_> = (0..POINTS).step_by(200).map(|id| (id, 1)).collect();
        upsert(database, collection, &some, Durability::Relaxed).await.map(drop)
    });
    let mut both = [(deletion, None), (rewrite, None)];
    poll_all(&mut both);
    kv.release();
    while poll_all(&mut both) < 2 {}
    both.into_iter().for_each(|(_, done)| done.unwrap().unwrap());
    let view = collection.snapshot();
    assert_eq!((view.len(), view.count(&version_is(1))), (100, 100), "what was written later is there");
}

fn version_is(version: i64) -> Filter {
    Filter::parse(&Value::Map([("version".to_owned(), Value::I64(version))].into())).unwrap()
}
