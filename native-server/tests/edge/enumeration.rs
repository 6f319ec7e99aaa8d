//! Every rpc that the server describes of itself and every path of its own table, with everything that is wrong about a
//! caller. What refuses which rpc without a credential or a scope is in `keys`; here is that nothing was left out of it, the
//! paths of plain HTTP, and what another tenant's key gets.

use std::collections::BTreeSet;

use hyperspace_core::segment::Manifest;
use hyperspace_core::types::SegmentId;
use hyperspace_server::proto::{GetManifestRequest, HelloRequest, Metric, RevokeKeyRequest, Scope};
use hyperspace_server::service::paths;
use prost::Message as _;
use prost_types::FileDescriptorProto;
use tokio_stream::StreamExt as _;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

use crate::support::client::{Client, admin_key, batch, key_of, numbers};
use crate::support::contract::{cases, cases_in, greeting};
use crate::support::frames::{exchanged, framed};
use crate::support::http1::{Answer, exchange, request};
use crate::support::server::Running;

/// Services that are not ours: anybody may ask whether the server is well and what it speaks.
const STANDARD: [&str; 2] = ["grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection"];
/// What only ada's data have.
const MARK: &str = "adas-own-words";

/// What a path of plain HTTP is asked as, and which scope it needs, as the documents have it.
fn asked(path: &str, space: u64, segment: &str) -> (String, Option<Scope>) {
    match path {
        "/livez" | "/healthz" | "/readyz" => (path.to_owned(), None),
        "/metrics" => (path.to_owned(), Some(Scope::Admin)),
        "/v1/segments/{space}/{segment}" => (format!("/v1/segments/{space:016x}/{segment}"), Some(Scope::Sync)),
        other => panic!("nobody says who may ask for {other}"),
    }
}

async fn get(server: &Running, path: &str, headers: &[(&str, &str)]) -> Answer {
    let own = server.address.to_string();
    exchange(server.address, &request("GET", path, &[&[("host", own.as_str())], headers].concat(), b"")).await
}

/// A server with an administrator, and of the tenant ada a collection with a sealed segment: its space and the segment's name.
async fn server() -> (Running, Client, u64, String) {
    let server = Running::new().await;
    let nobody = server.client().await;
    let (_, key) = nobody.create_key(admin_key()).await;
    let admin = nobody.key(&key);
    let ada = admin.user("ada");
    ada.create("c", 2, Metric::L2).await;
    let mut points = batch("c", numbers(0..2_000), &vec![0.5; 4_000]);
    points.metadata = vec![format!("{{\"m\":\"{MARK}\"}}"); 2_000];
    ada.upsert(points).await;
    ada.vacuum("c").await;
    let hello = HelloRequest { collection: "c".into(), hello: greeting(), ..Default::default() };
    let space = ada.sync().hello(hello).await.unwrap().into_inner().space;
    let manifest = GetManifestRequest { space, epoch: 1, after: 0 };
    let manifest = ada.sync().get_manifest(manifest).await.unwrap().into_inner().manifest;
    let segment = Manifest::decode(&manifest).unwrap().segments[0].id;
    (server, admin, space, SegmentId(segment).to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_rpc_that_the_server_describes_is_among_those_that_are_tried() {
    let server = Running::new().await;
    let mut client = ServerReflectionClient::new(server.client().await.channel);
    let mut ask = async |request: MessageRequest| {
        let request = ServerReflectionRequest { host: String::new(), message_request: Some(request) };
        let mut answers = client.server_reflection_info(tokio_stream::once(request)).await.unwrap().into_inner();
        answers.next().await.unwrap().unwrap().message_response.unwrap()
    };
    let listed = ask(MessageRequest::ListServices(String::new())).await;
    let MessageResponse::ListServicesResponse(listed) = listed else { panic!("no list: {listed:?}") };
    let mut described = BTreeSet::new();
    for service in listed.service.into_iter().filter(|service| !STANDARD.contains(&service.name.as_str())) {
        let files = ask(MessageRequest::FileContainingSymbol(service.name.clone())).await;
        let MessageResponse::FileDescriptorResponse(files) = files else { panic!("no file: {files:?}") };
        let file = FileDescriptorProto::decode(&files.file_descriptor_proto[0][..]).unwrap();
        let (_, short) = service.name.rsplit_once('.').unwrap();
        let found = file.service.iter().find(|one| one.name() == short).unwrap();
        described.extend(found.method.iter().map(|rpc| format!("/{}/{}", service.name, rpc.name())));
    }
    let tried: BTreeSet<String> = cases().into_iter().map(|(path, _)| path).collect();
    assert_eq!(described, tried);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_path_of_the_routers_table_refuses_whoever_may_not_ask() {
    let (server, admin, space, segment) = server().await;
    let (gone, revoked) = admin.create_key(key_of("ada", &[Scope::Read, Scope::Write, Scope::Sync])).await;
    admin.admin().revoke_key(RevokeKeyRequest { id: gone.id }).await.unwrap();
    let mut tried = 0;
    for (path, told) in paths() {
        let (path, needed) = asked(path, space, &segment);
        let name = needed.map(|scope| scope.as_str_name().replace("SCOPE_", "").to_lowercase());
        assert_eq!(told, name, "{path}");
        let without = get(&server, &path, &[]).await;
        let forged: [&[(&str, &str)]; 4] = [
            &[("x-hyperspace-user-id", "ada")],
            &[("x-hyperspace-user-id", "default"), ("sourceid", "1")],
            &[("x-forwarded-for", "127.0.0.1"), ("x-forwarded-user", "admin")],
            &[("cookie", "key=1"), ("x-hyperspace-tenant", "ada")],
        ];
        let Some(needed) = needed else {
            assert_eq!(without.code, 200, "{path}");
            for headers in forged {
                let answer = get(&server, &path, headers).await;
                assert_eq!((answer.code, answer.body), (200, without.body.clone()), "{path}");
            }
            continue;
        };
        tried += 1;
        assert_eq!(without.code, 401, "{path}: {without:?}");
        for headers in forged {
            assert_eq!(get(&server, &path, headers).await.code, 401, "{path} with {headers:?}");
        }
        let bearer = format!("Bearer {revoked}");
        let wrong =
            [("x-api-key", revoked.as_str()), ("authorization", &bearer), ("x-api-key", ""), ("x-api-key", "x")];
        for header in wrong {
            assert_eq!(get(&server, &path, &[header]).await.code, 401, "{path} with {header:?}");
        }
        for scope in [Scope::Read, Scope::Write, Scope::Sync] {
            let (_, key) = admin.create_key(key_of("ada", &[scope])).await;
            let own = get(&server, &path, &[("x-api-key", &key)]).await;
            assert_eq!(own.code, if scope == needed { 200 } else { 403 }, "{path} with {scope:?}");
            for user in ["ada", "grace", "default"] {
                let beside = get(&server, &path, &[("x-api-key", &key), ("x-hyperspace-user-id", user)]).await;
                assert_eq!(beside.code, 403, "{path} with {scope:?} for {user}");
            }
        }
        let (_, graces) = admin.create_key(key_of("grace", &[Scope::Read, Scope::Write, Scope::Sync])).await;
        let others = get(&server, &path, &[("x-api-key", &graces)]).await;
        if needed == Scope::Admin {
            assert_eq!(others.code, 403, "{path}");
        } else {
            let nothing = asked("/v1/segments/{space}/{segment}", space + 1_000, &segment).0;
            let nothing = get(&server, &nothing, &[("x-api-key", &graces)]).await;
            assert_eq!((others.code, nothing.code), (404, 404), "what is another's is not there");
        }
    }
    assert_eq!(tried, 2, "paths that need a scope");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_rpc_shows_or_changes_anything_by_the_key_of_another_tenant() {
    let (server, admin, space, _) = server().await;
    let ada = admin.user("ada");
    let state = async || (ada.stats_of("c").await.digest, ada.count("c", "").await, ada.describe("c").await);
    let before = state().await;
    let (_, key) = admin.create_key(key_of("grace", &[Scope::Read, Scope::Write, Scope::Sync])).await;
    let (_, own) = admin.create_key(key_of("ada", &[Scope::Read])).await;
    for (path, message) in cases_in(space) {
        let message = framed(&message);
        let (outcome, body) = exchanged(&admin.channel, &path, &[("x-api-key", key.as_bytes())], message).await;
        let shown = String::from_utf8_lossy(&body);
        assert!(!shown.contains(MARK), "{path}: {shown}");
        let names_it = path.contains("/Points/") || path.contains("/Sync/") || path.ends_with("Collections/Get");
        assert!(!names_it || outcome.is_err(), "{path} was answered");
        assert_eq!(state().await, before, "{path}");
    }
    // The mark is seen by whoever may see it.
    let (path, message) = cases().into_iter().find(|(path, _)| path.ends_with("Points/Get")).unwrap();
    let (outcome, body) = exchanged(&admin.channel, &path, &[("x-api-key", own.as_bytes())], framed(&message)).await;
    assert!(outcome.is_ok() && String::from_utf8_lossy(&body).contains(MARK), "{outcome:?}");
    server.stop().await;
}
