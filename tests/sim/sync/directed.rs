//! What no history brings about: collections that come and go at the server, refused writes, copies.

use std::cell::RefCell;
use std::future::Future;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use hyperspace_core::collection::{CollectionConfig, UpsertBatch, Vectors};
use hyperspace_core::error::{ErrorKind, Result};
use hyperspace_core::metric::Metric;
use hyperspace_core::port::Durability;
use hyperspace_core::sync::{Pushed, State, Verdict, decode_all, encode_all};
use hyperspace_core::types::{PointId, SpaceId, Tenant};
use hyperspace_server::proto::{PullRequest, PushResponse};
use hyperspace_wasm::host::{Database, OpenCollection};
use hyperspace_wasm::kv::SimulatedKv;
use prost::Message as _;

use super::lent::{DIMENSION, Lent, Platform, live, metadata, vector};
use super::server::Server;

pub(super) fn run<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    for _ in 0..100_000 {
        if let Poll::Ready(done) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return done;
        }
    }
    panic!("the future waits for something that never comes");
}

fn config(name: &str, dimension: usize) -> CollectionConfig {
    CollectionConfig::new(name, dimension, Metric::L2).unwrap()
}

/// A tab.
pub(super) struct Tab {
    pub(super) kv: SimulatedKv,
    lent: Rc<Lent>,
    pub(super) database: Database<SimulatedKv>,
}

impl Tab {
    pub(super) fn new(platform: &Arc<Platform>, kv: SimulatedKv) -> Self {
        let lent = Lent::new(platform, 0);
        let tenant = Tenant::local();
        let opening = Database::open(&tenant, kv.clone(), Rc::clone(&lent) as _, Durability::Relaxed);
        let database = run(opening).unwrap();
        Self { kv, lent, database }
    }

    pub(super) fn collection(&self, name: &str) -> Rc<OpenCollection> {
        run(self.database.collection_or_create(config(name, DIMENSION))).unwrap()
    }

    fn upsert(&self, collection: &Rc<OpenCollection>, id: u64, version: u32) {
        let (ids, row, metadata) = ([PointId::Int(id)], vector(id, version), [metadata(version)]);
        let batch = UpsertBatch { ids: &ids, vectors: Vectors::F32(&row), metadata: &metadata };
        run(self.database.upsert(collection, &batch, None, None)).unwrap();
    }

    /// Goes on with a session until it waits.
    fn sync(&self, server: &Server, collection: &Rc<OpenCollection>) -> Result<()> {
        while let Some((method, body)) = run(self.database.sync_next(collection))? {
            let answer = server.answer(&method, &body).inspect_err(|_| collection.sync_restart())?;
            self.database.sync_receive(collection, &method, &answer)?;
        }
        Ok(())
    }
}

pub(super) fn pair() -> (Arc<Platform>, Server, Tab) {
    let platform = Platform::new(1);
    let server = Server::new(Arc::clone(&platform) as _, Arc::clone(&platform) as _);
    let tab = Tab::new(&platform, SimulatedKv::new());
    (platform, server, tab)
}

/// What a collection shows.
fn contents(collection: &OpenCollection) -> Vec<PointId> {
    live(&collection.snapshot()).into_keys().collect()
}

fn ids(of: impl IntoIterator<Item = u64>) -> Vec<PointId> {
    of.into_iter().map(PointId::Int).collect()
}

#[test]
fn a_collection_that_was_deleted_or_made_anew_at_the_server_leaves_the_tabs_alone() {
    let (_, server, tab) = pair();
    let notes = tab.collection("notes");
    tab.upsert(&notes, 1, 1);
    assert_eq!(notes.sync_status().state, "local");
    tab.sync(&server, &notes).unwrap();
    assert_eq!(contents(&notes), ids([1]));
    tab.upsert(&notes, 2, 2);

    server.drop_collection("notes");
    notes.sync_restart();
    assert_eq!(tab.sync(&server, &notes).unwrap_err().kind(), ErrorKind::NotFound, "it is not made again");
    assert!(server.collection("notes").is_none());

    let other = Tab::new(&Platform::new(2), SimulatedKv::new());
    other.sync(&server, &other.collection("notes")).unwrap();
    for _ in 0..2 {
        let refused = tab.sync(&server, &notes).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Conflict, "{refused}");
        assert!(refused.message().contains("`notes`"), "{refused}");
    }
    assert_eq!(contents(&notes), ids([1, 2]));
    assert_eq!(server.collection("notes").unwrap().snapshot().len(), 0);
    assert_eq!((notes.sync_status().pending, notes.sync_status().state), (1, "following"));
}

#[test]
fn what_the_server_lists_is_made_here_unless_it_is_there_or_not_wanted_or_of_another_shape() {
    let (platform, server, tab) = pair();
    for name in ["a", "b", "c"] {
        let collection = tab.collection(name);
        tab.upsert(&collection, 1, 1);
        tab.sync(&server, &collection).unwrap();
    }
    let other = Tab::new(&platform, SimulatedKv::new());
    let b = run(other.database.collection_or_create(config("b", DIMENSION + 1))).unwrap();
    let listed = |wanted: Option<&[String]>| run(other.database.sync_listed(&server.list(), wanted, &[])).unwrap();
    assert_eq!(listed(Some(&["none".to_owned()])), []);
    assert_eq!(other.database.names(), ["b"]);
    let c = listed(Some(&["b".to_owned(), "c".to_owned()]));
    assert_eq!(other.database.names(), ["b", "c"]);
    assert_eq!(run(other.database.sync_listed(&server.list(), None, &["a".to_owned()])).unwrap().len(), 1);
    assert_eq!(other.database.names(), ["b", "c"], "`a` was deleted here");
    let all = listed(None);
    assert_eq!(other.database.names(), ["a", "b", "c"]);
    assert_eq!((c, all.len()), (vec![other.collection("c").space()], 2));
    for space in all {
        let collection = other.database.reached(space).unwrap();
        other.sync(&server, &collection).unwrap();
        assert_eq!(contents(&collection), ids([1]));
    }
    let refused = other.sync(&server, &b);
    assert!(refused.is_err(), "another shape is refused by its greeting");
    assert_eq!(b.sync_status().state, "local");
}

#[test]
fn changes_are_told_by_who_made_them_and_only_where_there_are_any() {
    let (platform, server, tab) = pair();
    let other = Tab::new(&platform, SimulatedKv::new());
    let (here, there) = (tab.collection("notes"), other.collection("notes"));
    (0..5).for_each(|id| tab.upsert(&here, id, 1));
    tab.sync(&server, &here).unwrap();
    assert_eq!((tab.lent.written.get(), tab.lent.pulled.get()), (5, 0), "what comes back is no news");
    other.sync(&server, &there).unwrap();
    assert_eq!((other.lent.written.get(), other.lent.pulled.get()), (0, 5));
    other.sync(&server, &there).unwrap();
    run(other.database.delete(&there, &ids([1, 2, 9]), None, None)).unwrap();
    other.sync(&server, &there).unwrap();
    here.sync_restart();
    tab.sync(&server, &here).unwrap();
    assert_eq!((other.lent.written.get(), other.lent.pulled.get()), (1, 5));
    assert_eq!((tab.lent.written.get(), tab.lent.pulled.get()), (5, 2));
}

#[test]
fn a_page_that_came_too_early_or_was_lost_is_pulled_before_the_session_waits() {
    let (_, server, tab) = pair();
    let notes = tab.collection("notes");
    tab.upsert(&notes, 1, 1);
    tab.sync(&server, &notes).unwrap();
    let follow = PullRequest::decode(&*tab.database.sync_follow(&[notes.space(), SpaceId(77)])).unwrap();
    assert!(follow.follow && follow.spaces.len() == 1);
    let wanted = follow.spaces[0];
    let mut after = hyperspace_core::sync::Cursor { epoch: wanted.epoch, seq: wanted.after };
    let mut next = || {
        let (message, page) = server.page(wanted.space, after).unwrap();
        after = page.cursor;
        message
    };
    let asked = |answer: bool| {
        let step = run(tab.database.sync_next(&notes)).unwrap();
        step.map(|(method, body)| {
            if answer {
                tab.database.sync_receive(&notes, &method, &server.answer(&method, &body).unwrap()).unwrap();
            }
            method
        })
    };
    // In order and in time: nothing is asked.
    server.upsert("notes", 2, &vector(2, 2), metadata(2));
    assert_eq!(tab.database.sync_page(&next()), Ok(Some(notes.space())));
    assert_eq!(asked(true), None);
    assert_eq!(contents(&notes), ids([1, 2]));
    // A keep-alive says nothing; two at once are one too many.
    assert_eq!(tab.database.sync_page(&[]), Ok(None));
    for id in [3, 4] {
        server.upsert("notes", id, &vector(id, 2), metadata(2));
        assert_eq!(tab.database.sync_page(&next()), Ok(Some(notes.space())));
    }
    assert_eq!((asked(true), asked(true)), (Some("Pull".into()), None));
    assert_eq!(contents(&notes), ids(1..5));
    // While offers are on their way: the page knows nothing of them.
    tab.upsert(&notes, 5, 1);
    assert_eq!(asked(false), Some("Push".into()));
    server.upsert("notes", 6, &vector(6, 2), metadata(2));
    let before_offers = next();
    notes.sync_restart();
    tab.sync(&server, &notes).unwrap();
    tab.upsert(&notes, 7, 1);
    let (method, body) = run(tab.database.sync_next(&notes)).unwrap().unwrap();
    let pushed = server.answer(&method, &body).unwrap();
    tab.database.sync_page(&before_offers).unwrap();
    tab.database.sync_receive(&notes, &method, &pushed).unwrap();
    tab.sync(&server, &notes).unwrap();
    assert_eq!(contents(&notes), ids(1..8));
}

#[test]
fn what_the_server_refuses_is_kept_until_it_is_settled() {
    let (platform, server, tab) = pair();
    let notes = tab.collection("notes");
    (1..4).for_each(|id| tab.upsert(&notes, id, 1));
    let refused = RefCell::new(false);
    // A server that has forgotten what it deleted.
    while let Some((method, body)) = run(tab.database.sync_next(&notes)).unwrap() {
        let mut answer = server.answer(&method, &body).unwrap();
        if method == "Push" && !refused.replace(true) {
            let message = PushResponse::decode(&*answer).unwrap();
            let mut pushed: Pushed = decode_all(&message.pushed, "an answer").unwrap();
            pushed.verdicts[1].1 = Verdict::StaleDeleted;
            answer = PushResponse { pushed: encode_all(&pushed) }.encode_to_vec();
            tab.database.sync_receive(&notes, &method, &answer).unwrap();
            run(tab.database.sync_next(&notes)).unwrap();
            break;
        }
        tab.database.sync_receive(&notes, &method, &answer).unwrap();
    }
    assert_eq!(contents(&notes), ids([1, 3]));
    let tab = Tab::new(&platform, tab.kv.after_process_death());
    let notes = tab.collection("notes");
    let conflicts = notes.sync_conflicts().unwrap();
    assert_eq!((conflicts.len(), &conflicts[0].id), (1, &PointId::Int(2)));
    assert_eq!(conflicts[0].point, Some((vector(2, 1).to_vec(), metadata(1))));
    run(tab.database.sync_settle(&notes, 0)).unwrap();
    assert_eq!(notes.sync_status().conflicts, 1);
    run(tab.database.sync_settle(&notes, 7)).unwrap();
    assert_eq!(notes.sync_status().conflicts, 0);
    let tab = Tab::new(&platform, tab.kv.after_process_death());
    assert!(tab.collection("notes").sync_conflicts().unwrap().is_empty());
    let local = tab.collection("local");
    run(tab.database.sync_settle(&local, 1)).unwrap();
    assert_eq!((contents(&local).len(), local.sync_status().state), (0, "local"));
}

#[test]
fn a_copy_of_a_collection_has_met_nobody_and_is_another_one_at_the_server() {
    let (_, server, tab) = pair();
    let notes = tab.collection("notes");
    (1..4).for_each(|id| tab.upsert(&notes, id, 1));
    tab.sync(&server, &notes).unwrap();
    run(tab.database.delete(&notes, &ids([3]), None, None)).unwrap();
    let wanted = notes.request_seal();
    while run(tab.database.work(50.0)).unwrap() {}
    assert!(notes.sealed_through() >= wanted);

    let (manifest, segments) = tab.database.export(&notes);
    let segments: Vec<Vec<u8>> = segments.iter().map(|segment| segment.bytes().to_vec()).collect();
    run(tab.database.import("copy", &manifest, &segments, None)).unwrap();
    let copy = tab.collection("copy");
    assert_eq!(copy.with_engine(|engine| engine.sync().clone()), State::Local);
    assert_eq!(contents(&copy), ids([1, 2]));
    tab.upsert(&copy, 9, 1);
    tab.sync(&server, &copy).unwrap();
    assert_eq!(contents(&copy), ids([1, 2, 9]));
    assert_eq!(live(&server.collection("copy").unwrap().snapshot()), live(&copy.snapshot()));
    assert_eq!(server.collection("notes").unwrap().snapshot().len(), 3, "a delete that nobody has told yet");

    let mut archive = Vec::new();
    run(tab.database.write_archive(async |piece: Vec<u8>| {
        archive.extend(piece);
        Ok(())
    }))
    .unwrap();
    let other = Tab::new(&Platform::new(5), SimulatedKv::new());
    let mut rest = &archive[..];
    let made = run(other.database.read_archive(async |most: usize| {
        let (piece, behind) = rest.split_at(most.min(rest.len()));
        rest = behind;
        Ok(piece.to_vec())
    }));
    for collection in made.unwrap() {
        assert_eq!(collection.sync_status().state, "local", "{}", collection.name());
        other.sync(&server, &collection).unwrap();
    }
    assert_eq!(contents(&other.collection("copy")), ids([1, 2, 9]));
}

#[test]
fn a_new_name_is_everybodys_and_sessions_at_rest_hear_of_it() {
    let (platform, server, tab) = pair();
    let (all, more) = (tab.collection("all"), tab.collection("more"));
    for collection in [&all, &more] {
        tab.upsert(collection, 1, 1);
        tab.sync(&server, collection).unwrap();
    }
    let writer = |collection: &OpenCollection, id| live(&collection.snapshot())[&PointId::Int(id)].2.writer;
    let before = writer(&all, 1);
    // Both write under one name, and the twin tells first.
    let twin = Tab::new(&platform, tab.kv.after_process_death());
    let theirs = twin.collection("all");
    twin.upsert(&theirs, 2, 2);
    twin.sync(&server, &theirs).unwrap();
    tab.upsert(&all, 3, 3);
    all.sync_restart();
    tab.sync(&server, &all).unwrap();
    tab.upsert(&more, 4, 3);
    tab.sync(&server, &more).unwrap();
    for (collection, expected) in [(&all, vec![1, 2, 3]), (&more, vec![1, 4])] {
        assert_eq!(contents(collection), ids(expected), "{}", collection.name());
        let there = server.collection(collection.name()).unwrap();
        assert_eq!(live(&there.snapshot()), live(&collection.snapshot()), "{}", collection.name());
    }
    assert_eq!(writer(&all, 3), writer(&more, 4));
    assert_ne!(writer(&all, 3), before, "another name than the first one's");
}
