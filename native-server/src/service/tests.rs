//! The whole edge over a real socket: a server in this process, on a port of its own and a data directory of its own,
//! and the clients that people use.

use std::future::Future;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use hyperspace_core::error::Result;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_stream::StreamExt as _;
use tonic::metadata::MetadataValue;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use tonic_reflection::pb::v1::{ServerReflectionRequest, ServiceResponse};

use super::Server;
use crate::proto::admin_client::AdminClient;
use crate::proto::collections_client::CollectionsClient;
use crate::proto::point_id::Id;
use crate::proto::points_client::PointsClient;
use crate::proto::vectors::Rows;
use crate::proto::{
    CollectionConfig, ConfigureRequest, CountRequest, CreateCollectionRequest, DeleteCollectionRequest, DeleteRequest,
    GetCollectionRequest, GetRequest, ListCollectionsRequest, Metric, MonitorRequest, PointId, PointIds,
    RebuildRequest, ScrollRequest, SearchBatchRequest, SearchRequest, SetMetadataRequest, UpsertRequest, Vectors,
    delete_request,
};
use crate::settings::{Invocation, Settings, read};

/// A server under test.
struct Running {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<()>>,
    channel: Channel,
    _data: tempfile::TempDir,
}

/// Starts a server with these flags beside a port and a directory of its own.
async fn start(flags: &[&str]) -> Running {
    let data = tempfile::tempdir().unwrap();
    let folder = data.path().join("data");
    let own = ["", "--listen", "127.0.0.1:0", "--data-dir", folder.to_str().unwrap()];
    let Ok(Invocation::Serve(settings)) = read(own.iter().chain(flags).map(Into::into), []) else {
        panic!("{flags:?} are not understood")
    };
    let server = Server::open(Settings { demo_dir: data.path().join("demo"), ..settings }).await.unwrap();
    let address = server.address().unwrap();
    let (stop, stopped) = oneshot::channel();
    let task = tokio::spawn(server.serve(async move {
        let _ = stopped.await;
    }));
    let channel = Channel::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap();
    Running { address, stop, task, channel, _data: data }
}

impl Running {
    fn collections(&self) -> CollectionsClient<Channel> {
        CollectionsClient::new(self.channel.clone())
    }

    fn points(&self) -> PointsClient<Channel> {
        PointsClient::new(self.channel.clone())
    }

    fn admin(&self) -> AdminClient<Channel> {
        AdminClient::new(self.channel.clone())
    }

    /// Makes a collection of two dimensions with points 0, 1, .. on a line.
    async fn with_line(&self, name: &str, points: u64) {
        self.collections().create(of(name, 2)).await.unwrap();
        let rows: Vec<f32> = (0..points).flat_map(|n| [n as f32, 0.0]).collect();
        let metadata = (0..points).map(|n| format!("{{\"even\":{}}}", n % 2 == 0)).collect();
        let request =
            UpsertRequest { collection: name.into(), ids: numbers(0..points), metadata, ..upsert(name, &rows) };
        self.points().upsert(request).await.unwrap();
    }

    /// Sends bytes over a connection of their own and reads all that comes back.
    async fn raw(&self, request: impl Into<Vec<u8>>) -> String {
        let (address, request) = (self.address, request.into());
        let exchange = move || {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.write_all(&request).unwrap();
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).unwrap();
            String::from_utf8_lossy(&answer).into_owned()
        };
        tokio::task::spawn_blocking(exchange).await.unwrap()
    }

    async fn get(&self, path: &str, headers: &str) -> String {
        self.raw(format!("GET {path} HTTP/1.1\r\nconnection: close\r\n{headers}\r\n")).await
    }
}

fn of(name: &str, dimension: u64) -> CreateCollectionRequest {
    let config =
        CollectionConfig { name: name.into(), dimension, metric: Metric::L2.into(), ..CollectionConfig::default() };
    CreateCollectionRequest { config: Some(config) }
}

#[expect(clippy::unnecessary_wraps, reason = "as messages have it")]
fn f32s(rows: &[f32]) -> Option<Vectors> {
    let bytes: Vec<u8> = rows.iter().flat_map(|x| x.to_le_bytes()).collect();
    Some(Vectors { rows: Some(Rows::F32(bytes.into())) })
}

fn upsert(name: &str, rows: &[f32]) -> UpsertRequest {
    UpsertRequest { collection: name.into(), vectors: f32s(rows), ..UpsertRequest::default() }
}

fn search(name: &str, x: f32, top_k: u64) -> SearchRequest {
    SearchRequest { collection: name.into(), vector: f32s(&[x, 0.0]), top_k, ..SearchRequest::default() }
}

fn number(n: u64) -> PointId {
    PointId { id: Some(Id::Number(n)) }
}

fn numbers(range: impl IntoIterator<Item = u64>) -> Vec<PointId> {
    range.into_iter().map(number).collect()
}

fn as_user<M>(user: &str, message: M) -> Request<M> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("x-hyperspace-user-id", user.parse().unwrap());
    request
}

/// The code and the kind of a refused call.
async fn refused<T: std::fmt::Debug>(call: impl Future<Output = std::result::Result<T, Status>>) -> (Code, String) {
    let status = call.await.unwrap_err();
    let kind = status.metadata().get("hyperspace-error").map(MetadataValue::to_str);
    (status.code(), kind.unwrap_or_else(|| panic!("{status:?} has no kind")).unwrap().to_owned())
}

fn kind(code: Code, kind: &str) -> (Code, String) {
    (code, kind.to_owned())
}

#[tokio::test]
async fn points_live_from_upsert_to_delete() {
    let server = start(&[]).await;
    server.with_line("line", 10).await;
    let mut points = server.points();

    let found = points.search(search("line", 3.2, 3)).await.unwrap().into_inner();
    let ids: Vec<_> = found.hits.iter().map(|hit| hit.id.clone().unwrap()).collect();
    assert_eq!(ids, numbers([3, 4, 2]));
    assert!((found.hits[0].distance - 0.2).abs() < 1e-6);
    assert_eq!(found.hits[0].metadata, r#"{"even":false}"#);
    assert!(found.hits[0].vector.is_empty());

    let even = SearchRequest { filter: r#"{"even":true}"#.into(), with_vector: true, ..search("line", 3.2, 1) };
    let even = points.search(SearchRequest { with_metadata: Some(false), ..even }).await.unwrap().into_inner();
    assert_eq!(even.hits[0].id, Some(number(4)));
    assert_eq!(even.hits[0].vector, [4.0_f32.to_le_bytes(), 0.0_f32.to_le_bytes()].concat());
    assert_eq!(even.hits[0].metadata, "");

    let change = SetMetadataRequest {
        collection: "line".into(),
        ids: numbers([4, 99]),
        metadata: vec![r#"{"n":18446744073709551615}"#.into(), String::new()],
        ..SetMetadataRequest::default()
    };
    assert_eq!(points.set_metadata(change).await.unwrap().into_inner().updated, 1);
    let get = GetRequest { collection: "line".into(), ids: numbers([99, 4, 0]), ..GetRequest::default() };
    let got = points.get(get).await.unwrap().into_inner().points;
    assert_eq!(got.iter().map(|p| p.id.clone().unwrap()).collect::<Vec<_>>(), numbers([4, 0]));
    assert_eq!(got[0].metadata, r#"{"n":18446744073709551615}"#);

    let count = |filter: &str| CountRequest { collection: "line".into(), filter: filter.into() };
    assert_eq!(points.count(count(r#"{"even":true}"#)).await.unwrap().into_inner().count, 4);
    let delete = |which| DeleteRequest { collection: "line".into(), which: Some(which), ..DeleteRequest::default() };
    let by_ids = delete(delete_request::Which::Ids(PointIds { ids: numbers([0, 1, 77]) }));
    assert_eq!(points.delete(by_ids).await.unwrap().into_inner().deleted, 2);
    let by_filter = delete(delete_request::Which::Filter(r#"{"even":false}"#.into()));
    assert_eq!(points.delete(by_filter).await.unwrap().into_inner().deleted, 4);
    assert_eq!(points.count(count("")).await.unwrap().into_inner().count, 4);
    for nothing in [None, Some(delete_request::Which::Filter(String::new()))] {
        let request = DeleteRequest { collection: "line".into(), which: nothing, ..DeleteRequest::default() };
        let told = refused(points.delete(request)).await;
        assert_eq!(told, kind(Code::InvalidArgument, "invalid_argument"), "nothing is not everything");
    }
}

#[tokio::test]
async fn points_without_ids_get_some_and_doubles_are_taken_too() {
    let server = start(&[]).await;
    server.collections().create(of("c", 2)).await.unwrap();
    let doubles: Vec<u8> = [0.5_f64, 0.25, 1.0, 2.0].iter().flat_map(|x| x.to_le_bytes()).collect();
    let vectors = Some(Vectors { rows: Some(Rows::F64(doubles.into())) });
    let made = server.points().upsert(UpsertRequest { vectors, ..upsert("c", &[]) }).await.unwrap().into_inner();
    assert_eq!(made.ids.len(), 2);
    assert_ne!(made.ids[0], made.ids[1]);
    let get = GetRequest { collection: "c".into(), ids: made.ids, with_vector: true, with_metadata: None };
    let got = server.points().get(get).await.unwrap().into_inner().points;
    assert_eq!(got[1].vector, [1.0_f32.to_le_bytes(), 2.0_f32.to_le_bytes()].concat());
    assert_eq!(got[1].metadata, "{}");
}

#[tokio::test]
async fn a_batch_finds_what_its_searches_find_one_by_one() {
    let server = start(&[]).await;
    server.with_line("line", 300).await;
    let queries: Vec<f32> = (0..100_u8).map(|n| f32::from(n) * 2.9).collect();
    let rows: Vec<f32> = queries.iter().flat_map(|&x| [x, 0.0]).collect();
    let batch = SearchBatchRequest {
        collection: "line".into(),
        vectors: f32s(&rows),
        top_k: 5,
        ..SearchBatchRequest::default()
    };
    let batch = server.points().search_batch(batch).await.unwrap().into_inner().results;
    assert_eq!(batch.len(), queries.len());
    for (x, together) in queries.into_iter().zip(batch) {
        let alone = server.points().search(search("line", x, 5)).await.unwrap().into_inner();
        assert_eq!(together.hits, alone.hits, "around {x}");
    }
    let too_many = vec![0.0; 2 * 1_001];
    let batch =
        SearchBatchRequest { vectors: f32s(&too_many), top_k: 1, collection: "line".into(), ..Default::default() };
    let told = refused(server.points().search_batch(batch)).await;
    assert_eq!(told, kind(Code::ResourceExhausted, "limit_exceeded"));
}

#[tokio::test]
async fn pages_show_every_point_once() {
    let server = start(&[]).await;
    server.with_line("line", 300).await;
    for (limit, filter, expected) in [(7, "", 300), (0, "", 300), (300, "", 300), (10, r#"{"even":true}"#, 150)] {
        let mut seen = Vec::new();
        let mut cursor = Vec::new();
        loop {
            let filter = filter.into();
            let request =
                ScrollRequest { collection: "line".into(), limit, filter, cursor, ..ScrollRequest::default() };
            let page = server.points().scroll(request).await.unwrap().into_inner();
            assert!(page.points.len() as u64 <= if limit == 0 { 100 } else { limit });
            seen.extend(page.points.into_iter().map(|p| match p.id.unwrap().id.unwrap() {
                Id::Number(n) => n,
                Id::Text(text) => panic!("{text}"),
            }));
            cursor = page.next_cursor;
            if cursor.is_empty() {
                break;
            }
        }
        assert_eq!(seen.len(), expected);
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), expected);
    }
    let odd = ScrollRequest { collection: "line".into(), cursor: vec![1; 15], ..ScrollRequest::default() };
    assert_eq!(refused(server.points().scroll(odd)).await.0, Code::InvalidArgument);
}

#[tokio::test]
async fn tenants_never_see_each_other() {
    let server = start(&[]).await;
    let mut collections = server.collections();
    collections.create(as_user("alice", of("notes", 2))).await.unwrap();
    collections.create(as_user("bob", of("notes", 3))).await.unwrap();
    collections.create(of("notes", 4)).await.unwrap();
    let get = || GetCollectionRequest { name: "notes".into() };
    for (user, dimension) in [("alice", 2), ("bob", 3), ("default", 4)] {
        let seen = collections.get(as_user(user, get())).await.unwrap().into_inner();
        assert_eq!(seen.config.unwrap().dimension, dimension);
        let list = collections.list(as_user(user, ListCollectionsRequest {})).await.unwrap().into_inner();
        assert_eq!(list.collections.len(), 1);
    }
    let gone = DeleteCollectionRequest { name: "notes".into() };
    collections.delete(as_user("alice", gone)).await.unwrap();
    let told = refused(collections.get(as_user("alice", get()))).await;
    assert_eq!(told, kind(Code::NotFound, "not_found"));
    collections.get(as_user("bob", get())).await.unwrap();
    assert_eq!(refused(collections.get(as_user("a/b", get()))).await.0, Code::InvalidArgument);
    let mut keyed = Request::new(get());
    keyed.metadata_mut().insert("authorization", "Bearer x".parse().unwrap());
    assert_eq!(refused(collections.get(keyed)).await, kind(Code::Unauthenticated, "unauthenticated"));
}

#[tokio::test]
async fn numbers_from_outside_are_never_believed() {
    let server = start(&[]).await;
    server.with_line("line", 3).await;
    let mut points = server.points();
    for top_k in [0, 1_001, 1 << 31, 1 << 63, u64::MAX] {
        let told = refused(points.search(search("line", 0.0, top_k))).await.0;
        assert_eq!(told, if top_k == 0 { Code::InvalidArgument } else { Code::ResourceExhausted }, "top_k {top_k}");
        let ef = SearchRequest { ef_search: Some(top_k.max(4_097)), ..search("line", 0.0, 1) };
        assert_eq!(refused(points.search(ef)).await.0, Code::ResourceExhausted);
    }
    for limit in [10_001, u64::MAX] {
        let request = ScrollRequest { collection: "line".into(), limit, ..ScrollRequest::default() };
        assert_eq!(refused(points.scroll(request)).await.0, Code::ResourceExhausted, "limit {limit}");
    }
    for dimension in [0, 4_097, 1 << 32, u64::MAX] {
        assert_eq!(refused(server.collections().create(of("new", dimension))).await.0, Code::InvalidArgument);
    }
    let bad = [
        UpsertRequest { ids: numbers([1]), ..upsert("line", &[1.0]) },
        UpsertRequest { ids: numbers([1, 2]), ..upsert("line", &[1.0, 2.0]) },
        UpsertRequest { ids: numbers([1]), ..upsert("line", &[f32::NAN, 0.0]) },
        UpsertRequest { ids: vec![PointId { id: None }], ..upsert("line", &[1.0, 2.0]) },
        UpsertRequest { metadata: vec!["[]".into()], ..upsert("line", &[1.0, 2.0]) },
        UpsertRequest { metadata: vec!["{".into()], ..upsert("line", &[1.0, 2.0]) },
        UpsertRequest { durability: 9, ..upsert("line", &[1.0, 2.0]) },
        UpsertRequest { vectors: None, ..upsert("line", &[]) },
        upsert("../line", &[1.0, 2.0]),
    ];
    for request in bad {
        let shown = format!("{request:?}");
        let code = refused(points.upsert(request)).await.0;
        assert!([Code::InvalidArgument, Code::NotFound].contains(&code), "{code:?}: {shown}");
    }
    let long = UpsertRequest {
        metadata: vec![format!("{{\"a\":\"{}\"}}", "x".repeat(1 << 16))],
        ..upsert("line", &[1.0, 2.0])
    };
    assert_eq!(refused(points.upsert(long)).await.0, Code::ResourceExhausted);
    let many = UpsertRequest { ids: numbers(0..10_001), ..upsert("line", &[]) };
    assert_eq!(refused(points.upsert(many)).await.0, Code::ResourceExhausted);
}

#[tokio::test]
async fn a_message_that_is_too_long_is_refused_by_name() {
    let server = start(&["--max-message-bytes", "2000", "--max-browser-message-bytes", "1000"]).await;
    server.with_line("line", 3).await;
    let status = server.points().upsert(upsert("line", &[0.5; 600])).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert!(status.message().contains("the limit is 2000"), "{status:?}");
    let mut from_page = Request::new(upsert("line", &[0.5; 300]));
    let own = format!("http://{}", server.address);
    from_page.metadata_mut().insert("origin", own.parse().unwrap());
    let status = server.points().upsert(from_page).await.unwrap_err();
    assert!(status.message().contains("the limit is 1000"), "{status:?}");
    server.points().upsert(upsert("line", &[0.5; 300])).await.unwrap();
}

#[tokio::test]
async fn an_answer_that_grows_too_long_is_given_up() {
    let server = start(&[]).await;
    server.collections().create(of("wide", 4_096)).await.unwrap();
    for _ in 0..5 {
        server.points().upsert(upsert("wide", &vec![0.5; 4_096 * 200])).await.unwrap();
    }
    let rows = vec![0.5; 4_096 * 6];
    let batch = SearchBatchRequest {
        collection: "wide".into(),
        vectors: f32s(&rows),
        top_k: 1_000,
        with_vector: true,
        ..SearchBatchRequest::default()
    };
    let told = refused(server.points().search_batch(batch)).await;
    assert_eq!(told, kind(Code::ResourceExhausted, "limit_exceeded"));
}

#[tokio::test]
async fn what_is_not_built_or_not_known_says_so() {
    let server = start(&[]).await;
    let texts = CreateCollectionRequest {
        config: Some(CollectionConfig { text_fields: vec!["title".into()], ..of("t", 2).config.unwrap() }),
    };
    let unsupported = kind(Code::Unimplemented, "unsupported");
    assert_eq!(refused(server.collections().create(texts)).await, unsupported);
    assert_eq!(refused(server.admin().rebuild(RebuildRequest::default())).await, unsupported);
    let text = SearchRequest { text: "words".into(), ..search("line", 0.0, 1) };
    assert_eq!(refused(server.points().search(text)).await, unsupported);

    let post = |path: &str, spoken: &str| {
        let head =
            format!("POST {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: {spoken}\r\n");
        format!("{head}content-length: 5\r\n\r\n\0\0\0\0\0")
    };
    let cases = [
        ("/hyperspace.v1.Admin/Promotes", "no%20such%20rpc"),
        ("/hyperspace.v1.Points/Upsert2", "no%20such%20rpc"),
        ("/hyperspace.v1.Other/Get", "no%20such%20rpc"),
        ("/other", "no%20such%20rpc"),
    ];
    for (path, words) in cases {
        let answer = server.raw(post(path, "application/grpc-web+proto")).await;
        assert!(answer.contains("grpc-status: 12") && answer.contains(words), "{path}: {answer}");
        assert!(answer.contains("content-type: application/grpc-web+proto"), "{path}: {answer}");
        assert!(answer.contains("hyperspace-error: unsupported"), "{path}: {answer}");
    }
}

#[tokio::test]
async fn a_page_speaks_grpc_web() {
    let server = start(&["--allowed-origins", "http://app.example:1"]).await;
    server.with_line("line", 3).await;
    let message = b"\x0a\x04line";
    let prefix = [&[0, 0, 0, 0, message.len() as u8][..], message].concat();
    let request = |headers: &str| {
        let head = "POST /hyperspace.v1.Points/Count HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n";
        let more = format!(
            "{head}content-type: application/grpc-web+proto\r\ncontent-length: {}\r\n{headers}\r\n",
            prefix.len()
        );
        [more.as_bytes(), &prefix].concat()
    };
    let answer = server.raw(request("origin: http://app.example:1\r\n")).await;
    assert!(answer.contains("\x08\x03") && answer.contains("grpc-status:0"), "{answer}");
    assert!(answer.contains("access-control-allow-origin: http://app.example:1"), "{answer}");
    assert!(answer.contains("grpc-message"), "it is exposed: {answer}");
    let refused = server.raw(request("origin: http://evil.example\r\n")).await;
    assert!(refused.contains("grpc-status: 7") && !refused.contains("\x08\x03"), "{refused}");

    let preflight = |origin: &str| {
        format!(
            "OPTIONS /hyperspace.v1.Points/Count HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\norigin: {origin}\r\n\
             access-control-request-method: POST\r\naccess-control-request-headers: content-type,x-grpc-web\r\n\r\n"
        )
    };
    let allowed = server.raw(preflight("http://app.example:1")).await;
    assert!(allowed.starts_with("HTTP/1.1 200 ") && allowed.contains("x-grpc-web"), "{allowed}");
    assert!(server.raw(preflight("http://evil.example")).await.starts_with("HTTP/1.1 403 "));
}

#[tokio::test]
async fn nonsense_is_the_callers_fault() {
    let server = start(&[]).await;
    server.with_line("line", 3).await;
    let post = |body: &[u8]| {
        let head = "POST /hyperspace.v1.Points/Count HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n";
        let length = body.len();
        let head = format!("{head}content-type: application/grpc-web+proto\r\ncontent-length: {length}\r\n\r\n");
        [head.as_bytes(), body].concat()
    };
    let good = server.raw(post(b"\0\0\0\0\x06\x0a\x04line")).await;
    assert!(good.contains("grpc-status:0"), "{good}");
    let bodies: [&[u8]; 4] =
        [b"\0\0\0\0\x03\x0a\x7fx", b"\0\0\0\0\x06\x0a\x04linemore", b"\0\0\0\0\x07\x0a\x04line", b""];
    for body in bodies {
        let answer = server.raw(post(body)).await;
        assert!(answer.contains("grpc-status: 3"), "{body:?}: {answer}");
        assert!(answer.contains("hyperspace-error: invalid_argument"), "{body:?}: {answer}");
    }
}

#[tokio::test]
async fn only_its_own_names_and_pages_reach_the_server() {
    let server = start(&[]).await;
    for path in ["/healthz", "/livez", "/readyz", "/metrics"] {
        let answer = server.get(path, "host: localhost:50051\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{path}: {answer}");
        for headers in ["host: evil.example\r\n", "host: localhost\r\norigin: http://evil.example\r\n"] {
            let answer = server.get(path, headers).await;
            assert!(answer.starts_with("HTTP/1.1 403 "), "{path}, {headers}: {answer}");
        }
    }
    let demo = server.get("/", "host: localhost\r\n").await;
    assert!(demo.starts_with("HTTP/1.1 404 ") && demo.contains("npm run build"), "{demo}");
}

#[tokio::test]
async fn health_and_reflection_are_as_everywhere() {
    let server = start(&[]).await;
    let mut health = HealthClient::new(server.channel.clone());
    for service in ["", "hyperspace.v1.Points", "hyperspace.v1.Collections", "hyperspace.v1.Admin"] {
        let mut watch = health.watch(HealthCheckRequest { service: service.into() }).await.unwrap_or_else(|status| {
            panic!("{service:?}: {status:?}");
        });
        assert_eq!(watch.get_mut().message().await.unwrap().unwrap().status, 1, "{service:?} is serving");
    }
    let ask = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut reflection = ServerReflectionClient::new(server.channel.clone());
    let mut answers = reflection.server_reflection_info(tokio_stream::iter([ask])).await.unwrap().into_inner();
    let Some(MessageResponse::ListServicesResponse(list)) = answers.message().await.unwrap().unwrap().message_response
    else {
        panic!("no list of services")
    };
    for service in ["hyperspace.v1.Points", "hyperspace.v1.Collections", "hyperspace.v1.Admin", "grpc.health.v1.Health"]
    {
        assert!(list.service.contains(&ServiceResponse { name: service.into() }), "{service} is not in {list:?}");
    }
}

#[tokio::test]
async fn a_collection_is_tuned_and_watched() {
    let server = start(&[]).await;
    server.with_line("line", 3).await;
    let tune = |ef_search| ConfigureRequest { collection: "line".into(), ef_search, ef_construction: None };
    for (ask, expected) in [(Some(77), Some(77)), (None, Some(77)), (Some(0), None)] {
        let now = server.admin().configure(tune(ask)).await.unwrap().into_inner();
        assert_eq!(now.config.unwrap().ef_search, expected);
    }
    assert_eq!(refused(server.admin().configure(tune(Some(1 << 40)))).await.0, Code::InvalidArgument);
    for _ in 0..5 {
        server.points().search(search("line", 0.0, 1)).await.unwrap();
    }
    let watch = MonitorRequest { interval_ms: 100, count: 2 };
    let figures = server.admin().monitor(watch).await.unwrap().into_inner().collect::<Vec<_>>().await;
    assert_eq!(figures.len(), 2);
    let last = figures.into_iter().next_back().unwrap().unwrap();
    assert_eq!((last.searches, last.points_written, last.writable), (5, 3, true));
    assert!(last.search_p99_ms > 0.0 && last.searches_per_second > 0.0);
    assert_eq!(last.collections.len(), 1);
    assert_eq!((last.collections[0].name.as_str(), last.collections[0].points), ("line", 3));
    let metrics = server.get("/metrics", "host: localhost\r\n").await;
    assert!(metrics.contains("hyperspace_search_seconds_count 5"), "{metrics}");
    assert_eq!(
        refused(server.admin().monitor(MonitorRequest { interval_ms: 1, count: 0 })).await.0,
        Code::InvalidArgument
    );
}

#[tokio::test]
async fn streams_of_figures_are_bounded() {
    let server = start(&[]).await;
    let mut open = Vec::new();
    let watch = || MonitorRequest { interval_ms: 60_000, count: 0 };
    for _ in 0..16 {
        open.push(server.admin().monitor(watch()).await.unwrap());
    }
    assert_eq!(refused(server.admin().monitor(watch())).await, kind(Code::Unavailable, "unavailable"));
}

#[tokio::test]
async fn a_stop_ends_streams_frees_the_port_and_does_not_wait_for_idle_clients() {
    let server = start(&[]).await;
    server.with_line("line", 3).await;
    let mut watch = server.admin().monitor(MonitorRequest::default()).await.unwrap().into_inner();
    let mut health = HealthClient::new(server.channel.clone());
    let mut health = health.watch(HealthCheckRequest::default()).await.unwrap().into_inner();
    assert_eq!(health.message().await.unwrap().unwrap().status, 1);
    let idle = TcpStream::connect(server.address).unwrap();
    server.stop.send(()).unwrap();
    let told = async {
        loop {
            match watch.message().await {
                Ok(Some(_)) => {}
                other => break other,
            }
        }
    };
    assert_eq!(told.await.unwrap_err().code(), Code::Unavailable);
    assert_eq!(health.message().await.unwrap().unwrap().status, 2, "not serving any more");
    let stopped = tokio::time::timeout(Duration::from_secs(5), server.task).await;
    stopped.expect("a stop does not take as long as the patience with requests").unwrap().unwrap();
    drop(std::net::TcpListener::bind(server.address).expect("the port is free"));
    drop(idle);
}

#[tokio::test]
async fn a_port_that_is_taken_is_named() {
    let server = start(&[]).await;
    let settings =
        Settings { listen: server.address, data_dir: Path::new("/nonexistent").into(), ..Settings::default() };
    let Err(error) = Server::open(settings).await else { panic!("one port, two servers") };
    assert!(error.message().contains(&server.address.to_string()), "{error}");
}
