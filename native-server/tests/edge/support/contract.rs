//! Every rpc there is, by the descriptors that clients are generated from.

use hyperspace_core::sync::{Chain, Cursor, Hello, encode_all};
use hyperspace_server::proto::{
    AcknowledgeRequest, ConfigureRequest, CountRequest, CreateCollectionRequest, CreateTokenRequest,
    DeleteCollectionRequest, FetchRequest, GetCollectionRequest, GetManifestRequest, GetRequest, HelloRequest,
    ListCollectionsRequest, ListKeysRequest, LogRequest, MeasureRecallRequest, Metric, MonitorRequest, PromoteRequest,
    PullRequest, PushRequest, RebuildRequest, ReconcileRequest, RemoveFollowerRequest, ReplicateRequest,
    RevokeKeyRequest, Scope, SearchBatchRequest, SetMetadataRequest, SnapshotRequest, UsageRequest, VacuumRequest,
    Wanted,
};
use prost::Message;
use prost_types::FileDescriptorSet;

use super::client::{admin_key, batch, config, deletion, f32s, nearest, number, scrolling};

/// The paths of all rpcs, in the order of the files.
pub(crate) fn rpcs() -> Vec<String> {
    let set = FileDescriptorSet::decode(hyperspace_server::proto::DESCRIPTORS).unwrap();
    let mut paths = Vec::new();
    for file in &set.file {
        for service in &file.service {
            let rpcs = service.method.iter();
            paths.extend(rpcs.map(|rpc| format!("/{}.{}/{}", file.package(), service.name(), rpc.name())));
        }
    }
    paths
}

/// For every rpc a message that a server with a collection `c` of two dimensions understands: a path and its bytes. Of the
/// rpcs of `Sync` all but `Hello` name a space or a group that no server has. The last one makes the first key.
pub(crate) fn cases() -> Vec<(String, Vec<u8>)> {
    cases_in(NO_SPACE)
}

/// The same, with the number of a space for the rpcs of `Sync`.
pub(crate) fn cases_in(space: u64) -> Vec<(String, Vec<u8>)> {
    let c = || "c".to_owned();
    let (create, get) =
        (Some(config("d", 2, Metric::L2)), GetRequest { collection: c(), ids: vec![number(1)], ..Default::default() });
    let vectors = Some(f32s(&[0.5; 2]));
    let many = SearchBatchRequest { collection: c(), vectors, top_k: 1, ..Default::default() };
    let set =
        SetMetadataRequest { collection: c(), ids: vec![number(1)], metadata: vec!["{}".into()], ..Default::default() };
    let token = CreateTokenRequest { scopes: vec![Scope::Read.into()], ..Default::default() };
    let wanted = Wanted { space, ..Default::default() };
    let all = [
        ("Collections/Create", CreateCollectionRequest { config: create }.encode_to_vec()),
        ("Collections/Get", GetCollectionRequest { name: c() }.encode_to_vec()),
        ("Collections/List", ListCollectionsRequest {}.encode_to_vec()),
        ("Collections/Delete", DeleteCollectionRequest { name: "d".into() }.encode_to_vec()),
        ("Points/Upsert", batch("c", vec![number(1)], &[0.5; 2]).encode_to_vec()),
        ("Points/Delete", deletion("c", vec![number(1)]).encode_to_vec()),
        ("Points/Get", get.encode_to_vec()),
        ("Points/Search", nearest("c", &[0.5; 2], 1).encode_to_vec()),
        ("Points/SearchBatch", many.encode_to_vec()),
        ("Points/Scroll", scrolling("c").encode_to_vec()),
        ("Points/Count", CountRequest { collection: c(), ..Default::default() }.encode_to_vec()),
        ("Points/SetMetadata", set.encode_to_vec()),
        ("Admin/Configure", ConfigureRequest { collection: c(), ..Default::default() }.encode_to_vec()),
        ("Admin/Monitor", MonitorRequest { interval_ms: 100, count: 1 }.encode_to_vec()),
        ("Admin/MeasureRecall", MeasureRecallRequest { collection: c(), ..Default::default() }.encode_to_vec()),
        ("Admin/Log", LogRequest::default().encode_to_vec()),
        ("Admin/Snapshot", SnapshotRequest {}.encode_to_vec()),
        ("Admin/Vacuum", VacuumRequest { collection: c() }.encode_to_vec()),
        ("Admin/Rebuild", RebuildRequest { collection: c() }.encode_to_vec()),
        ("Admin/Usage", UsageRequest {}.encode_to_vec()),
        ("Sync/Hello", HelloRequest { collection: c(), hello: greeting(), config: None }.encode_to_vec()),
        ("Sync/Pull", PullRequest { spaces: vec![wanted], ..Default::default() }.encode_to_vec()),
        ("Sync/Push", PushRequest { space, offers: vec![0; 4], ..Default::default() }.encode_to_vec()),
        ("Sync/Fetch", FetchRequest { space, ..Default::default() }.encode_to_vec()),
        ("Sync/GetManifest", GetManifestRequest { space, ..Default::default() }.encode_to_vec()),
        ("Sync/Reconcile", ReconcileRequest { space, ..Default::default() }.encode_to_vec()),
        ("Admin/ListKeys", ListKeysRequest {}.encode_to_vec()),
        ("Admin/RevokeKey", RevokeKeyRequest { id: "0".repeat(16) }.encode_to_vec()),
        ("Sync/Replicate", ReplicateRequest { group: 1, ..Default::default() }.encode_to_vec()),
        ("Sync/Acknowledge", AcknowledgeRequest { follower: 3, ..Default::default() }.encode_to_vec()),
        ("Admin/Promote", PromoteRequest {}.encode_to_vec()),
        ("Admin/RemoveFollower", RemoveFollowerRequest { id: "0".repeat(16) }.encode_to_vec()),
        ("Admin/CreateToken", token.encode_to_vec()),
        ("Admin/CreateKey", admin_key().encode_to_vec()),
    ];
    all.into_iter().map(|(rpc, message)| (format!("/hyperspace.v1.{rpc}"), message)).collect()
}

/// The number of no space.
const NO_SPACE: u64 = 7;

/// The greeting of a replica that knows nothing.
pub(crate) fn greeting() -> Vec<u8> {
    let hello =
        Hello { writer: 1, next_cseq: 1, acked: Chain::default(), cursor: Cursor::default(), is_resyncing: false };
    encode_all(&hello)
}

#[test]
fn every_rpc_of_the_contract_has_a_case() {
    let (mut rpcs, mut cases) = (rpcs(), cases().into_iter().map(|(path, _)| path).collect::<Vec<_>>());
    rpcs.sort();
    cases.sort();
    assert_eq!(rpcs, cases);
}
