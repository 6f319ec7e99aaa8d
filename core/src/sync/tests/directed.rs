//! What random histories hardly reach, and the shortest histories that went wrong once.

use alloc::string::ToString;
use alloc::vec::Vec;

use super::check::run;
use super::recorded::ops;
use super::world::{Client, Store, World};
use crate::log::Stamper;
use crate::sync::{
    Chain, Change, Cursor, Floor, Hello, Leader, Note, Offer, Page, Replica, RowChange, SpaceKey, State, Verdict,
};
use crate::types::{PointId, Stamp};

fn world(text: &str) -> World {
    run(&ops(text), None).unwrap_or_else(|wrong| panic!("{wrong}"))
}

fn live(world: &World) -> Vec<PointId> {
    world.server.store.live().into_keys().collect()
}

/// R9. A page is one change: its bytes are a record of the log, which is there or is not.
#[test]
fn a_page_is_one_change_of_its_rows_and_the_cursor_and_no_part_of_it_can_be_read() {
    let mut world = World::new(None);
    for op in ops("join\njoin\nput 0 1\nput 0 2\npush 0 all 1 arrives") {
        world.run(&op);
    }
    let recs: Vec<_> = world.server.store.0.values().cloned().collect();
    let page: Page = world.server.leader().page(0, recs, None);
    let change = world.clients[1].replica().pull(page.clone());
    let Note::Replica(note) = &change.note else { panic!("a page is for a replica") };
    assert_eq!(note.cursor, Some((page.cursor, page.floor)));
    assert_eq!(change.rows, page.recs.into_iter().map(RowChange::Put).collect::<Vec<_>>());
    let mut bytes = Vec::new();
    change.encode(&mut bytes);
    assert_eq!(Change::decode(&bytes), Ok(change));
    for len in 0..bytes.len() {
        assert!(Change::decode(&bytes[..len]).is_err(), "{len} bytes of {} are a change", bytes.len());
    }
}

/// R3, R12. A replica that was told who is answered leads on: in a later term, from what it has, and answers nobody twice.
#[test]
fn a_replica_that_is_promoted_leads_from_what_it_has_and_answers_nobody_twice() {
    let mut world = World::new(None);
    for op in ops("join\njoin\nput 0 1\nput 0 2\npush 0 all 1 arrives") {
        world.run(&op);
    }
    let old = world.server.leader();
    let recs: Vec<_> = world.server.store.0.values().cloned().collect();
    let page = Page { answered: old.answered_since(0), ..old.page(0, recs, Some(world.server.store.digest())) };
    let (head, acked) = (old.head(), world.clients[0].replica().acked());
    let follower = &mut world.clients[1];
    let change = follower.replica().pull(page);
    follower.apply(&change);
    let lead = Change { rows: Vec::new(), note: Note::Lead(Vec::new()) };
    assert_eq!(follower.state.check(&lead.note), Ok(()));
    follower.state.apply(&lead.note);
    let State::Leader(promoted) = follower.state.clone() else { panic!("it was promoted") };
    assert_eq!(promoted.terms(), [Cursor { epoch: head.epoch + 1, seq: head.seq }]);
    assert_eq!(promoted.head(), promoted.terms()[0]);
    let writer = &world.clients[0];
    let welcome = promoted.welcome(&writer.replica().hello(&writer.stamper));
    assert_eq!((welcome.acked, welcome.rewind, welcome.must_resync), (acked, Some(head.seq), false));
    assert!(!writer.replica().is_forked(&welcome, &writer.stamper));
    let known = world.server.store.0.values().next().unwrap();
    let (id, stamp, body) = (known.id.clone(), known.stamp, known.body.clone());
    let again = Offer { cseq: stamp.cseq, id, stamp, is_change: false, reoffered_above: None, body };
    let (answer, change) = promoted.push(&world.clients[1].store, stamp.writer, &[again], 1_000_000);
    assert!(answer.verdicts.is_empty() && change.is_empty(), "{answer:?}");
}

/// R10. Nothing that a clock says makes an error, or keeps a write from the leader.
#[test]
fn what_a_clock_far_ahead_has_stamped_is_stamped_anew_and_accepted() {
    for skew in [59_000, 61_000, 600_000, 300 * 24 * 3_600_000_i64] {
        let lines = alloc::format!("join\nskew 0 {skew}\nput 0 1\nput 0 2\nput 0 1\npush 0 1 1 arrives\nput 0 3");
        let world = world(&lines);
        let restamped = world.counted("restamped");
        assert_eq!(restamped > 0, skew > 60_000, "{restamped} restamped at {skew} ms");
        let latest = world.server.store.0.values().map(|rec| rec.stamp.hlc >> 16).max().unwrap();
        assert!(latest <= 1_060_000, "{latest} ms at {skew} ms");
        assert_eq!(live(&world).len(), 3);
    }
}

/// R13. Both copies go on under one name; whoever comes second takes another one, and all that either wrote is there.
#[test]
fn the_second_of_two_copies_takes_another_name_and_nothing_of_either_is_lost() {
    let written = "join\nput 0 1\npush 0 all 1 arrives\nput 0 2\ncopy 0\nput 0 3\nput 1 4\nput 1 5\n";
    for rest in ["push 0 all 1 arrives\npush 1 all 1 arrives", "push 1 all 1 arrives\npush 0 all 1 answer-lost"] {
        let world = world(&(written.to_string() + rest));
        assert_eq!(live(&world), [1, 2, 3, 4, 5].map(PointId::Int));
        let writers: Vec<u64> = world.clients.iter().map(|client| client.replica().writer()).collect();
        assert_ne!(writers[0], writers[1]);
    }
}

/// A replica that was restored from an old copy has used counters that are answered.
#[test]
fn a_replica_that_comes_back_from_a_copy_takes_another_name() {
    let lines = "join\nput 0 1\nsave 0\n".to_string()
        + &"put 0 2\n".repeat(100)
        + "push 0 all 1 arrives\nrestore 0\nput 0 3\npush 0 all 1 arrives";
    let world = world(&lines);
    assert_eq!((world.counted("renames"), live(&world)), (1, [1, 2, 3].map(PointId::Int).to_vec()));
}

/// A name with answered re-offers behind it: those have no counter of the new name.
#[test]
fn what_was_offered_again_under_an_old_name_stays_answered_under_a_new_one() {
    world("join\njoin\nfollow\nput 0 2\ncopy 1\npush 0 2 1 answer-lost\npull 1 2\nfailover\nput 2 15");
}

/// A new stamp is no answer for good: when it is lost, the offer is made again.
#[test]
fn a_new_point_is_not_taken_for_refused_when_the_answer_that_it_needs_a_stamp_is_lost() {
    let lines = "join\njoin\nput 0 6\nput 1 3\nwait 1\ndelete 1 3\npush 1 all 1 arrives\nforget 3";
    for push in ["\npush 0 1 2 answer-lost", "\nput 0 7\npush 0 all 1 answer-lost\npush 0 1 1 arrives"] {
        let world = world(&(lines.to_string() + push));
        assert!(world.counted("restamped") > 0 && live(&world).contains(&PointId::Int(6)), "{:?}", world.counts);
    }
}

#[test]
fn from_the_first_offer_on_that_needs_a_stamp_nothing_is_answered_for_good() {
    let leader = Leader::new(SpaceKey([9; 32]), 1);
    let offer = |cseq: u64, ms: u64| {
        let stamp = Stamp { hlc: ms << 16, writer: 1, cseq };
        Offer { cseq, id: PointId::Int(cseq), stamp, is_change: false, reoffered_above: None, body: None }
    };
    let offers = [offer(1, 100), offer(2, 70_000), offer(3, 100), offer(4, 80_000)];
    let (pushed, change) = leader.push(&Store::default(), 1, &offers, 1_000);
    let verdicts = [(1, Verdict::Accepted(1)), (2, Verdict::Restamp), (4, Verdict::Restamp)];
    assert_eq!((pushed.acked.cseq, pushed.now_ms, &pushed.verdicts[..]), (1, 1_000, &verdicts[..]));
    assert_eq!(change.rows.len(), 1);
}

/// The leader has given another's write of an id whose own one is still on its way.
#[test]
fn a_resync_forgets_a_deleted_row_though_an_older_write_of_its_id_is_on_its_way() {
    let lines = "join\njoin\nput 0 1\npush 0 all 1 offers-lost\nput 1 1\npush 1 all 1 arrives\ndelete 1 1\npull 0 all\n\
                 push 1 all 1 arrives\nforget 1";
    assert_eq!(live(&world(lines)), []);
}

/// Between the greeting of one copy and the answer to its push, the other one was answered.
#[test]
fn a_push_that_was_answered_as_the_twins_is_known_by_its_chain() {
    let mut first = Client::new(1);
    let id = PointId::Int(1);
    let mut write = |stamper: &mut Stamper| {
        let stamp = stamper.stamp(1_000, 1).unwrap();
        let rec = crate::log::Rec { id: id.clone(), stamp, seq: 0, body: None };
        first.store.apply(&[RowChange::Put(rec)]);
        stamp
    };
    let mut stamper = Stamper::new(1, 0, 1);
    stamper.reserve(100);
    let stamp = write(&mut stamper);
    let (offers, change) = first.replica().push(&first.store, 1 << 20);
    first.apply(&change.unwrap());
    let leader = Leader::new(SpaceKey([9; 32]), 1);
    let (own, _) = leader.push(&Store::default(), 1, &offers, 1_000);
    assert!(!first.replica().has_twin(own.acked, &stamper));
    let other = [Offer { id: PointId::Int(2), stamp, ..offers[0].clone() }];
    let (twins, _) = leader.push(&Store::default(), 1, &other, 1_000);
    assert!(first.replica().has_twin(twins.acked, &stamper), "{:?} and {:?}", own.acked, twins.acked);
    let restarted = Stamper::new(1, 0, 100);
    assert!(!first.replica().has_twin(twins.acked, &restarted), "it may have sent that and lost power");
}

/// R12. Nobody numbers in a term that another leader has had, and where the histories of two may differ, everybody goes back.
#[test]
fn who_is_promoted_without_having_heard_of_the_term_before_sends_everybody_back_to_where_all_agree() {
    let mut replica = State::Replica(Replica::new(1, SpaceKey([9; 32]), 7));
    let State::Replica(state) = &replica else { panic!("it is one") };
    let page = Page {
        cursor: Cursor { epoch: 1, seq: 80 },
        floor: Floor { seq: 20, hlc: 5 },
        recs: Vec::new(),
        answered: Vec::new(),
        up_to_date: None,
    };
    let note = state.pull(page).note;
    replica.apply(&note);
    let State::Replica(state) = replica.clone() else { panic!("it is one") };
    assert_eq!(state.missed(2), [], "its leader is the one before");
    let heard = state.missed(3);
    replica.apply(&Note::Lead(heard));
    let State::Leader(leader) = &replica else { panic!("it was promoted") };
    assert_eq!(leader.head(), Cursor { epoch: 3, seq: 80 });
    for epoch in [1, 2] {
        let cursor = Cursor { epoch, seq: 60 };
        let hello = Hello { writer: 8, next_cseq: 1, acked: Chain::default(), cursor, is_resyncing: false };
        let welcome = leader.welcome(&hello);
        assert_eq!((welcome.rewind, welcome.must_resync), (Some(20), false), "in term {epoch}");
    }
}

/// R1. What a replica has forgotten stays so under a leader that remembers it, or the next one would not know.
#[test]
fn the_floor_of_a_replica_does_not_go_back_with_its_leaders() {
    let mut replica = State::Replica(Replica::new(1, SpaceKey([9; 32]), 7));
    for (epoch, floor) in [(1, 20), (2, 0)] {
        let State::Replica(state) = &replica else { panic!("it is one") };
        let (cursor, floor) = (Cursor { epoch, seq: 30 }, Floor { seq: floor, hlc: floor });
        let note = state.pull(Page { cursor, floor, recs: Vec::new(), answered: Vec::new(), up_to_date: None }).note;
        replica.apply(&note);
    }
    let State::Replica(state) = &replica else { panic!("it is one") };
    assert_eq!(state.floor(), Floor { seq: 20, hlc: 20 });
}
