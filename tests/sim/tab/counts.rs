//! How often: tabs killed at a request, power lost, every n-th request and commit of a life struck.

use hyperspace_wasm::kv::Fault;

use super::world::{Plan, World};
use crate::random::effort;

/// Lives histories by their seeds until `what` has happened so often.
fn until(plan: Plan, what: &'static str, wanted: usize) -> usize {
    let mut done = 0;
    for seed in 0.. {
        let trace = World::new(seed, plan).live();
        let trace = trace.unwrap_or_else(|violation| panic!("{plan:?}, seed {seed}: {violation:?}"));
        done += trace.counts.get(what).copied().unwrap_or(0) as usize;
        if done >= wanted {
            break;
        }
    }
    println!("{what}: {done}");
    done
}

#[test]
fn tabs_killed_in_the_middle_of_anything_lose_nothing_acknowledged() {
    let wanted = effort(10_000, 500_000, 2_000_000);
    assert!(until(Plan::KILLS, "tab kills", wanted) >= wanted);
}

#[test]
fn lost_relaxed_commits_leave_a_prefix_and_never_a_mix() {
    let wanted = effort(10_000, 500_000, 2_000_000);
    assert!(until(Plan::POWER, "losses of power", wanted) >= wanted);
}

/// Strikes one life at every request (or commit) in turn.
fn every_nth(seed: u64, fault: impl Fn(u64) -> Fault) -> usize {
    for n in 0.. {
        let world = World::new(seed, Plan::CALM);
        let kv = world.kv.clone();
        kv.arm(fault(n));
        drop(world.live_through().unwrap_or_else(|violation| panic!("seed {seed}, {:?}: {violation:?}", fault(n))));
        if kv.is_armed() {
            return n as usize;
        }
    }
    unreachable!("a life has an end")
}

#[test]
fn a_fault_at_any_request_or_commit_loses_nothing_acknowledged() {
    type Make = fn(u64) -> Fault;
    let faults: [(&str, Make); 6] = [
        ("aborted", Fault::Abort),
        ("refused for want of room", Fault::Quota),
        ("answers lost", Fault::LostAnswer),
        ("hanging and applied", |n| Fault::Hang(n, true)),
        ("hanging and not applied", |n| Fault::Hang(n, false)),
        ("killed behind a commit", Fault::DeathBehind),
    ];
    for (what, fault) in faults {
        let struck: usize = (0..effort(6, 100, 1_000) as u64).map(|seed| every_nth(seed, fault)).sum();
        println!("transactions {what}: {struck}");
        assert!(struck > 100, "{struck} {what}");
    }
}
