//! Sealed segments as they are shipped to replicas: which ones, to whom, and in what pieces.

use std::sync::Arc;

use blake3::hash;
use hyperspace_core::bytes::AlignedBytes;
use hyperspace_core::error::ErrorKind;
use hyperspace_core::segment::{Checks, LiveBitmap, Manifest, Segment, UNIT, are_units};
use hyperspace_core::types::SegmentId;
use hyperspace_server::proto::{
    CreateKeyRequest, GetManifestRequest, GetManifestResponse, HelloRequest, HelloResponse, Metric, Scope,
};

use crate::support::client::{Client, admin_key, batch, key_of, numbers};
use crate::support::contract::greeting;
use crate::support::http1::{Answer, exchange, request};
use crate::support::refusal::refused;
use crate::support::server::Running;

const POINTS: u64 = 2_500;
const DIMENSION: u64 = 32;

/// Fills a collection and waits until all of it is in segments.
async fn fill(client: &Client, name: &str) {
    client.create(name, DIMENSION, Metric::L2).await;
    let rows: Vec<f32> = (0..POINTS * DIMENSION).map(|at| (at * at % 1_009) as f32).collect();
    client.upsert(batch(name, numbers(0..POINTS), &rows)).await;
    client.vacuum(name).await;
}

async fn hello(client: &Client, name: &str) -> HelloResponse {
    let request = HelloRequest { collection: name.into(), hello: greeting(), ..Default::default() };
    client.sync().hello(request).await.unwrap().into_inner()
}

async fn manifest(client: &Client, space: u64) -> (GetManifestResponse, Manifest) {
    let request = GetManifestRequest { space, epoch: 1, after: 0 };
    let answer = client.sync().get_manifest(request).await.unwrap().into_inner();
    let manifest = Manifest::decode(&answer.manifest).unwrap();
    (answer, manifest)
}

fn path(space: u64, id: [u8; 32]) -> String {
    format!("/v1/segments/{space:016x}/{}", SegmentId(id))
}

async fn get(server: &Running, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
    let own = server.address.to_string();
    let headers = [&[("host", own.as_str())], headers].concat();
    exchange(server.address, &request(method, path, &headers, b"")).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_knows_nothing_gets_every_point_as_segments_in_pieces_that_can_be_verified() {
    let server = Running::new().await;
    let client = server.client().await;
    fill(&client, "c").await;
    client.delete("c", numbers(10..20)).await;
    let told = hello(&client, "c").await;
    assert!(told.ships);
    let (answer, manifest) = manifest(&client, told.space).await;
    assert_eq!(answer.seq, POINTS, "the deletes are behind what is sealed");
    let (mut units, rest) = answer.units.as_chunks::<32>();
    let mut live = 0;
    for named in &manifest.segments {
        let path = path(told.space, named.id);
        let whole = get(&server, "GET", &path, &[]).await;
        assert_eq!((whole.code, whole.body.len() as u64), (200, named.bytes));
        assert_eq!(*hash(&whole.body).as_bytes(), named.id);
        assert_eq!(whole.header("cache-control"), "private, immutable, max-age=31536000");
        let tag = format!("\"{}\"", SegmentId(named.id));
        assert_eq!((whole.header("etag"), whole.header("accept-ranges")), (tag.as_str(), "bytes"));
        let bytes = Arc::new(AlignedBytes::copy_of(&whole.body));
        let segment = Segment::open(SegmentId(named.id), bytes, Checks::All).unwrap();
        live += LiveBitmap::decode(&named.live, segment.len()).unwrap().live();
        let own = units.split_off(..named.bytes.div_ceil(UNIT as u64) as usize).unwrap();
        assert!(are_units(own, named.bytes, &SegmentId(named.id)));

        let len = whole.body.len();
        let parts = [("0-0", 0..1), ("7-99", 7..100), ("100-", 100..len), ("-10", len - 10..len)];
        for (range, place) in parts.into_iter().chain([("5-99999999", 5..len)]) {
            let range = format!("bytes={range}");
            let part = get(&server, "GET", &path, &[("range", &range), ("if-range", &tag)]).await;
            assert_eq!((part.code, &part.body[..]), (206, &whole.body[place.clone()]), "{range}");
            assert_eq!(part.header("content-range"), format!("bytes {}-{}/{len}", place.start, place.end - 1));
        }
        for range in ["bytes=9999999999-", "bytes=5-4", "bytes=a-b", "lines=1-2", "bytes=0-1,4-5", "bytes=-0"] {
            let none = get(&server, "GET", &path, &[("range", range)]).await;
            assert_eq!((none.code, none.header("content-range")), (416, &*format!("bytes */{len}")), "{range}");
        }
        let other = get(&server, "GET", &path, &[("range", "bytes=0-0"), ("if-range", "\"x\"")]).await;
        assert_eq!((other.code, other.body.len()), (200, len));
        for known in [&*tag, "*", &format!("\"x\", W/{tag}")] {
            let known = get(&server, "GET", &path, &[("if-none-match", known)]).await;
            assert_eq!((known.code, known.body.len()), (304, 0));
        }
        let head = get(&server, "HEAD", &path, &[]).await;
        assert_eq!((head.code, head.body.len(), head.header("content-length")), (200, 0, &*len.to_string()));
        assert_eq!(get(&server, "POST", &path, &[]).await.code, 405);
    }
    assert_eq!((u64::from(live), units, rest), (POINTS - 10, &[][..], &[][..]));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn segments_are_told_where_they_are_cheaper_and_where_there_are_none_that_is_said() {
    let server = Running::new().await;
    let client = server.client().await;
    client.create("c", 1, Metric::L2).await;
    client.upsert(batch("c", numbers(0..100), &[1.0; 100])).await;
    client.vacuum("c").await;
    let told = hello(&client, "c").await;
    assert!(!told.ships, "a hundred points are no reason to build nothing");
    let (answer, manifest) = manifest(&client, told.space).await;
    assert_eq!((answer.seq, manifest.segments.len()), (100, 1), "who asks all the same is told");
    let of_another_term = GetManifestRequest { space: told.space, epoch: 7, after: 0 };
    refused("another term", client.sync().get_manifest(of_another_term).await, ErrorKind::Conflict, "the term");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_segment_is_for_those_who_may_sync_its_collection() {
    let server = Running::new().await;
    let nobody = server.client().await;
    let (_, admin) = nobody.create_key(admin_key()).await;
    let admin = nobody.key(&admin);
    let all = [Scope::Read, Scope::Write, Scope::Sync];
    let (_, ada) = admin.create_key(key_of("ada", &all)).await;
    let (_, reader) = admin.create_key(key_of("ada", &[Scope::Read])).await;
    let (_, grace) = admin.create_key(key_of("grace", &all)).await;
    let elsewhere = CreateKeyRequest { collections: vec!["d".into()], ..key_of("ada", &all) };
    let (_, elsewhere) = admin.create_key(elsewhere).await;
    let client = nobody.key(&ada);
    fill(&client, "c").await;
    fill(&nobody.key(&grace), "c").await;
    let space = hello(&client, "c").await.space;
    let (_, manifest) = manifest(&client, space).await;
    let id = manifest.segments[0].id;
    let path = path(space, id);
    let code = async |path: &str, key: &str| get(&server, "GET", path, &[("x-api-key", key)]).await.code;
    assert_eq!(code(&path, &ada).await, 200);
    assert_eq!(get(&server, "GET", &path, &[]).await.code, 401);
    assert_eq!(code(&path, &reader).await, 403);
    // The same bytes are there under another number; this one is not grace's.
    assert_eq!(code(&path, &grace).await, 404);
    assert_eq!(code(&path, &elsewhere).await, 404);
    let name = SegmentId(id).to_string();
    for other in [
        format!("/v1/segments/{:016x}/{name}", space ^ 1),
        format!("/v1/segments/{space:016X}0/{name}"),
        format!("/v1/segments/{space:016x}/{}", name.to_uppercase()),
        format!("/v1/segments/{space:016x}/{name}0"),
        format!("/v1/segments/{space:016x}/..%2f{name}"),
        format!("/v1/segments/%2e%2e/{name}"),
        format!("/v1/segments/{space:016x}"),
    ] {
        assert_eq!(code(&other, &ada).await, 404, "{other}");
    }
    let unknown = format!("/v1/segments/{space:016x}/{}", "0".repeat(64));
    assert_eq!(code(&unknown, &ada).await, 409, "ask which ones there are now");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_segment_that_was_merged_can_be_fetched_to_its_end() {
    let server = Running::new().await;
    let client = server.client().await;
    fill(&client, "c").await;
    let space = hello(&client, "c").await.space;
    let (_, before) = manifest(&client, space).await;
    let every: Vec<_> = numbers(0..POINTS).into_iter().step_by(100).collect();
    client.delete("c", every).await;
    client.vacuum("c").await;
    let (_, after) = manifest(&client, space).await;
    for named in &before.segments {
        assert!(after.segments.iter().all(|later| later.id != named.id), "all of them have dead points");
        let fetched = get(&server, "GET", &path(space, named.id), &[]).await;
        assert_eq!((fetched.code, *hash(&fetched.body).as_bytes()), (200, named.id));
    }
    server.stop().await;
}
