//! Names of collections that mean something to a file system, a shell or a URL.

use hyperspace_core::error::ErrorKind::{InvalidArgument, LimitExceeded, Unsupported};
use hyperspace_server::proto::{
    ConfigureRequest, CountRequest, CreateCollectionRequest, DeleteCollectionRequest, GetCollectionRequest, GetRequest,
    Metric, RebuildRequest, SearchBatchRequest, SetMetadataRequest, UpsertRequest, VacuumRequest,
};

use super::assert_alive;
use crate::support::client::{batch, config, deletion, deletion_of, f32s, nearest, number, scrolling};
use crate::support::everything_below;
use crate::support::program::Program;
use crate::support::refusal::{kind_of, refused};
use crate::support::server::Running;

#[tokio::test(flavor = "multi_thread")]
async fn no_name_becomes_a_path() {
    let server = Running::new().await;
    let client = server.client().await;
    let long = "a".repeat(4_096);
    let just_too_long = "a".repeat(65);
    let names = [
        "",
        ".",
        "..",
        "../x",
        "../../etc/passwd",
        "a/b",
        "/etc",
        "a\\b",
        "..\\x",
        "%2f",
        "%2e%2e%2fx",
        "a%00b",
        "a\0b",
        "\0",
        "\u{e4}",
        "\u{202e}abc",
        "\u{ff0e}\u{ff0e}\u{ff0f}",
        "C:",
        "con.txt",
        "A",
        "a b",
        " a",
        "a\n",
        "~",
        "$(id)",
        "*",
        &long,
        &just_too_long,
    ];
    for name in names {
        let what = name.escape_debug().to_string();
        let what = &what[..what.len().min(60)];
        let collection = name.to_owned();
        let create = CreateCollectionRequest { config: Some(config(name, 2, Metric::L2)) };
        refused(what, client.collections().create(create).await, InvalidArgument, "name is");
        let get = GetCollectionRequest { name: name.into() };
        refused(what, client.collections().get(get).await, InvalidArgument, "name is");
        let delete = DeleteCollectionRequest { name: name.into() };
        refused(what, client.collections().delete(delete).await, InvalidArgument, "name is");

        let mut points = client.points();
        refused(what, points.upsert(batch(name, vec![number(1)], &[0.5; 2])).await, InvalidArgument, "name is");
        refused(what, points.delete(deletion(name, vec![number(1)])).await, InvalidArgument, "name is");
        let get = GetRequest { collection: collection.clone(), ids: vec![number(1)], ..Default::default() };
        refused(what, points.get(get).await, InvalidArgument, "name is");
        refused(what, points.search(nearest(name, &[0.5; 2], 1)).await, InvalidArgument, "name is");
        let many = SearchBatchRequest {
            collection: collection.clone(),
            vectors: Some(f32s(&[0.5; 2])),
            top_k: 1,
            ..Default::default()
        };
        refused(what, points.search_batch(many).await, InvalidArgument, "name is");
        refused(what, points.scroll(scrolling(name)).await, InvalidArgument, "name is");
        let count = CountRequest { collection: collection.clone(), ..Default::default() };
        refused(what, points.count(count).await, InvalidArgument, "name is");
        let set = SetMetadataRequest {
            collection: collection.clone(),
            ids: vec![number(1)],
            metadata: vec!["{}".into()],
            ..Default::default()
        };
        refused(what, points.set_metadata(set).await, InvalidArgument, "name is");

        let mut admin = client.admin();
        let configure = ConfigureRequest { collection: collection.clone(), ef_search: Some(9), ef_construction: None };
        refused(what, admin.configure(configure).await, InvalidArgument, "name is");
        if !name.is_empty() {
            refused(
                what,
                admin.vacuum(VacuumRequest { collection: collection.clone() }).await,
                InvalidArgument,
                "name is",
            );
        }
        refused(what, admin.rebuild(RebuildRequest { collection }).await, Unsupported, "not built yet");
    }
    for name in ["con", "nul", "-", "_", "0", "catalog", "log", "lock"] {
        client.create(name, 2, Metric::L2).await;
    }
    assert_alive(&client).await;
    let folder = server.stop().await;
    let found = everything_below(folder.path());
    assert!(found.iter().all(|path| path.starts_with("data/")), "{found:?}");
    let top: Vec<_> = found.iter().filter(|path| path.trim_end_matches('/').matches('/').count() == 1).collect();
    assert_eq!(top, ["data/LOCK", "data/catalog", "data/log/", "data/snapshots/", "data/spaces/"]);
    let spaces = std::fs::read_dir(folder.path().join("data/spaces")).unwrap();
    for space in spaces {
        let name = space.unwrap().file_name().into_string().unwrap();
        assert!(
            name.len() == 16 && name.bytes().all(|b| b.is_ascii_hexdigit()),
            "{name} has a name that somebody chose"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_is_not_repeated_at_length() {
    let folder = tempfile::tempdir().unwrap();
    let server = Program::start(folder.path());
    let client = server.client().await;
    client.create("c", 2, Metric::L2).await;
    let before = server.peak_memory();
    // A control character takes six bytes when it is shown, and each of these three in a header.
    let long = "\u{1}".repeat(8 << 20);
    let get = GetCollectionRequest { name: long.clone() };
    let named = client.collections().get(get).await.unwrap_err();
    let delete = DeleteCollectionRequest { name: long.clone() };
    let deleted = client.collections().delete(delete).await.unwrap_err();
    let create = CreateCollectionRequest { config: Some(config(&long, 2, Metric::L2)) };
    let created = client.collections().create(create).await.unwrap_err();
    if let (Some(before), Some(after)) = (before, server.peak_memory()) {
        // Two copies of a message are read at once at most.
        assert!(after < before + (32 << 20), "memory grew from {before} to {after}");
    }
    let key = "k".repeat(60_000);
    let filter = format!(r#"{{"{key}": {{"${key}": 1}}}}"#);
    let filtered = client.points().delete(deletion_of("c", &filter)).await.unwrap_err();
    let metadata = vec![format!(r#"{{"{key}": {{"{key}""#)];
    let bad = UpsertRequest { metadata, ..batch("c", vec![number(1)], &[0.5; 2]) };
    let upserted = client.points().upsert(bad).await.unwrap_err();
    for status in [named, deleted, created, filtered, upserted] {
        assert!(matches!(kind_of(&status), InvalidArgument | LimitExceeded), "{:?}", status.code());
        assert!(status.message().len() <= 1_024, "{} bytes", status.message().len());
    }
    assert_alive(&client).await;
}
