//! The service `Points`, but for searches and pages: writing, reading and deleting, against a map.

use hyperspace_core::error::ErrorKind;
use hyperspace_server::proto::{
    Durability, GetRequest, Metric, PointId, SearchRequest, SetMetadataRequest, UpsertRequest, point_id,
};
use serde_json::{Value, json};

use crate::support::client::{batch, components, deletion_of, f32s, f64s, found, nearest, number, numbers, text};
use crate::support::model::{Id, Model, model_of};
use crate::support::random::Random;
use crate::support::refusal::refused;
use crate::support::server::Running;

const DIMENSION: usize = 6;

/// An id among few, so that they meet again: every third one a string.
fn some_id(random: &mut Random) -> Id {
    match random.below(300) {
        id if id % 3 == 0 => Id::Text(format!("id {id}")),
        id => Id::Number(id),
    }
}

fn some_metadata(random: &mut Random) -> Value {
    match random.below(4) {
        0 => json!({}),
        kind => json!({ "kind": kind, "tags": ["x", random.below(5)], "deep": { "score": random.unit() } }),
    }
}

fn on_the_wire(ids: &[Id]) -> Vec<PointId> {
    ids.iter().map(Id::on_the_wire).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_written_the_collection_is_what_a_map_would_be() {
    for seed in [11, 12, 13] {
        println!("seed {seed}");
        let mut random = Random::new(seed);
        let mut server = Running::new().await;
        let mut client = server.client().await;
        client.create("c", DIMENSION as u64, Metric::L2).await;
        let mut model = Model::new();
        let (mut written, mut deleted) = (0, 0);
        for step in 0..120 {
            match random.below(10) {
                0..=4 => {
                    let ids: Vec<Id> = (0..=random.below(40)).map(|_| some_id(&mut random)).collect();
                    let rows = random.rows(ids.len(), DIMENSION);
                    let metadata: Vec<Value> = ids.iter().map(|_| some_metadata(&mut random)).collect();
                    let answer = client
                        .upsert(UpsertRequest {
                            metadata: metadata.iter().map(Value::to_string).collect(),
                            durability: (random.below(3) as i32),
                            ..batch("c", on_the_wire(&ids), &rows)
                        })
                        .await;
                    assert_eq!(answer.ids, on_the_wire(&ids));
                    written += ids.len() as u64;
                    for ((id, row), metadata) in ids.into_iter().zip(rows.chunks(DIMENSION)).zip(metadata) {
                        model.insert(id, (row.to_vec(), metadata));
                    }
                }
                5..=6 => {
                    let ids: Vec<Id> = (0..random.below(20)).map(|_| some_id(&mut random)).collect();
                    let gone = client.delete("c", on_the_wire(&ids)).await;
                    let expected = ids.iter().filter(|id| model.remove(id).is_some()).count() as u64;
                    assert_eq!(gone, expected, "each counts once, and unknown ones not at all");
                    deleted += gone;
                }
                7 => {
                    let kind = 1 + random.below(3);
                    let request = deletion_of("c", &json!({ "kind": kind, "tags": 2 }).to_string());
                    let gone = client.points().delete(request).await.unwrap().into_inner().deleted;
                    let before = model.len();
                    model.retain(|_, (_, m)| m["kind"] != kind || m["tags"][1] != 2);
                    assert_eq!(gone, (before - model.len()) as u64);
                    deleted += gone;
                }
                8 => {
                    let mut ids: Vec<Id> = (0..=random.below(20)).map(|_| some_id(&mut random)).collect();
                    ids.sort();
                    ids.dedup();
                    let metadata: Vec<Value> = ids.iter().map(|_| some_metadata(&mut random)).collect();
                    let request = SetMetadataRequest {
                        collection: "c".into(),
                        ids: on_the_wire(&ids),
                        metadata: metadata.iter().map(Value::to_string).collect(),
                        ..Default::default()
                    };
                    let updated = client.points().set_metadata(request).await.unwrap().into_inner().updated;
                    let mut expected = 0;
                    for (id, metadata) in ids.iter().zip(metadata) {
                        if let Some((_, old)) = model.get_mut(id) {
                            *old = metadata;
                            expected += 1;
                        }
                    }
                    assert_eq!(updated, expected);
                }
                _ if step % 2 == 0 => {
                    client.vacuum("c").await;
                }
                _ => {
                    server = server.restart().await;
                    client = server.client().await;
                    (written, deleted) = (0, 0);
                }
            }
            let some: Vec<Id> = (0..20).map(|_| some_id(&mut random)).collect();
            let expected: Vec<&Id> = some.iter().filter(|id| model.contains_key(id)).collect();
            let got: Vec<Id> =
                client.get("c", on_the_wire(&some)).await.iter().map(|point| Id::of(point.id.as_ref())).collect();
            assert_eq!(got.iter().collect::<Vec<_>>(), expected);
            assert_eq!(client.count("c", "").await, model.len() as u64);
            let of_kind = model.values().filter(|(_, metadata)| metadata["kind"] == 1).count() as u64;
            assert_eq!(client.count("c", r#"{"kind": 1}"#).await, of_kind);
        }
        assert_eq!(model_of(&client.scroll("c", 37).await), model, "seed {seed}");
        let stats = client.stats().await;
        assert_eq!(stats.points_deleted, deleted);
        assert!(stats.points_written >= written, "{} of {written}", stats.points_written);
        server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn points_without_ids_get_ordered_uuids_and_a_repeated_request_writes_new_points() {
    let server = Running::new().await;
    let client = server.client().await;
    client.create("c", 2, Metric::L2).await;
    let rows: Vec<f32> = (0..200).map(|n| n as f32).collect();
    let mut all = Vec::new();
    for _ in 0..2 {
        let ids = client.upsert(batch("c", vec![], &rows)).await.ids;
        let uuids: Vec<String> = ids
            .iter()
            .map(|id| match &id.id {
                Some(point_id::Id::Text(uuid)) => uuid.clone(),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(uuids.len(), 100);
        for uuid in &uuids {
            let uuid = uuid::Uuid::parse_str(uuid).unwrap();
            assert_eq!(uuid.get_version_num(), 7);
        }
        assert!(uuids.is_sorted(), "in the order of the rows");
        let got = client.get("c", ids).await;
        assert_eq!(got.iter().flat_map(|point| components(&point.vector)).collect::<Vec<_>>(), rows);
        all.extend(uuids);
    }
    all.sort();
    all.dedup();
    assert_eq!((all.len(), client.count("c", "").await), (200, 200));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_comes_back_bit_for_bit_whatever_the_metric() {
    let server = Running::new().await;
    let client = server.client().await;
    let odd = [-0.0, f32::MIN_POSITIVE / 8.0, 0.1, -0.25];
    for metric in [Metric::L2, Metric::Cosine, Metric::Dot, Metric::Poincare] {
        let name = metric.as_str_name().to_ascii_lowercase();
        client.create(&name, 4, metric).await;
        client.upsert(batch(&name, vec![number(1)], &odd)).await;
        let wide = [0.1_f64, 1.0 / 3.0, -1e-40, 0.0];
        let request = UpsertRequest {
            collection: name.clone(),
            ids: vec![text("f64")],
            vectors: Some(f64s(&wide)),
            ..Default::default()
        };
        client.upsert(request).await;
        for sealed in [false, true] {
            if sealed {
                client.vacuum(&name).await;
            }
            let got = client.get(&name, vec![number(1), text("f64")]).await;
            let bits = |row: &[f32]| row.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(&components(&got[0].vector)), bits(&odd), "{metric:?}, sealed: {sealed}");
            assert_eq!(bits(&components(&got[1].vector)), bits(&wide.map(|x| x as f32)), "rounded once");
            let request = SearchRequest { with_vector: true, ..nearest(&name, &odd, 2) };
            let hits = client.search(request).await.hits;
            let hit = hits.iter().find(|hit| hit.id == Some(number(1))).unwrap();
            assert_eq!(bits(&components(&hit.vector)), bits(&odd));
        }
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn doubles_near_the_rim_keep_the_distance_that_floats_have_lost() {
    let server = Running::new().await;
    let client = server.client().await;
    client.create("ball", 2, Metric::Poincare).await;
    // As a float this is 1, outside the ball; what is left to the rim is 1e-9.
    let rim = 1.0 - 1e-9;
    let rows = Some(f64s(&[rim, 0.0, 0.0, 0.0]));
    let request = UpsertRequest { collection: "ball".into(), ids: numbers(0..2), vectors: rows, ..Default::default() };
    client.upsert(request).await;
    let expected = (1.0 + 2.0 * rim * rim / (1.0 - rim * rim)).acosh();
    for sealed in [false, true] {
        if sealed {
            client.vacuum("ball").await;
        }
        let origin = SearchRequest { vector: Some(f64s(&[0.0, 0.0])), ..nearest("ball", &[], 2) };
        let hits = client.search(origin).await.hits;
        assert!(hits[0].distance.abs() < f64::MIN_POSITIVE, "{}", hits[0].distance);
        assert!((hits[1].distance - expected).abs() < 1e-4, "{} is not {expected}", hits[1].distance);
    }
    let outside = batch("ball", numbers(0..1), &[rim as f32, 0.0]);
    refused("as a float", client.points().upsert(outside).await, ErrorKind::InvalidArgument, "norm 1");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn get_answers_in_the_order_of_the_request_what_is_asked_for() {
    let server = Running::new().await;
    let client = server.client().await;
    client.create("c", 1, Metric::L2).await;
    let metadata = [json!({ "min": i64::MIN, "max": u64::MAX, "x": 0.1, "s": "ä\u{1F600}", "n": null }), json!({})];
    let request = UpsertRequest {
        metadata: vec![metadata[0].to_string(), String::new()],
        ..batch("c", vec![number(7), text("seven")], &[1.0, 2.0])
    };
    client.upsert(request).await;
    let ids = vec![text("seven"), number(8), number(7), text("seven"), text("7")];
    let got = client.get("c", ids.clone()).await;
    let shown: Vec<_> = got.iter().map(|point| (point.id.clone().unwrap(), components(&point.vector))).collect();
    assert_eq!(shown, [(text("seven"), vec![2.0]), (number(7), vec![1.0]), (text("seven"), vec![2.0])]);
    for (point, expected) in got.iter().zip([&metadata[1], &metadata[0], &metadata[1]]) {
        assert_eq!(&serde_json::from_str::<Value>(&point.metadata).unwrap(), expected);
    }
    let bare = GetRequest { collection: "c".into(), ids, with_vector: false, with_metadata: Some(false) };
    for point in client.points().get(bare).await.unwrap().into_inner().points {
        assert!(point.vector.is_empty() && point.metadata.is_empty());
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_written_whole_or_not_at_all() {
    let server = Running::new().await;
    let client = server.client().await;
    client.create("c", 2, Metric::Cosine).await;
    client.upsert(batch("c", numbers(0..1), &[1.0, 0.0])).await;
    let whole = UpsertRequest { metadata: vec![r#"{"new": true}"#.into(); 3], ..batch("c", numbers(0..3), &[1.0; 6]) };
    let mut bad_row = whole.clone();
    bad_row.vectors = Some(f32s(&[1.0, 1.0, 1.0, 1.0, 0.0, 0.0]));
    let mut bad_metadata = whole.clone();
    bad_metadata.metadata[2] = "[]".into();
    let mut bad_id = whole.clone();
    bad_id.ids[2] = text("");
    for (what, request) in [("row", bad_row), ("metadata", bad_metadata), ("id", bad_id)] {
        refused(what, client.points().upsert(request).await, ErrorKind::InvalidArgument, "");
        assert_eq!(client.count("c", "").await, 1, "{what}");
        assert_eq!(client.count("c", r#"{"new": true}"#).await, 0, "{what}");
    }
    client.upsert(whole).await;
    assert_eq!(client.count("c", r#"{"new": true}"#).await, 3);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_equal_ids_in_a_batch_the_last_one_stays() {
    let server = Running::new().await;
    let client = server.client().await;
    client.create("c", 1, Metric::L2).await;
    let ids = vec![number(1), number(2), number(1)];
    assert_eq!(client.upsert(batch("c", ids.clone(), &[1.0, 2.0, 3.0])).await.ids, ids);
    assert_eq!(client.count("c", "").await, 2);
    assert_eq!(components(&client.get("c", vec![number(1)]).await[0].vector), [3.0]);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sequence_grows_with_every_write_and_goes_on_after_a_restart() {
    let server = Running::new().await;
    let client = server.client().await;
    client.create("c", 1, Metric::L2).await;
    let mut newest = 0;
    for id in 0..5 {
        let sequence = client.upsert(batch("c", vec![number(id)], &[1.0])).await.sequence;
        assert!(sequence > newest, "{sequence} after {newest}");
        newest = sequence;
    }
    assert_eq!(client.stats_of("c").await.sequence, newest);
    let server = server.restart().await;
    let client = server.client().await;
    assert!(client.upsert(batch("c", vec![number(9)], &[1.0])).await.sequence > newest);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_acknowledged_point_is_found_by_the_next_search_and_a_deleted_one_never_again() {
    let server = Running::new().await;
    let client = server.client().await;
    client.create("c", 4, Metric::L2).await;
    let writers = (0..4_u64).map(|writer| {
        let client = client.clone();
        tokio::spawn(async move {
            let mut random = Random::new(writer);
            for step in 0..60_u64 {
                let id = writer * 1_000 + step;
                let row = random.vector(4);
                let durability = if step % 2 == 0 { Durability::Strict } else { Durability::Relaxed };
                let request = UpsertRequest { durability: durability.into(), ..batch("c", vec![number(id)], &row) };
                client.upsert(request).await;
                assert_eq!(found(&client.search(nearest("c", &row, 1)).await), [id]);
                if step % 3 == 0 {
                    assert_eq!(client.delete("c", vec![number(id)]).await, 1);
                    assert_ne!(found(&client.search(nearest("c", &row, 1)).await), [id]);
                }
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
    assert_eq!(client.count("c", "").await, 4 * 40);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deleting_an_id_that_is_not_there_removes_nothing() {
    let server = Running::new().await;
    let client = server.client().await;
    client.create("c", 2, Metric::L2).await;
    client.upsert(batch("c", numbers(0..50), &Random::new(3).rows(50, 2))).await;
    for sealed in [false, true] {
        if sealed {
            client.vacuum("c").await;
        }
        let unknown = vec![number(50), number(u64::MAX), text("0"), text("49")];
        assert_eq!(client.delete("c", unknown.clone()).await, 0);
        assert_eq!(client.delete("c", vec![]).await, 0);
        assert_eq!(client.count("c", "").await, 50, "sealed: {sealed}");
        assert_eq!(client.get("c", unknown).await, []);
    }
    assert_eq!(client.delete("c", vec![number(7), number(7)]).await, 1);
    assert_eq!(client.count("c", "").await, 49);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_see_the_newest_metadata_only() {
    let server = Running::new().await;
    let client = server.client().await;
    client.create("c", 2, Metric::L2).await;
    let rows = Random::new(4).rows(1_500, 2);
    let old = vec![r#"{"lang": "en"}"#.to_string(); 1_500];
    client.upsert(UpsertRequest { metadata: old, ..batch("c", numbers(0..1_500), &rows) }).await;
    let mut is_german = [false; 1_500];
    for (round, sealed) in [false, true].into_iter().enumerate() {
        if sealed {
            client.vacuum("c").await;
        }
        let changed = (round as u64 * 100)..(round as u64 * 100 + 100);
        changed.clone().for_each(|id| is_german[id as usize] = true);
        let request = SetMetadataRequest {
            collection: "c".into(),
            ids: numbers(changed),
            metadata: vec![r#"{"lang": "de"}"#.into(); 100],
            ..Default::default()
        };
        client.points().set_metadata(request).await.unwrap();
        for (filter, wanted) in [(r#"{"lang": "de"}"#, true), (r#"{"lang": "en"}"#, false)] {
            let expected = is_german.iter().filter(|is| **is == wanted).count();
            assert_eq!(client.count("c", filter).await, expected as u64);
            for exact in [false, true] {
                let request = SearchRequest { filter: filter.into(), exact, ..nearest("c", &rows[..2], 1_000) };
                let hits = found(&client.search(request).await);
                assert_eq!(hits.len(), expected.min(1_000), "sealed: {sealed}");
                assert!(hits.iter().all(|id| is_german[*id as usize] == wanted));
            }
        }
        let row = components(&client.get("c", vec![number(5)]).await[0].vector);
        assert_eq!(row, rows[10..12], "the vector is left as it was");
    }
    server.stop().await;
}
