//! Keys from outside: who is let in, to what, and that nothing is read or told before.

use std::process::Stdio;

use hyperspace_core::error::ErrorKind::{InvalidArgument, NotFound, PermissionDenied, Unauthenticated};
use hyperspace_server::proto::{
    CollectionConfig, CreateKeyRequest, FetchRequest, HelloRequest, ListCollectionsRequest, ListKeysRequest, Metric,
    MonitorRequest, RevokeKeyRequest, Scope, SnapshotRequest, VacuumRequest,
};
use tokio::time::timeout;
use tonic::Code;

use crate::support::client::{Client, admin_key, batch, key_of, nearest, number, numbers};
use crate::support::contract::{cases, greeting};
use crate::support::frames::{announced, call, framed, request as frame, send, unfinished};
use crate::support::http1::{exchange, request};
use crate::support::program::{CLI, Program, SERVER, command, run, text};
use crate::support::refusal::refused;
use crate::support::server::Running;
use crate::support::{PATIENCE, everything_below, until};

/// What an rpc needs, as the documents have it; `None` is a key of any kind.
fn needed(path: &str) -> Option<Scope> {
    let rpc = path.strip_prefix("/hyperspace.v1.").unwrap();
    match rpc.split_once('/').unwrap() {
        ("Sync", "Replicate" | "Acknowledge") => Some(Scope::Admin),
        ("Sync", _) => Some(Scope::Sync),
        (_, "Get" | "List" | "Search" | "SearchBatch" | "Scroll" | "Count" | "Monitor" | "Usage" | "MeasureRecall") => {
            Some(Scope::Read)
        }
        (_, "Create" | "Delete" | "Upsert" | "SetMetadata" | "Configure" | "Vacuum" | "Rebuild") => Some(Scope::Write),
        ("Admin", "CreateToken") => None,
        ("Admin", _) => Some(Scope::Admin),
        other => panic!("nobody says what {other:?} needs"),
    }
}

/// A server with a first key, and its administrator.
async fn server() -> (Running, Client, String) {
    let server = Running::new().await;
    let nobody = server.client().await;
    let (_, key) = nobody.create_key(admin_key()).await;
    (server, nobody.key(&key), key)
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_valid_credential_no_rpc_reads_a_byte_of_its_message() {
    let (server, admin, _) = server().await;
    let (gone, revoked) = admin.create_key(key_of("ada", &[Scope::Read, Scope::Write, Scope::Sync])).await;
    admin.admin().revoke_key(RevokeKeyRequest { id: gone.id }).await.unwrap();
    let expiring = CreateKeyRequest { expires_in_ms: Some(1), ..key_of("ada", &[Scope::Read]) };
    let (_, expired) = admin.create_key(expiring).await;
    let list = async |key: &str| admin.key(key).collections().list(ListCollectionsRequest {}).await;
    until("the key has expired", async || list(&expired).await.is_err_and(|e| e.message().contains("expired"))).await;
    let (_, live) = admin.create_key(key_of("ada", &[Scope::Read])).await;
    let close = format!("{}{}", &live[..live.len() - 2], if live.ends_with("AA") { "BA" } else { "AA" });
    let bearer = format!("Bearer {revoked}");
    let credentials: [&[(&str, &[u8])]; 9] = [
        &[],
        &[("x-hyperspace-user-id", b"ada")],
        &[("x-api-key", b"")],
        &[("x-api-key", revoked.as_bytes())],
        &[("x-api-key", expired.as_bytes())],
        &[("x-api-key", close.as_bytes())],
        &[("authorization", bearer.as_bytes())],
        &[("authorization", b"Basic YWRhOmFkYQ==")],
        &[("x-api-key", b"hs_0000000000000000_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")],
    ];
    for (path, message) in cases() {
        for headers in credentials {
            // One that is fine, one that is none, one that is far too long, and one that never comes: nobody looks.
            let bodies = [framed(&message), framed(&[0xff; 40]), announced(u32::MAX as usize, b"x")];
            for body in bodies {
                refused(&path, call(&admin.channel, &path, headers, body).await, Unauthenticated, "");
            }
            let endless = frame(&path, headers, unfinished(announced(1 << 30, b"x")));
            let outcome = send(&admin.channel, endless).await.and_then(|reply| reply.outcome());
            refused(&path, outcome, Unauthenticated, "");
        }
        let twice: [(&str, &[u8]); 2] = [("x-api-key", live.as_bytes()), ("authorization", b"Bearer x")];
        refused(&path, call(&admin.channel, &path, &twice, framed(&message)).await, InvalidArgument, "one credential");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_rpc_asks_for_its_scope_and_no_tenant_is_named_beside_a_key() {
    let (server, admin, admin_key) = server().await;
    let ada = admin.user("ada");
    ada.create("c", 2, Metric::L2).await;
    for scope in [Scope::Read, Scope::Write, Scope::Sync, Scope::Admin] {
        let key = match scope {
            Scope::Admin => admin_key.clone(),
            scope => admin.create_key(key_of("ada", &[scope])).await.1,
        };
        let bearer = format!("bearer {key}");
        let headers: [(&str, &[u8]); 2] = [("x-api-key", key.as_bytes()), ("authorization", bearer.as_bytes())];
        for (path, message) in cases() {
            let is_allowed = scope == Scope::Admin || needed(&path).is_none_or(|needed| needed == scope);
            for header in headers {
                let outcome = call(&admin.channel, &path, &[header], framed(&message)).await;
                let what = format!("{path} with {scope:?}");
                match outcome {
                    _ if !is_allowed => {
                        let name = needed(&path).unwrap().as_str_name().replace("SCOPE_", "").to_lowercase();
                        refused(&what, outcome, PermissionDenied, &format!("`{name}`"));
                    }
                    Err(status) => assert!(
                        !matches!(status.code(), Code::PermissionDenied | Code::Unauthenticated)
                            // A token has no more scopes than its key.
                            || path.ends_with("CreateToken") && scope != Scope::Read,
                        "{what}: {status:?}"
                    ),
                    Ok(()) => {}
                }
                if scope != Scope::Admin {
                    for user in [&b"ada"[..], b"grace", b"default"] {
                        let forged = [header, ("x-hyperspace-user-id", user)];
                        let outcome = call(&admin.channel, &path, &forged, framed(&message)).await;
                        refused(&what, outcome, PermissionDenied, "x-hyperspace-user-id");
                    }
                }
            }
        }
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_tenants_with_the_same_names_never_meet_whatever_their_keys_do() {
    let (server, admin, _) = server().await;
    let rights = [Scope::Read, Scope::Write, Scope::Sync];
    let (_, adas) = admin.create_key(key_of("ada", &rights)).await;
    let (_, graces) = admin.create_key(key_of("grace", &rights)).await;
    let (ada, grace) = (server.client().await.key(&adas), server.client().await.key(&graces));
    for (client, x) in [(&ada, 1.0), (&grace, 2.0)] {
        client.create("c", 1, Metric::L2).await;
        client.upsert(batch("c", vec![number(1)], &[x])).await;
    }
    ada.create("mine", 1, Metric::L2).await;
    for (client, x) in [(&ada, 1.0), (&grace, 2.0)] {
        let hits = client.search(nearest("c", &[x], 5)).await.hits;
        assert_eq!((hits.len(), hits[0].distance), (1, 0.0));
    }
    let names = async |client: &Client| {
        client.stats().await.collections.into_iter().map(|collection| collection.name).collect::<Vec<_>>()
    };
    assert_eq!((names(&ada).await, names(&grace).await), (vec!["c".into(), "mine".into()], vec!["c".into()]));
    assert_eq!(grace.delete("c", vec![number(1)]).await, 1);
    assert_eq!((ada.count("c", "").await, grace.count("c", "").await), (1, 0));
    assert_eq!(names(&admin).await, Vec::<String>::new(), "the administrator's own tenant is `default`");
    assert_eq!(names(&admin.user("ada")).await, ["c", "mine"], "who may act for others");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_for_some_collections_is_for_no_other_one_there_or_not() {
    let (server, admin, _) = server().await;
    let all = admin.user("ada");
    for name in ["a", "b", "c"] {
        all.create(name, 2, Metric::L2).await;
        all.upsert(batch(name, numbers(0..2), &[0.5; 4])).await;
    }
    let limited = CreateKeyRequest {
        collections: vec!["c".into(), "d".into()],
        ..key_of("ada", &[Scope::Read, Scope::Write, Scope::Sync])
    };
    let (key, shown) = admin.create_key(limited).await;
    assert_eq!(key.collections, ["c", "d"]);
    let ada = server.client().await.key(&shown);
    let listed = ada.collections().list(ListCollectionsRequest {}).await.unwrap().into_inner().collections;
    assert_eq!(listed.into_iter().map(|c| c.config.unwrap().name).collect::<Vec<_>>(), ["c"]);
    assert_eq!(ada.stats().await.collections.iter().map(|c| c.name.as_str()).collect::<Vec<_>>(), ["c"]);
    // Everything that names a collection, with another one in the place of `c` and `d`.
    let header = ("x-api-key", shown.as_bytes());
    let mut named = 0;
    for (path, message) in cases() {
        let names_one = message.windows(3).any(|field| field == b"\x0a\x01c" || field == b"\x0a\x01d");
        if !names_one || needed(&path) == Some(Scope::Admin) {
            continue;
        }
        named += 1;
        for other in [b'a', b'z'] {
            let at = message.windows(2).position(|field| field[0] == 1 && b"cd".contains(&field[1])).unwrap() + 1;
            let mut message = message.clone();
            message[at] = other;
            let outcome = call(&ada.channel, &path, &[header], framed(&message)).await;
            if !path.ends_with("Rebuild") {
                refused(&path, outcome, PermissionDenied, &format!("`{}`", char::from(other)));
            }
        }
        let outcome = call(&ada.channel, &path, &[header], framed(&message)).await;
        assert!(
            outcome.as_ref().err().is_none_or(|status| status.code() != Code::PermissionDenied),
            "{path}: {outcome:?}"
        );
    }
    assert!(named >= 13, "only {named} rpcs name a collection");
    ada.admin().vacuum(VacuumRequest::default()).await.unwrap();
    let pending: Vec<_> = all.stats().await.collections.into_iter().map(|c| (c.name, c.pending)).collect();
    assert!(pending.contains(&("a".into(), 2)) && pending.contains(&("b".into(), 2)), "{pending:?}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_makes_collections_only_with_write_and_meets_only_those_of_its_key() {
    let (server, admin, _) = server().await;
    let all = admin.user("ada");
    all.create("a", 2, Metric::L2).await;
    let (_, whole) = admin.create_key(key_of("ada", &[Scope::Sync])).await;
    let (_, limited) = admin
        .create_key(CreateKeyRequest { collections: vec!["c".into()], ..key_of("ada", &[Scope::Sync, Scope::Write]) })
        .await;
    let (whole, limited) = (server.client().await.key(&whole), server.client().await.key(&limited));
    let hello = |name: &str| HelloRequest {
        collection: name.into(),
        config: Some(CollectionConfig {
            name: name.into(),
            dimension: 2,
            metric: Metric::L2.into(),
            ..Default::default()
        }),
        hello: greeting(),
    };
    let space = whole.sync().hello(hello("a")).await.unwrap().into_inner().space;
    refused("a new collection", whole.sync().hello(hello("c")).await, PermissionDenied, "`write`");
    limited.sync().hello(hello("c")).await.unwrap();
    whole.sync().hello(hello("c")).await.unwrap();
    refused("another collection", limited.sync().hello(hello("a")).await, PermissionDenied, "`a`");
    let fetch = FetchRequest { space, epoch: 1, keys: Vec::new() };
    whole.sync().fetch(fetch.clone()).await.unwrap();
    refused("another space", limited.sync().fetch(fetch).await, NotFound, "space");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn figures_are_the_administrators_and_only_health_and_the_demo_are_open() {
    let (server, admin, key) = server().await;
    let (_, syncs) = admin.create_key(key_of("ada", &[Scope::Sync])).await;
    let own = server.address.to_string();
    let get = async |path: &str, credential: Option<&str>| {
        let bearer = credential.map(|key| format!("Bearer {key}"));
        let mut headers = vec![("host", own.as_str())];
        headers.extend(bearer.as_deref().map(|bearer| ("authorization", bearer)));
        exchange(server.address, &request("GET", path, &headers, b"")).await.code
    };
    for path in ["/healthz", "/livez", "/readyz"] {
        assert_eq!(get(path, None).await, 200, "{path}");
    }
    assert_eq!(get("/", None).await, 404, "no demo is built here");
    let cases = [
        ("/metrics", None, 401),
        ("/metrics", Some("x"), 401),
        ("/metrics", Some(syncs.as_str()), 403),
        ("/metrics", Some(key.as_str()), 200),
        ("/v1/segments/a/b", None, 401),
        ("/v1/segments/a/b", Some(&syncs), 404),
        ("/v1/segments/a/b", Some(&key), 404),
    ];
    for (path, credential, code) in cases {
        assert_eq!(get(path, credential).await, code, "{path}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_ends_with_the_key_that_opened_it() {
    let (server, admin, _) = server().await;
    let (key, shown) = admin.create_key(key_of("ada", &[Scope::Read])).await;
    let watch = MonitorRequest { interval_ms: 100, count: 0 };
    let mut stream = admin.key(&shown).admin().monitor(watch).await.unwrap().into_inner();
    stream.message().await.unwrap().unwrap();
    assert!(admin.admin().revoke_key(RevokeKeyRequest { id: key.id }).await.unwrap().into_inner().revoked);
    let ended = async {
        loop {
            match stream.message().await {
                Ok(Some(_)) => {}
                other => break other,
            }
        }
    };
    let ended = timeout(PATIENCE, ended).await.expect("a stream ends soon behind its key");
    refused("watching", ended, Unauthenticated, "not valid");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_outlive_a_kill_and_their_secrets_are_nowhere() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log.txt");
    let start = || {
        let arguments = ["--listen", "127.0.0.1:0", "--data-dir", "data", "--log", "trace"];
        let told = std::fs::File::options().create(true).append(true).open(&log).unwrap();
        Program::listening(command(SERVER, folder.path(), &arguments).stderr(Stdio::from(told)))
    };
    let server = start();
    let nobody = server.client().await;
    let (first, key) = nobody.create_key(CreateKeyRequest { name: "first".into(), ..admin_key() }).await;
    let (_, adas) = nobody.key(&key).create_key(key_of("ada", &[Scope::Read, Scope::Write, Scope::Sync])).await;
    nobody.key(&adas).create("c", 1, Metric::L2).await;
    refused("nobody", nobody.collections().list(ListCollectionsRequest {}).await, Unauthenticated, "needs a key");
    let wrong = format!("{}{}", &adas[..24], &key[24..]);
    refused("wrong", nobody.key(&wrong).collections().list(ListCollectionsRequest {}).await, Unauthenticated, "");
    let snapshot = nobody.key(&key).admin().snapshot(SnapshotRequest {}).await.unwrap().into_inner();
    drop((nobody, server));

    let server = start();
    let admin = server.client().await.key(&key);
    server.client().await.key(&adas).describe("c").await;
    let keys = admin.admin().list_keys(ListKeysRequest {}).await.unwrap().into_inner().keys;
    assert_eq!(keys.len(), 2);
    assert!(keys.contains(&first), "{keys:?}");
    let revoke = RevokeKeyRequest { id: keys.into_iter().find(|key| key.tenant == "ada").unwrap().id };
    admin.admin().revoke_key(revoke).await.unwrap();
    drop((admin, server));

    let server = start();
    let revoked = server.client().await.key(&adas).collections().list(ListCollectionsRequest {}).await;
    refused("after a kill", revoked, Unauthenticated, "not valid");
    server.client().await.key(&key).stats().await;
    drop(server);

    let sound = run(SERVER, folder.path(), &["check", "data"]);
    assert_eq!(sound.status.code(), Some(0), "{}", text(&sound.stdout));
    assert!(!std::path::Path::new(&snapshot.path).join("KEYS").exists(), "a copy that goes elsewhere has no keys");
    let secrets = [&key, &adas, &wrong].map(|key| key.as_bytes()[20..].to_vec());
    for path in everything_below(folder.path()).iter().filter(|path| !path.ends_with('/')) {
        let bytes = std::fs::read(folder.path().join(path)).unwrap();
        for secret in &secrets {
            assert!(!bytes.windows(secret.len()).any(|window| window == secret), "a secret is in {path}");
        }
    }
    let told = std::fs::read_to_string(&log).unwrap();
    assert!(
        told.contains(&first.id) && told.contains("a key was made"),
        "the log tells of keys by their numbers: {told}"
    );
}

#[test]
fn damaged_keys_are_told_by_name_and_nobody_is_served() {
    let folder = tempfile::tempdir().unwrap();
    drop(Program::start(folder.path()));
    std::fs::write(folder.path().join("data/KEYS"), "these are no keys").unwrap();
    let arguments = ["--listen", "127.0.0.1:0", "--data-dir", "data"];
    let refused = run(SERVER, folder.path(), &arguments);
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        text(&refused.stderr).contains("file KEYS: these bytes are not a file of keys"),
        "{}",
        text(&refused.stderr)
    );
    let check = run(SERVER, folder.path(), &["check", "data"]);
    assert_eq!(check.status.code(), Some(1));
    assert!(text(&check.stdout).starts_with("damage     KEYS: these bytes are not"), "{}", text(&check.stdout));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_administrators_key_of_the_environment_makes_others_by_the_command_line() {
    let folder = tempfile::tempdir().unwrap();
    let admin = "0123456789abcdef0123456789abcdef";
    let arguments = ["--listen", "127.0.0.1:0", "--data-dir", "data", "--log", "error"];
    let server = Program::listening(command(SERVER, folder.path(), &arguments).env("HYPERSPACE_ADMIN_API_KEY", admin));
    let address = server.address.to_string();
    let cli = |key: Option<&str>, arguments: &[&str]| {
        let mut command = command(CLI, folder.path(), &[&["--server", &address], arguments].concat());
        command.envs(key.map(|key| ("HYPERSPACE_API_KEY", key))).output().unwrap()
    };
    let refused = cli(None, &["keys", "list"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("unauthenticated"), "{}", text(&refused.stderr));
    let made = cli(Some(admin), &["keys", "create", "--scope", "read,write", "--tenant", "ada"]);
    assert_eq!(made.status.code(), Some(0), "{}", text(&made.stderr));
    let key = text(&made.stdout).trim_end();
    let create = ["collections", "create", "c", "--dimension", "1", "--metric", "l2"];
    assert_eq!(cli(Some(key), &create).status.code(), Some(0));
    let denied = cli(Some(key), &["snapshot"]);
    assert!(
        text(&denied.stderr).contains("permission_denied: this needs the scope `admin`"),
        "{}",
        text(&denied.stderr)
    );
    let listed = cli(Some(admin), &["--user-id", "ada", "collections"]);
    assert!(text(&listed.stdout).contains("l2"), "{}", text(&listed.stdout));
    assert!(text(&cli(Some(admin), &["keys", "list"]).stdout).contains("read,write"));
}
