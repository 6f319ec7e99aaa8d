//! Users of one server never meet.

use hyperspace_core::error::ErrorKind;
use hyperspace_server::proto::{GetCollectionRequest, ListCollectionsRequest, Metric, VacuumRequest};

use crate::support::client::{batch, components, nearest, number};
use crate::support::everything_below;
use crate::support::frames::{call, framed};
use crate::support::refusal::refused;
use crate::support::server::Running;

#[tokio::test(flavor = "multi_thread")]
async fn names_that_collide_when_joined_belong_to_different_users() {
    let server = Running::new().await;
    let nobody = server.client().await;
    let owners = [("a", "b_c"), ("a_b", "c"), ("a", "c"), ("a_b", "b_c"), ("a_b_c", "c"), ("b_c", "a")];
    for (value, (user, name)) in owners.iter().enumerate() {
        let client = nobody.user(user);
        client.create(name, 1, Metric::L2).await;
        client.upsert(batch(name, vec![number(1)], &[value as f32])).await;
    }
    let server = server.restart().await;
    let nobody = server.client().await;
    for (value, (user, name)) in owners.iter().enumerate() {
        let client = nobody.user(user);
        let hits = client.search(nearest(name, &[0.0], 10)).await.hits;
        assert_eq!(hits.len(), 1, "{user}/{name}");
        assert_eq!(components(&client.get(name, vec![number(1)]).await[0].vector), [value as f32], "{user}/{name}");
        let mine: Vec<&str> = owners.iter().filter(|(other, _)| other == user).map(|(_, name)| *name).collect();
        let listed = client.collections().list(ListCollectionsRequest {}).await.unwrap().into_inner().collections;
        let mut listed: Vec<String> = listed.into_iter().map(|c| c.config.unwrap().name).collect();
        listed.sort();
        let mut expected = mine.clone();
        expected.sort_unstable();
        assert_eq!(listed, expected, "{user}");
        let watched: Vec<String> = client.stats().await.collections.into_iter().map(|c| c.name).collect();
        assert_eq!(watched, listed, "figures are of the own collections");
    }
    let other = nobody.collections().get(GetCollectionRequest { name: "c".into() }).await;
    refused("as nobody", other, ErrorKind::NotFound, "`c`");
    nobody.create("mine", 1, Metric::L2).await;
    nobody.user("default").describe("mine").await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_user_deletes_or_vacuums_is_their_own() {
    let server = Running::new().await;
    let nobody = server.client().await;
    for user in ["ada", "grace"] {
        let client = nobody.user(user);
        client.create("c", 1, Metric::L2).await;
        client.upsert(batch("c", vec![number(1), number(2)], &[1.0, 2.0])).await;
    }
    let (ada, grace) = (nobody.user("ada"), nobody.user("grace"));
    assert_eq!(ada.delete("c", vec![number(1)]).await, 1);
    assert_eq!((ada.count("c", "").await, grace.count("c", "").await), (1, 2));
    ada.admin().vacuum(VacuumRequest::default()).await.unwrap();
    assert_eq!(grace.stats_of("c").await.pending, 2, "all collections are all of the caller's");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_is_one_valid_name_and_becomes_no_path() {
    let server = Running::new().await;
    let channel = server.client().await.channel;
    let create = |name: &[u8]| {
        let (channel, name) = (channel.clone(), name.to_vec());
        // A collection `c` of dimension 1 and metric l2.
        let message = framed(&[10, 7, 10, 1, b'c', 16, 1, 24, 1]);
        async move { call(&channel, "/hyperspace.v1.Collections/Create", &[("x-hyperspace-user-id", &name)], message).await }
    };
    let long = "a".repeat(129);
    for name in ["", " ", "../../esc", "/etc", "a/b", "a\\b", "%2e%2e", "con\t1", &long, "a b"] {
        refused(name, create(name.as_bytes()).await, ErrorKind::InvalidArgument, "");
    }
    // What a file system would take for something else is a name like any other: none becomes a path.
    for name in [".", "..", "con", "CON", "ada@example.org"] {
        create(name.as_bytes()).await.unwrap();
    }
    refused("bytes", create(b"\xc3\xa4").await, ErrorKind::InvalidArgument, "x-hyperspace-user-id");
    let twice: [(&str, &[u8]); 2] = [("x-hyperspace-user-id", b"ada"), ("x-hyperspace-user-id", b"grace")];
    let outcome = call(&channel, "/hyperspace.v1.Collections/List", &twice, framed(&[])).await;
    refused("twice", outcome, ErrorKind::InvalidArgument, "more than once");

    let folder = server.stop().await;
    let outside: Vec<_> =
        everything_below(folder.path()).into_iter().filter(|path| !path.starts_with("data/")).collect();
    assert_eq!(outside, Vec::<String>::new());
    for path in everything_below(&folder.path().join("data/spaces")) {
        let is_ours = path
            .trim_end_matches('/')
            .split('/')
            .all(|part| part == "manifest" || part.bytes().all(|b| b.is_ascii_hexdigit()));
        assert!(is_ours, "{path} has a name that somebody chose");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_other_header_names_a_user_or_protects_anybody() {
    let server = Running::new().await;
    let ada = server.client().await.user("ada");
    ada.create("c", 1, Metric::L2).await;
    let get = framed(&[10, 1, b'c']);
    let path = "/hyperspace.v1.Collections/Get";
    let forged: [(&str, &[u8]); 6] = [
        ("x-hyperspace-tenant", b"ada"),
        ("x-user-id", b"ada"),
        ("x-forwarded-user", b"ada"),
        ("x-forwarded-for", b"127.0.0.1"),
        ("sourceid", b"ada"),
        ("cookie", b"x-hyperspace-user-id=ada"),
    ];
    for header in forged {
        refused(header.0, call(&ada.channel, path, &[header], get.clone()).await, ErrorKind::NotFound, "`c`");
    }
    call(&ada.channel, path, &[("x-hyperspace-user-id", b"ada")], get.clone()).await.unwrap();
    for key in ["authorization", "x-api-key"] {
        for extra in [&[][..], &[("x-hyperspace-user-id", &b"ada"[..])]] {
            let headers = [&[(key, &b"Bearer secret"[..])], extra].concat();
            refused(
                key,
                call(&ada.channel, path, &headers, get.clone()).await,
                ErrorKind::Unauthenticated,
                "not valid",
            );
        }
    }
    server.stop().await;
}
