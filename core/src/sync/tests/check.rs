//! What must hold of a world in which everything has come to rest, and the search for the shortest history in which it
//! does not.

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::panic::AssertUnwindSafe;
use std::panic::catch_unwind;

use super::op::Op;
use super::world::{Rule, World, original};
use crate::sync::Rows;
use crate::types::PointId;

/// Runs a history; answers with the world at the end, or with what is wrong with it.
pub(super) fn run(ops: &[Op], without: Option<Rule>) -> Result<World, String> {
    let run = || {
        let mut world = World::new(without);
        ops.iter().for_each(|op| world.run(op));
        check(&mut world).map(|()| world)
    };
    caught(run)
}

/// A panic is something wrong as well.
pub(super) fn caught<T>(run: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref().copied());
        Err(format!("it panicked: {}", text.unwrap_or("without a message")))
    })
}

/// Leaves out of a history that goes wrong whatever it goes wrong without, in the same way.
pub(super) fn shorten(mut ops: Vec<Op>, wrong: &str) -> Vec<Op> {
    let way = |wrong: &str| wrong.chars().filter(|c| !c.is_ascii_digit()).take(25).collect::<String>();
    let is_same = |rest: &[Op]| run(rest, None).is_err_and(|other| way(&other) == way(wrong));
    let mut step = ops.len() / 2;
    while step > 0 {
        let mut at = 0;
        while at < ops.len() {
            let rest: Vec<Op> = ops[..at].iter().chain(ops.iter().skip(at + step)).cloned().collect();
            if is_same(&rest) {
                ops = rest;
            } else {
                at += step;
            }
        }
        step /= 2;
    }
    ops
}

/// A history as lines.
pub(super) fn lines(ops: &[Op]) -> String {
    ops.iter().map(Op::line).collect::<Vec<_>>().join("\n")
}

/// Lets everything come to rest; then looks at everything that must hold.
pub(super) fn check(world: &mut World) -> Result<(), String> {
    let pending = pending(world);
    world.rest();
    converged(world)?;
    nothing_is_back(world)?;
    let has = |what| world.counted(what) > 0;
    let (has_failovers, has_rot) = (has("failovers"), has("rows lost") || has("rows altered"));
    // Whoever went back, or is a copy, may have sent what it does not know of. It cannot tell whether that was deleted
    // since, and may refuse to guess.
    let goes_back = has("power losses") || has("restored copies");
    if has("renames") && !has("copies") && !has("restored copies") && !has_failovers {
        return Err("a replica took another name, and nobody had written under its own".to_string());
    }
    if has_failovers || has_rot {
        return Ok(());
    }
    if has("repairs") {
        return Err("nothing was lost, and yet the digests differed".to_string());
    }
    newest_are_live(world)?;
    nothing_accepted_is_gone(world)?;
    nothing_pending_is_gone(world, &pending)?;
    if goes_back {
        return Ok(());
    }
    if !has("copies") {
        nothing_is_refused_without_a_delete(world)?;
    }
    authors_have_their_way(world)
}

/// New points that wait in an outbox.
fn pending(world: &World) -> BTreeSet<PointId> {
    let outboxes = world.clients.iter().flat_map(|client| client.replica().outbox(&client.store));
    outboxes.map(|(_, known)| known).filter(|known| known.seq == 0).map(|known| known.id).collect()
}

fn nothing_pending_is_gone(world: &World, pending: &BTreeSet<PointId>) -> Result<(), String> {
    let live = world.server.store.live();
    let is_gone = |id: &&PointId| !live.contains_key(*id) && !was_deleted(world, id) && !was_refused(world, id);
    let gone = pending.iter().find(is_gone);
    gone.map_or(Ok(()), |id| Err(format!("{id} waited in an outbox, was never deleted, and is gone")))
}

/// The application was told.
fn was_refused(world: &World, id: &PointId) -> bool {
    world.clients.iter().any(|client| client.replica().conflicts().iter().any(|offer| offer.id == *id))
}

fn was_deleted(world: &World, id: &PointId) -> bool {
    world.deleted.contains(id)
}

fn converged(world: &World) -> Result<(), String> {
    let live = world.server.store.live();
    for (at, client) in world.clients.iter().enumerate() {
        let replica = client.replica();
        if !replica.is_answered(&client.store) {
            return Err(format!("the outbox of client {at} still has {:?}", replica.outbox(&client.store)));
        }
        let own = client.store.live();
        if own != live {
            let here: Vec<_> = own.iter().filter(|(id, stamp)| live.get(id) != Some(stamp)).collect();
            let there: Vec<_> = live.iter().filter(|(id, stamp)| own.get(id) != Some(stamp)).collect();
            return Err(format!("diverged: only client {at} has {here:?}, only the leader {there:?}"));
        }
        if client.store.digest() != world.server.store.digest() {
            return Err(format!("client {at} and the leader have the same points with other digests"));
        }
    }
    Ok(())
}

fn nothing_is_back(world: &World) -> Result<(), String> {
    for (id, deleted) in world.server.forgotten.iter().filter(|(id, _)| !world.twins.contains(*id)) {
        let body = world.server.store.newest(&id.key()).and_then(|rec| rec.body);
        if body.is_some_and(|body| original(&body) < *deleted) {
            return Err(format!("{id} was deleted and is back"));
        }
    }
    Ok(())
}

fn newest_are_live(world: &World) -> Result<(), String> {
    for (id, stamp) in world.server.store.live() {
        let newest = world.accepted.iter().filter(|rec| rec.id == id).map(|rec| rec.stamp).max();
        if newest != Some(stamp) {
            return Err(format!("{id} is at {stamp:?}, {newest:?} was accepted"));
        }
    }
    Ok(())
}

fn nothing_accepted_is_gone(world: &World) -> Result<(), String> {
    let live = world.server.store.live();
    let gone = world.accepted.iter().find(|rec| !live.contains_key(&rec.id) && !was_deleted(world, &rec.id));
    gone.map_or(Ok(()), |rec| Err(format!("{} was accepted, never deleted, and is gone", rec.id)))
}

fn nothing_is_refused_without_a_delete(world: &World) -> Result<(), String> {
    let live = world.server.store.live();
    let mut refused = world.clients.iter().flat_map(|client| client.replica().conflicts());
    let wrong = refused.find(|offer| !was_deleted(world, &offer.id) && !live.contains_key(&offer.id));
    wrong.map_or(Ok(()), |offer| Err(format!("{} was refused, nobody had deleted it, and it is gone", offer.id)))
}

/// Where nobody else wrote an id, the last write of its author stands.
fn authors_have_their_way(world: &World) -> Result<(), String> {
    for (id, author) in world.authors.iter().filter(|(_, author)| author.clients.len() == 1) {
        let body = world.server.store.newest(&id.key()).and_then(|rec| rec.body);
        let last = body.as_ref().map(original);
        if last != author.last && !was_refused(world, id) {
            return Err(format!("{id} was written by one client, at last {:?}, and is {last:?}", author.last));
        }
    }
    Ok(())
}
