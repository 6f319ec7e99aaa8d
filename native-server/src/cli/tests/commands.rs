//! Every command but `import`: what it asks the server, what it prints, what it exits with.

use serde_json::json;

use super::server::Server;
use super::{Ran, at_a_terminal, cli};
use crate::cli::output::Terminals;
use crate::proto;
use crate::proto::vectors::Rows;

fn ask(server: &Server, arguments: &[&str]) -> Ran {
    cli(&[&["--server", &server.address()], arguments].concat())
}

/// A server with two points, `1` and `"1"`, in collection `notes`.
fn with_points() -> Server {
    let server = Server::start();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("points.jsonl");
    let lines = "{\"id\": 1, \"vector\": [0.5, 2], \"metadata\": {\"n\": 9007199254740993}}\n{\"id\": \"1\", \"vector\": [3, 4]}\n";
    std::fs::write(&path, lines).unwrap();
    let ran = ask(&server, &["import", path.to_str().unwrap(), "--collection", "notes", "--metric", "l2"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    server
}

#[test]
fn without_a_subcommand_and_a_terminal_one_line_says_what_is_missing_and_what_to_do() {
    let ran = cli(&[]);
    assert_eq!((ran.code, ran.out.as_str(), ran.err.lines().count()), (2, "", 1));
    assert!(ran.err.starts_with("hyperspace-cli: invalid_argument: "), "{}", ran.err);
    assert!(ran.err.contains("needs a terminal") && ran.err.contains("`hyperspace-cli stats`"), "{}", ran.err);
    let terminals = Terminals { out: true, err: true, input: true };
    let json = at_a_terminal(&["--json"], terminals, "");
    assert!(json.code == 2 && json.err.contains("needs a terminal"), "{json:?}");
}

#[test]
fn the_screen_is_not_taken_for_a_server_that_is_not_there() {
    let terminals = Terminals { out: true, err: true, input: true };
    let ran = at_a_terminal(&["--server", "127.0.0.1:1"], terminals, "");
    assert_eq!((ran.code, ran.out.as_str(), ran.err.lines().count()), (1, "", 1));
    assert!(ran.err.contains("cannot reach http://127.0.0.1:1"), "{}", ran.err);
}

#[test]
fn commands_that_are_not_built_say_so_without_calling_anybody() {
    for arguments in [&["usage", "--help"][..], &["usage"]] {
        let ran = cli(arguments);
        assert_eq!((ran.code, ran.out.as_str()), (2, ""));
        assert!(ran.err.contains(&format!("unsupported: `{}` is not built yet", arguments[0])), "{}", ran.err);
    }
}

#[test]
fn a_bench_asks_for_the_points_of_the_collection_and_counts_the_answers() {
    let server = with_points();
    let line = ["--json", "bench", "notes", "--connections", "3", "--seconds", "1", "--top-k", "1", "--ef", "50"];
    let report = ask(&server, &line).json();
    assert!(report["searches"].as_u64().unwrap() >= 3, "{report}");
    assert!(report["p50_ms"].as_f64() <= report["p99_ms"].as_f64() && report["refused"] == 0, "{report}");
    let state = server.state();
    let asked = state.last_search.as_ref().unwrap();
    assert_eq!((asked.top_k, asked.ef_search, asked.exact), (1, Some(50), false));
    drop(state);
    let ran = ask(&server, &["bench", "nowhere"]);
    assert!(ran.code == 1 && ran.err.contains("nowhere"), "{ran:?}");
}

#[test]
fn a_bench_ends_with_the_server_it_asks() {
    let mut server = with_points();
    let ran = std::thread::scope(|scope| {
        let address = server.address();
        let bench = scope.spawn(move || cli(&["--server", &address, "bench", "notes", "--seconds", "600"]));
        while server.state().last_search.is_none() {
            std::thread::yield_now();
        }
        server.kill();
        bench.join().unwrap()
    });
    assert_eq!((ran.code, ran.out.as_str()), (1, ""), "{ran:?}");
}

#[test]
fn a_promotion_and_the_end_of_a_follower_say_what_came_of_them() {
    let server = Server::start();
    let ran = ask(&server, &["promote"]);
    assert!(ran.code == 0 && ran.out.contains("leads now, in term 2"), "{ran:?}");
    assert_eq!(ask(&server, &["--json", "promote"]).out, "{\"promoted\":true,\"term\":2}\n");
    let ran = ask(&server, &["remove-follower", "00000000000000ab"]);
    assert_eq!((ran.code, ran.out.as_str()), (0, "removed follower 00000000000000ab\n"));
    assert!(ask(&server, &["remove-follower", "1"]).out.starts_with("there is no follower 1"));
}

#[test]
fn a_key_goes_along_with_every_call_and_into_no_message() {
    let server = Server::start();
    assert_eq!(ask(&server, &["--api-key", "hs_secret", "keys", "list"]).code, 0);
    assert_eq!(server.state().api_keys.iter().collect::<Vec<_>>(), ["hs_secret"]);
    let ran = cli(&["--server", "db.example:1", "--api-key", "hs_secret", "stats"]);
    assert_eq!((ran.code, ran.err.contains("in plain text"), ran.err.contains("secret")), (2, true, false), "{ran:?}");
}

#[test]
fn a_key_is_made_from_what_was_given_and_alone_on_standard_output() {
    let server = Server::start();
    let arguments = ["keys", "create", "--scope", "read,write", "--tenant", "ada", "--name", "app", "--expires", "30d"];
    let arguments = [&arguments[..], &["--collection", "c"]].concat();
    let ran = ask(&server, &arguments);
    assert_eq!((ran.code, ran.out.as_str()), (0, "hs_secret\n"));
    assert!(ran.err.contains("00000000000000ab") && ran.err.contains("once"), "{ran:?}");
    let expected = proto::CreateKeyRequest {
        name: "app".into(),
        tenant: "ada".into(),
        scopes: [proto::Scope::Read, proto::Scope::Write].map(i32::from).into(),
        collections: vec!["c".into()],
        expires_in_ms: Some(30 * 24 * 60 * 60 * 1000),
    };
    assert_eq!(server.state().last_create_key, Some(expected));
    let json = ask(&server, &[&arguments[..], &["--json"]].concat()).json();
    let expected = json!({
        "id": "00000000000000ab", "name": "app", "tenant": "ada", "scopes": ["read", "write"], "collections": ["c"],
        "created_ms": 7, "api_key": "hs_secret",
    });
    assert_eq!(json, expected);

    assert_eq!(ask(&server, &["keys", "create", "--scope", "admin"]).code, 0);
    let asked = server.state().last_create_key.clone().unwrap();
    assert_eq!((asked.tenant.as_str(), asked.scopes, asked.expires_in_ms), ("", vec![4], None));
}

#[test]
fn keys_are_listed_and_revoked() {
    let server = Server::start();
    let text = ask(&server, &["keys", "list"]).out;
    let words: Vec<_> = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>()).collect();
    assert_eq!(words[1], ["1111111111111111", "(any)", "admin", "(all)", "never"], "{text}");
    assert_eq!(words[2], ["00000000000000ab", "app", "ada", "read,write", "c", "expired"], "{text}");
    let json = ask(&server, &["keys", "list", "--json"]).json();
    assert_eq!((&json["keys"][0]["expires_ms"], &json["keys"][1]["expires_ms"]), (&json!(null), &json!(8)));

    let revoke = |id| ask(&server, &["keys", "revoke", id]).out;
    assert_eq!(revoke("00000000000000ab"), "revoked key 00000000000000ab\n");
    assert_eq!(revoke("00000000000000ac"), "there is no key 00000000000000ac\n");
    let json = ask(&server, &["--json", "keys", "revoke", "00000000000000ab"]).json();
    assert_eq!(json, json!({ "id": "00000000000000ab", "revoked": true }));
}

#[test]
fn a_token_is_made_for_pages_of_an_origin() {
    let server = Server::start();
    let arguments = ["keys", "token", "--scope", "read", "--origin", "https://app.example", "--ttl", "90s"];
    assert_eq!(ask(&server, &arguments).out, "hst_secret\n");
    let asked = server.state().last_create_token.clone().unwrap();
    assert_eq!((asked.scopes, asked.origin.as_str(), asked.ttl_ms), (vec![1], "https://app.example", 90_000));
    let json = ask(&server, &["keys", "token", "--scope", "read", "--json"]).json();
    assert_eq!(json, json!({ "token": "hst_secret", "expires_ms": 9 }));
    assert_eq!(server.state().last_create_token.as_ref().unwrap().ttl_ms, 0);
}

#[test]
fn help_and_version_go_to_standard_output() {
    for arguments in [&["--help"][..], &["import", "--help"], &["--version"]] {
        let ran = cli(arguments);
        assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{arguments:?}");
        assert!(ran.out.contains("hyperspace-cli"), "{arguments:?}: {}", ran.out);
    }
}

#[test]
fn errors_are_json_when_answers_are() {
    let error = |ran: &Ran| serde_json::from_str::<serde_json::Value>(&ran.err).unwrap()["error"].clone();
    let ran = cli(&["search", "c", "--json"]);
    assert_eq!((ran.code, &error(&ran)["code"]), (2, &json!("invalid_argument")));

    let server = Server::start();
    let ran = ask(&server, &["--json", "collections", "get", "nobody"]);
    assert_eq!(ran.code, 1);
    assert_eq!(error(&ran), json!({ "code": "not_found", "message": "there is no collection `nobody`" }));
}

#[test]
fn a_server_that_is_not_there_is_named() {
    let mut server = Server::start();
    server.kill();
    let ran = ask(&server, &["stats"]);
    assert_eq!(ran.code, 1);
    let expected = format!("hyperspace-cli: unavailable: cannot reach http://{}: ", server.address());
    assert!(ran.err.starts_with(&expected), "{}", ran.err);
}

#[test]
fn collections_are_made_shown_and_listed() {
    let server = Server::start();
    assert_eq!(ask(&server, &["collections"]).out, "no collections\n");
    let create = ["collections", "create", "nouns", "--dimension", "384", "--metric", "cosine", "--ef-search", "90"];
    let made = ask(&server, &[&create[..], &["--json"]].concat()).json();
    let expected = json!({
        "name": "nouns", "dimension": 384, "metric": "cosine", "quantization": "none", "ef_search": 90,
        "id": "space-0", "points": 0, "pending": 0, "segments": 0,
    });
    assert_eq!(made, expected);
    assert_eq!(ask(&server, &["--json", "collections", "get", "nouns"]).json(), expected);
    assert_eq!(ask(&server, &["--json", "collections", "list"]).json(), json!({ "collections": [expected] }));

    let listed = ask(&server, &["collections"]).out;
    let words: Vec<_> = listed.lines().map(|line| line.split_whitespace().collect::<Vec<_>>()).collect();
    assert_eq!(words[1], ["nouns", "cosine", "384", "0", "0", "0"], "{listed}");

    let again = ask(&server, &create);
    assert_eq!((again.code, again.err.as_str()), (1, "hyperspace-cli: already_exists: the name is taken\n"));
}

#[test]
fn a_collection_is_deleted_only_by_somebody_who_means_it() {
    let server = Server::start();
    server.create("notes", 2, proto::Metric::L2);
    let delete = ["--server", &server.address(), "collections", "delete", "notes"];
    let is_there = || server.state().collections.contains_key("notes");

    let ran = cli(&delete);
    assert_eq!((ran.code, is_there()), (2, true), "nobody can be asked: {ran:?}");
    let terminals = Terminals { input: true, ..Terminals::default() };
    for answer in ["", "n\n", "yeah\n"] {
        let ran = at_a_terminal(&delete, terminals, answer);
        assert_eq!((ran.code, is_there()), (1, true), "{ran:?}");
        assert!(ran.err.starts_with("Delete collection `notes` with its 0 points? [y/N] "), "{}", ran.err);
    }
    let ran = at_a_terminal(&delete, terminals, "Y\n");
    assert_eq!((ran.code, is_there()), (0, false), "{ran:?}");

    server.create("notes", 2, proto::Metric::L2);
    let ran = cli(&[&delete[..], &["--yes"]].concat());
    assert_eq!((ran.code, is_there()), (0, false), "{ran:?}");
}

#[test]
fn a_search_asks_for_what_was_given_and_shows_ids_and_numbers_exactly() {
    let server = with_points();
    let filter = "{\"n\": {\"$gte\": 1}}";
    let arguments =
        ["search", "notes", "--vector", "0.1, -2", "--top-k", "2", "--filter", filter, "--ef", "50", "--exact"];
    let found = ask(&server, &[&arguments[..], &["--with-vector", "--json"]].concat()).json();
    let expected = json!({
        "hits": [
            { "id": "1", "distance": 0.0, "metadata": {}, "vector": [3.0, 4.0] },
            { "id": 1, "distance": 0.25, "metadata": { "n": 9_007_199_254_740_993_u64 }, "vector": [0.5, 2.0] },
        ],
        "distances": 1234,
    });
    assert_eq!(found, expected);

    let asked = server.state().last_search.clone().unwrap();
    let numbers = [0.1, -2.0].map(f64::to_le_bytes).concat();
    assert_eq!(asked.vector.unwrap().rows, Some(Rows::F64(numbers.into())), "what is typed is not rounded here");
    assert_eq!((asked.top_k, asked.filter.as_str(), asked.ef_search), (2, filter, Some(50)));
    assert!(asked.exact && asked.with_vector);

    let text = ask(&server, &arguments).out;
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(
        lines[..3],
        ["distance  id   metadata", "0.000000  \"1\"  {}", "0.250000  1    {\"n\":9007199254740993}"]
    );
    assert!(lines[3].starts_with("2 hits, 1 234 distances, "), "{text}");
}

#[test]
fn a_search_for_what_is_like_a_point_uses_its_vector_bit_for_bit() {
    let server = with_points();
    for (id, vector) in [("1", [0.5_f32, 2.0]), ("\"1\"", [3.0, 4.0])] {
        assert_eq!(ask(&server, &["search", "notes", "--id", id]).code, 0);
        let asked = server.state().last_search.clone().unwrap();
        assert_eq!(asked.vector.unwrap().rows, Some(Rows::F32(vector.map(f32::to_le_bytes).concat().into())));
    }
    let ran = ask(&server, &["search", "notes", "--id", "2"]);
    assert_eq!((ran.code, ran.err.as_str()), (1, "hyperspace-cli: not_found: collection `notes` has no point 2\n"));
}

#[test]
fn a_search_for_a_row_of_a_file_reads_that_row() {
    let server = with_points();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("queries.jsonl");
    std::fs::write(&path, "{\"vector\": [1, 2]}\n{\"vector\": [0.1, 4]}\n").unwrap();
    let search = ["search", "notes", "--vector-file", path.to_str().unwrap(), "--row"];
    assert_eq!(ask(&server, &[&search[..], &["1"]].concat()).code, 0);
    let asked = server.state().last_search.clone().unwrap();
    assert_eq!(asked.vector.unwrap().rows, Some(Rows::F64([0.1, 4.0].map(f64::to_le_bytes).concat().into())));
    let ran = ask(&server, &[&search[..], &["2"]].concat());
    assert_eq!((ran.code, ran.err.contains("queries.jsonl has no row 2")), (1, true), "{ran:?}");
}

#[test]
fn a_call_that_takes_longer_than_allowed_is_given_up() {
    let server = Server::start();
    server.create("empty", 1, proto::Metric::L2);
    let ran = ask(&server, &["--timeout", "0.05", "search", "empty", "--vector", "1"]);
    assert_eq!(ran.code, 1);
    assert!(ran.err.starts_with("hyperspace-cli: unavailable: "), "{}", ran.err);
}

#[test]
fn the_tenant_is_named_in_every_call() {
    let server = Server::start();
    assert_eq!(ask(&server, &["collections"]).code, 0);
    assert!(server.state().users.is_empty(), "without --user-id the server decides");
    assert_eq!(ask(&server, &["--user-id", "ada@example", "collections"]).code, 0);
    assert_eq!(server.state().users.iter().collect::<Vec<_>>(), ["ada@example"]);
}

#[test]
fn auto_is_zero_on_the_wire_and_what_is_not_given_is_absent() {
    let server = Server::start();
    server.create("notes", 2, proto::Metric::L2);
    assert_eq!(ask(&server, &["configure", "notes", "--ef-search", "auto"]).code, 0);
    let asked = server.state().last_configure.clone().unwrap();
    assert_eq!((asked.ef_search, asked.ef_construction), (Some(0), None));
    assert_eq!(ask(&server, &["configure", "notes", "--ef-construction", "300"]).code, 0);
    let asked = server.state().last_configure.clone().unwrap();
    assert_eq!((asked.ef_search, asked.ef_construction), (None, Some(300)));
}

#[test]
fn snapshot_and_vacuum_say_what_was_done() {
    let server = Server::start();
    let text = ask(&server, &["snapshot"]).out;
    assert_eq!(text, "snapshot s1: 3.0 MiB in 12 files, on the server in /data/snapshots/s1\n");
    assert_eq!(ask(&server, &["--json", "snapshot"]).json()["bytes"], 3 << 20);
    let text = ask(&server, &["vacuum"]).out;
    assert_eq!(text, "rewrote 2 segments, dropped 1 500 dead points: 4.0 KiB before, 1.0 KiB after\n");
    assert_eq!(ask(&server, &["vacuum", "nobody"]).code, 1);
}

#[test]
fn recall_is_told_with_its_interval() {
    let server = Server::start();
    server.create("notes", 2, proto::Metric::L2);
    let text = ask(&server, &["recall", "notes", "--queries", "250"]).out;
    let told = "recall@10 0.9951 (0.9600 to 0.9994 with 95 % confidence), 1422 distances a search, 250 queries\n";
    assert_eq!(text, told);
    assert_eq!(ask(&server, &["--json", "recall", "notes", "--top-k", "3"]).json()["top_k"], 3);
    assert_eq!(ask(&server, &["recall", "nobody"]).code, 1);
}

#[test]
fn stats_are_shown_once_or_until_the_server_ends_them() {
    let server = Server::start();
    let config = proto::CollectionConfig { name: "notes".into(), dimension: 384, metric: 2, ..Default::default() };
    let collection = proto::CollectionStats {
        name: "notes".into(),
        points: 50_000,
        pending: 1200,
        segment_bytes: 80 << 20,
        indexing: true,
        config: Some(config),
        ..Default::default()
    };
    let stats = proto::Stats {
        version: "0.1.0".into(),
        uptime_ms: 192_000,
        writable: false,
        reason: "the disk is full".into(),
        searches: 12_345,
        collections: vec![collection],
        ..Default::default()
    };
    server.state().monitor = vec![stats.clone(), proto::Stats { writable: true, searches: 12_346, ..stats }];

    let text = ask(&server, &["stats"]).out;
    for part in ["up 3 min 12 s", "12 345", "WRITES ARE REFUSED: the disk is full", "80.0 MiB", "indexing", "cosine"] {
        assert!(text.contains(part), "{part:?} is not in\n{text}");
    }
    let json = ask(&server, &["stats", "--json"]).json();
    assert_eq!(json["reason"], "the disk is full");
    assert_eq!(json["collections"][0]["config"]["metric"], "cosine");

    let watched = ask(&server, &["stats", "--watch", "--json"]);
    assert_eq!(watched.code, 1, "the stream ended: {watched:?}");
    let searches = watched
        .out
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["searches"].as_u64().unwrap());
    let searches: Vec<_> = searches.collect();
    assert_eq!(searches, [12_345, 12_346]);
}
