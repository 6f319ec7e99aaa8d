//! Servers that replicate each other.

use std::collections::BTreeMap;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use hyperspace_server::proto::{
    ConfigureRequest, CountRequest, DeleteCollectionRequest, HelloRequest, Metric, PromoteRequest, PullRequest,
    RemoveFollowerRequest, RevokeKeyRequest, Scope, SetMetadataRequest, UpsertRequest, Wanted,
};
use hyperspace_server::service::Server;
use hyperspace_server::settings::{Role, Secret, Settings, WriteConcern};
use tempfile::TempDir;
use tonic::Code;

use crate::support::client::{Client, admin_key, batch, key_of, number, numbers};
use crate::support::contract::greeting;
use crate::support::program::{Program, SERVER, command};
use crate::support::random::Random;
use crate::support::server::{Running, settings};
use crate::support::until;

const DIMENSION: usize = 4;

/// A point as bytes, which are equal only if the points are: id, vector, metadata.
type Points = BTreeMap<String, (Vec<u8>, String)>;

/// What follows a server, at a port that stays the same.
fn following(leader: &Running) -> impl FnOnce(&mut Settings) + use<> {
    let leader = format!("http://{}", leader.address);
    move |settings| {
        settings.role = Role::Follower;
        settings.leader = Some(leader);
    }
}

/// The same address as before.
fn at(address: std::net::SocketAddr, change: impl FnOnce(&mut Settings)) -> impl FnOnce(&mut Settings) {
    move |settings| {
        settings.listen = address;
        change(settings);
    }
}

async fn points(client: &Client, collection: &str) -> Points {
    let points = client.scroll(collection, 500).await;
    points.into_iter().map(|point| (format!("{:?}", point.id), (point.vector, point.metadata))).collect()
}

/// The collections of a tenant with their configurations and digests.
async fn digests(client: &Client) -> BTreeMap<String, (String, String)> {
    let collections = client.stats().await.collections;
    collections.into_iter().map(|one| (one.name, (format!("{:?}", one.config), one.digest))).collect()
}

/// Waits until two servers have the same collections of a tenant with the same digests, then compares every point.
async fn equal(a: &Client, b: &Client) {
    until("the two are equal", async || digests(a).await == digests(b).await).await;
    for name in digests(a).await.keys() {
        assert_eq!(points(a, name).await, points(b, name).await, "collection {name}");
    }
}

async fn put(client: &Client, collection: &str, ids: std::ops::Range<u64>, random: &mut Random) {
    let count = (ids.end - ids.start) as usize;
    let metadata = ids.clone().map(|id| format!("{{\"n\":{id}}}")).collect();
    let rows = random.rows(count, DIMENSION);
    client.upsert(UpsertRequest { metadata, ..batch(collection, numbers(ids), &rows) }).await;
}

/// Somebody does something to the collections of a server.
async fn act(client: &Client, random: &mut Random) {
    let name = format!("c{}", random.below(4));
    let has = digests(client).await.contains_key(&name);
    match random.below(10) {
        0 if has => {
            let request = DeleteCollectionRequest { name };
            client.collections().delete(request).await.unwrap();
        }
        1 if has => {
            let request =
                ConfigureRequest { collection: name, ef_search: Some(10 + random.below(90)), ef_construction: None };
            client.admin().configure(request).await.unwrap();
        }
        2 | 3 if has => {
            let ids = numbers(random.below(50)..50 + random.below(20));
            client.delete(&name, ids).await;
        }
        4 if has => {
            let ids = numbers(random.below(30)..60);
            let metadata = vec![format!("{{\"m\":{}}}", random.below(1000)); ids.len()];
            let request = SetMetadataRequest { collection: name, ids, metadata, ..SetMetadataRequest::default() };
            client.points().set_metadata(request).await.unwrap();
        }
        5 if has => drop(client.vacuum(&name).await),
        _ if has => {
            let first = random.below(100);
            put(client, &name, first..first + 1 + random.below(20), random).await;
        }
        _ => drop(client.create(&name, DIMENSION as u64, Metric::L2).await),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_has_what_its_leader_has_whatever_happened_while_it_was_away() {
    let seed = 21;
    println!("seed {seed}");
    let mut random = Random::new(seed);
    let leader = Running::new().await;
    let (ours, theirs) = (leader.client().await, leader.client().await.user("ada"));
    let mut follower = Running::with(following(&leader)).await;
    for _ in 0..4 {
        for _ in 0..20 {
            act(&ours, &mut random).await;
            act(&theirs, &mut random).await;
        }
        let copy = follower.client().await;
        equal(&ours, &copy).await;
        equal(&theirs, &copy.user("ada")).await;
        let folder = follower.stop().await;
        for _ in 0..30 {
            act(&ours, &mut random).await;
            act(&theirs, &mut random).await;
        }
        follower = Running::on(folder, following(&leader)).await;
    }
    let copy = follower.client().await;
    equal(&ours, &copy).await;
    equal(&theirs, &copy.user("ada")).await;
    // The comparison can fail.
    let folder = follower.stop().await;
    ours.create("more", DIMENSION as u64, Metric::L2).await;
    put(&ours, "more", 0..1, &mut random).await;
    let alone = Running::on(folder, |_| {}).await;
    assert_ne!(digests(&ours).await, digests(&alone.client().await).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_answers_searches_refuses_writes_and_says_how_old_it_is() {
    let leader = Running::new().await;
    let ours = leader.client().await;
    ours.create("c", DIMENSION as u64, Metric::L2).await;
    put(&ours, "c", 0..100, &mut Random::new(1)).await;
    let follower = Running::with(following(&leader)).await;
    let copy = follower.client().await;
    equal(&ours, &copy).await;
    let refused = copy.points().upsert(batch("c", vec![number(1)], &[0.0; DIMENSION])).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
    assert!(refused.message().contains(&format!("http://{}", leader.address)), "{refused:?}");
    let refused = copy.collections().delete(DeleteCollectionRequest { name: "c".into() }).await.unwrap_err();
    assert!(refused.message().contains("read-only"), "{refused:?}");
    assert_eq!(copy.count("c", "").await, 100);

    until("the follower knows that it is equal", async || {
        let replication = copy.stats().await.replication.unwrap();
        assert!(!replication.leads && replication.connected && replication.trouble.is_empty(), "{replication:?}");
        replication.stale_ms.is_some_and(|ms| ms < 5_000)
    })
    .await;
    until("the leader knows that nothing is missing", async || {
        let replication = ours.stats().await.replication.unwrap();
        assert!(replication.leads && replication.leader.is_empty());
        matches!(&replication.followers[..], [one] if one.connected && one.behind == 0)
    })
    .await;
    leader.stop().await;
    until("the follower says that it is alone", async || {
        let replication = copy.stats().await.replication.unwrap();
        !replication.connected && !replication.trouble.is_empty()
    })
    .await;
    assert_eq!(copy.count("c", "").await, 100, "it answers all the same");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_and_the_tenants_that_they_are_for_are_the_leaders() {
    let leader = Running::new().await;
    let open = leader.client().await;
    let (_, admin) = open.create_key(admin_key()).await;
    let admin_of = open.key(&admin);
    let (key, ada) = admin_of.create_key(key_of("ada", &[Scope::Read, Scope::Write])).await;
    let ours = open.key(&ada);
    ours.create("c", DIMENSION as u64, Metric::L2).await;
    put(&ours, "c", 0..10, &mut Random::new(2)).await;
    let (_, replica) = admin_of.create_key(key_of("ada", &[Scope::Sync, Scope::Read])).await;
    let greeting = HelloRequest { collection: "c".into(), hello: greeting(), config: None };
    let space = open.key(&replica).sync().hello(greeting).await.unwrap().into_inner().space;
    let wanted = vec![Wanted { space, epoch: 1, after: 0 }];
    let pull = PullRequest { spaces: wanted, follower: true, ..PullRequest::default() };
    let refused = open.key(&replica).sync().pull(pull).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied, "who is answered is no replica's business");
    let without = Running::with(following(&leader)).await;
    until("a follower without a key says why it does not follow", async || {
        without.client().await.stats().await.replication.unwrap().trouble.contains("key")
    })
    .await;
    without.stop().await;
    let chosen = following(&leader);
    let secret = admin.clone();
    let follower = Running::with(move |settings| {
        chosen(settings);
        settings.leader_api_key = Some(Secret::new(&secret).unwrap());
    })
    .await;
    let copy = follower.client().await.key(&ada);
    until("the key opens the follower, too", async || {
        let request = CountRequest { collection: "c".into(), filter: String::new() };
        copy.points().count(request).await.is_ok_and(|answer| answer.into_inner().count == 10)
    })
    .await;
    let request = RevokeKeyRequest { id: key.id };
    admin_of.admin().revoke_key(request).await.unwrap();
    until("a revoked key opens nothing", async || {
        let request = CountRequest { collection: "c".into(), filter: String::new() };
        copy.points().count(request).await.is_err_and(|error| error.code() == Code::Unauthenticated)
    })
    .await;
}

/// The old leader has writes that nobody else has, and so has the new one: both are there in the end, and of one id the later.
#[tokio::test(flavor = "multi_thread")]
async fn a_promoted_follower_leads_and_an_old_leader_brings_what_it_had() {
    let mut random = Random::new(3);
    let old = Running::new().await;
    let ours = old.client().await;
    ours.create("c", DIMENSION as u64, Metric::L2).await;
    put(&ours, "c", 0..50, &mut random).await;
    let new = Running::with(following(&old)).await;
    equal(&ours, &new.client().await).await;
    let (old_address, new_address) = (old.address, new.address);
    let leader_was = following(&old);
    let folder_of_new = new.stop().await;
    // Nobody but the old leader has these.
    put(&ours, "c", 50..70, &mut random).await;
    put(&ours, "c", 0..5, &mut random).await;
    ours.delete("c", numbers(10..15)).await;
    let before = points(&ours, "c").await;
    let folder_of_old = old.stop().await;

    let new = Running::on(folder_of_new, at(new_address, leader_was)).await;
    let promoted = new.client().await;
    assert_eq!(promoted.count("c", "").await, 50, "it was away");
    let answer = promoted.admin().promote(PromoteRequest {}).await.unwrap().into_inner();
    assert!(answer.promoted && answer.term == 2, "{answer:?}");
    assert!(!promoted.admin().promote(PromoteRequest {}).await.unwrap().into_inner().promoted, "it leads already");
    put(&promoted, "c", 100..120, &mut random).await;
    put(&promoted, "c", 0..2, &mut random).await;
    let later = points(&promoted, "c").await;

    // Started as before, though it was promoted: it goes on leading.
    let folder_of_new = new.stop().await;
    let stale = format!("http://{old_address}");
    let new = Running::on(
        folder_of_new,
        at(new_address, move |settings| {
            settings.role = Role::Follower;
            settings.leader = Some(stale);
        }),
    )
    .await;
    let promoted = new.client().await;
    put(&promoted, "c", 120..121, &mut random).await;

    let old = Running::on(folder_of_old, at(old_address, following(&new))).await;
    let rejoined = old.client().await;
    until("what only the old leader had is there", async || promoted.count("c", "").await == 86).await;
    equal(&promoted, &rejoined).await;
    let now = points(&promoted, "c").await;
    for (id, point) in &before {
        let wanted = later.get(id).filter(|_| ["Number(0)", "Number(1)"].iter().any(|n| id.contains(n)));
        assert_eq!(now.get(id), Some(wanted.unwrap_or(point)), "{id}");
    }
    assert!(promoted.get("c", numbers(10..15)).await.is_empty(), "deletes are brought, too");
    let refused = rejoined.points().upsert(batch("c", vec![number(1)], &[0.0; DIMENSION])).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
    // And back again.
    new.stop().await;
    assert!(rejoined.admin().promote(PromoteRequest {}).await.unwrap().into_inner().term == 3);
    put(&rejoined, "c", 200..201, &mut random).await;
    assert_eq!(rejoined.count("c", "").await, 87);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_with_points_of_its_own_is_no_follower_and_two_groups_do_not_mix() {
    let (one, other) = (Running::new().await, Running::new().await);
    one.client().await.create("c", DIMENSION as u64, Metric::L2).await;
    let folder = one.stop().await;
    let mut chosen = settings(&folder.path().join("data"));
    following(&other)(&mut chosen);
    let refused = Server::open(chosen).await.err().unwrap();
    assert!(refused.message().contains("empty"), "{refused}");

    let one = Running::on(folder, |_| {}).await;
    let follower = Running::with(following(&one)).await;
    until("it follows", async || follower.client().await.stats().await.replication.unwrap().connected).await;
    let second = Running::with(following(&other)).await;
    until("it follows", async || second.client().await.stats().await.replication.unwrap().connected).await;
    let strayed = Running::on(follower.stop().await, following(&other)).await;
    until("a follower of another group is refused", async || {
        strayed.client().await.stats().await.replication.unwrap().trouble.contains("group")
    })
    .await;
    assert_eq!(digests(&strayed.client().await).await.len(), 1, "and keeps what it has");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_needs_a_majority_is_answered_when_there_is_one() {
    let leader = Running::with(|settings| settings.write_concern = WriteConcern::Majority).await;
    let ours = leader.client().await;
    ours.create("c", DIMENSION as u64, Metric::L2).await;
    put(&ours, "c", 0..10, &mut Random::new(4)).await;
    let follower = Running::with(following(&leader)).await;
    equal(&ours, &follower.client().await).await;
    for first in 10..30 {
        put(&ours, "c", first..first + 1, &mut Random::new(first)).await;
        // It was answered: the other one has it, without any further waiting.
        assert_eq!(follower.client().await.count("c", "").await, first + 1);
    }
    let folder = follower.stop().await;
    let refused = ours.points().upsert(batch("c", vec![number(99)], &[0.0; DIMENSION])).await.unwrap_err();
    assert!(refused.code() == Code::Unavailable && refused.message().contains("1 of 2 servers"), "{refused:?}");
    let id = ours.stats().await.replication.unwrap().followers[0].id.clone();
    let request = RemoveFollowerRequest { id };
    assert!(ours.admin().remove_follower(request.clone()).await.unwrap().into_inner().removed);
    assert!(!ours.admin().remove_follower(request).await.unwrap().into_inner().removed);
    put(&ours, "c", 30..31, &mut Random::new(5)).await;
    // Whoever was removed comes back with everything.
    let follower = Running::on(folder, following(&leader)).await;
    equal(&ours, &follower.client().await).await;
    assert_eq!(ours.stats().await.replication.unwrap().followers.len(), 1);
}

/// Bytes of the largest segment below a folder are altered, where nobody reads them again but by map.
fn flip_a_row(data: &Path) {
    let segment = files_below(&data.join("spaces")).into_iter().filter(|path| path.file_name().unwrap() != "manifest");
    let segment = segment.max_by_key(|path| path.metadata().unwrap().len()).unwrap();
    let mut bytes = std::fs::read(&segment).unwrap();
    // A component of some vector: the only bytes that are 0.8125 in every row.
    let pattern = 0.8125_f32.to_le_bytes();
    let at = (0..bytes.len() - 4).step_by(4).find(|&at| bytes[at..at + 4] == pattern).unwrap();
    bytes[at + 1] ^= 1;
    let file = std::fs::OpenOptions::new().write(true).open(&segment).unwrap();
    file.write_all_at(&bytes[at..at + 4], at as u64).unwrap();
}

fn files_below(folder: &Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_rots_on_a_follower_is_found_by_the_scheduled_count_and_repaired() {
    let leader = Running::new().await;
    let ours = leader.client().await;
    ours.create("c", 64, Metric::L2).await;
    // Large enough to be mapped, so that the running server sees what happens to the file.
    let rows: Vec<f32> = (0..4_000 * 64).map(|i| if i % 64 == 5 { 0.8125 } else { i as f32 / 1e5 }).collect();
    ours.upsert(batch("c", numbers(0..4_000), &rows)).await;
    let chosen = following(&leader);
    let follower = Running::with(move |settings| {
        chosen(settings);
        settings.recount_seconds = std::num::NonZeroUsize::new(1).unwrap();
    })
    .await;
    let copy = follower.client().await;
    equal(&ours, &copy).await;
    copy.vacuum("c").await;
    let sound = points(&copy, "c").await;
    flip_a_row(&follower.data);
    assert_ne!(points(&copy, "c").await, sound, "a row is another one now");
    until("it is found and repaired", async || copy.stats().await.replication.unwrap().repaired >= 1).await;
    until("all points are as they were", async || points(&copy, "c").await == sound).await;
    equal(&ours, &copy).await;
    assert_eq!(copy.stats().await.replication.unwrap().repaired, 1, "and no other row was touched");
}

/// A server whose deletes are forgotten at once.
fn forgetful(settings: &mut Settings) {
    settings.tombstone_seconds = std::num::NonZeroUsize::new(1).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn old_deletes_are_forgotten_when_every_follower_has_them_and_who_was_away_ends_equal_all_the_same() {
    let leader = Running::with(forgetful).await;
    let ours = leader.client().await;
    for name in ["c", "gone"] {
        ours.create(name, DIMENSION as u64, Metric::L2).await;
        put(&ours, name, 0..200, &mut Random::new(6)).await;
    }
    let follower = Running::with(following(&leader)).await;
    let copy = follower.client().await;
    equal(&ours, &copy).await;
    let none_left = async |client: &Client| {
        client.vacuum("c").await;
        client.stats_of("c").await.tombstones == 0
    };
    // Both have these.
    ours.delete("c", numbers(0..50)).await;
    equal(&ours, &copy).await;
    until("the leader has no tombstones left", async || none_left(&ours).await).await;
    put(&ours, "c", 300..301, &mut Random::new(7)).await;
    until("nor has the follower", async || none_left(&copy).await).await;
    equal(&ours, &copy).await;

    let folder = follower.stop().await;
    ours.delete("c", numbers(50..100)).await;
    ours.collections().delete(DeleteCollectionRequest { name: "gone".into() }).await.unwrap();
    put(&ours, "c", 301..310, &mut Random::new(8)).await;
    tokio::time::sleep(std::time::Duration::from_millis(3_500)).await;
    ours.vacuum("c").await;
    assert_eq!(ours.stats_of("c").await.tombstones, 50, "a follower that may come back lacks these");
    let id = ours.stats().await.replication.unwrap().followers[0].id.clone();
    ours.admin().remove_follower(RemoveFollowerRequest { id }).await.unwrap();
    until("the leader has no tombstones left", async || none_left(&ours).await).await;
    let follower = Running::on(folder, following(&leader)).await;
    let copy = follower.client().await;
    equal(&ours, &copy).await;
    assert_eq!(copy.count("c", "").await, 110);
    let restarted = Running::on(follower.stop().await, following(&leader)).await;
    equal(&ours, &restarted.client().await).await;
}

/// Both are killed again and again while somebody writes; what was answered is on both in the end.
#[tokio::test(flavor = "multi_thread")]
async fn leader_and_follower_killed_at_random_end_equal_and_have_what_was_answered() {
    let seed = 31;
    println!("seed {seed}");
    let mut random = Random::new(seed);
    let folders: [TempDir; 2] = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let mut leader = Program::start(folders[0].path());
    let listen = leader.address.to_string();
    let url = format!("http://{listen}");
    let start_follower = || {
        let arguments =
            ["--listen", "127.0.0.1:0", "--data-dir", "data", "--log", "error", "--role", "follower", "--leader", &url];
        Program::listening(&mut command(SERVER, folders[1].path(), &arguments))
    };
    let mut follower = start_follower();
    leader.client().await.create("c", DIMENSION as u64, Metric::L2).await;
    let mut model: BTreeMap<u64, f32> = BTreeMap::new();
    for round in 0..12 {
        let client = leader.client().await;
        for _ in 0..=random.below(30) {
            let id = random.below(80);
            if random.below(4) == 0 {
                client.delete("c", vec![number(id)]).await;
                model.remove(&id);
            } else {
                let value = random.below(1 << 20) as f32;
                client.upsert(batch("c", vec![number(id)], &[value; DIMENSION])).await;
                model.insert(id, value);
            }
        }
        match round % 3 {
            0 => {
                drop(follower);
                follower = start_follower();
            }
            1 => {
                drop(leader);
                leader = Program::start_on(folders[0].path(), &listen);
            }
            _ => {}
        }
    }
    let (ours, copy) = (leader.client().await, follower.client().await);
    equal(&ours, &copy).await;
    let points = points(&copy, "c").await;
    assert_eq!(points.len(), model.len());
    for (id, value) in model {
        let vector: Vec<u8> = [value; DIMENSION].iter().flat_map(|x| x.to_le_bytes()).collect();
        assert_eq!(points[&format!("{:?}", Some(number(id)))].0, vector, "point {id}");
    }
}
