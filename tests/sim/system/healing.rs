//! In the end all faults are over, everything arrives, and everybody goes on until nothing is left to do. Then all servers and
//! tabs show the same, and nothing that was accepted is lost.

use std::collections::{BTreeMap, BTreeSet};

use hyperspace_core::sync::{Cursor, Digest, Known};
use hyperspace_core::types::PointId;

use super::NAMES;
use super::server::Process;
use super::world::{World, floor};
use crate::seeds::Trace;
use crate::server::harness::sim::Crash;
use crate::sync::drive::Checked;
use crate::sync::lent::{Told, live};
use crate::sync::life::Life;

/// Looks after which whoever is not at rest never will be.
const PATIENCE: usize = 6_000;
/// One brings everything to the leader, another one everything to everybody; names change in between.
const ROUNDS: usize = 4;

/// What a server shows of a collection, and what that amounts to.
type Shown = (BTreeMap<PointId, Told>, Digest);

impl World {
    pub(super) fn finish(mut self) -> Checked<Trace> {
        self.network.heal();
        for at in 0..self.servers.len() {
            self.start(at, Crash::Process)?;
        }
        if self.promoting.is_some() {
            return Err("a promotion does not end".into());
        }
        for at in 0..self.servers.len() {
            self.turn(at)?;
        }
        self.empty_network()?;
        self.remove_strangers()?;
        for profile in &mut self.profiles {
            profile.server = self.leader;
            profile.heal(&self.counts)?;
        }
        for _ in 0..ROUNDS {
            self.settle_tabs()?;
            self.settle_servers()?;
        }
        for name in NAMES {
            self.compare(name)?;
        }
        let refused: u64 = self.profiles.iter().map(super::profile::Profile::refused).sum();
        self.counts.count_all("writes that tabs are told to be refused", refused);
        // What was agreed on is what is stored.
        for at in 0..self.servers.len() {
            self.start(at, Crash::Power)?;
        }
        for name in NAMES {
            self.compare(name)?;
        }
        for profile in &mut self.profiles {
            profile.check(Life::allows_in_the_end)?;
            profile.heal(&self.counts)?;
            profile.check(Life::allows_in_the_end)?;
        }
        Ok(self.trace())
    }

    /// Whatever is on its way arrives: also from machines that are gone, which register once more.
    fn empty_network(&mut self) -> Checked {
        for _ in 0..PATIENCE {
            if self.network.is_empty() {
                return Ok(());
            }
            self.deliver()?;
        }
        Err("messages that are on their way become no fewer".into())
    }

    /// An administrator removes followers that are none of these servers: what is gone is waited for in vain.
    fn remove_strangers(&self) -> Checked {
        let running = || self.servers.iter().filter_map(|server| server.process.as_ref());
        let numbers: BTreeSet<u64> = running().map(|process| process.database().number()).collect();
        let leader = running().nth(self.leader).ok_or("the leader is down")?;
        let strangers = leader.member.followers().into_iter().filter(|follower| !numbers.contains(follower));
        { strangers }
            .try_for_each(|stranger| leader.member.remove(stranger).map(drop).map_err(|error| error.to_string()))
    }

    /// Every session comes to rest once more.
    fn settle_tabs(&mut self) -> Checked {
        let mut rest: BTreeSet<(usize, &'static str)> =
            (0..self.profiles.len()).flat_map(|at| NAMES.map(|name| (at, name))).collect();
        for _ in 0..PATIENCE {
            if rest.is_empty() {
                return Ok(());
            }
            for (at, name) in rest.clone() {
                if self.profiles[at].tick(name, &mut self.network, &mut self.random, &self.counts)? {
                    rest.remove(&(at, name));
                }
            }
            self.go_on()?;
        }
        Err(format!("the sessions of {rest:?} do not come to rest"))
    }

    /// Every follower has what its leader has.
    pub(super) fn settle_servers(&mut self) -> Checked {
        for _ in 0..PATIENCE {
            if self.servers_are_equal() {
                return Ok(());
            }
            self.go_on()?;
        }
        Err(format!("the followers of {} do not come to rest", self.leader))
    }

    fn go_on(&mut self) -> Checked {
        for at in 0..self.servers.len() {
            self.tick(at)?;
            self.release(at);
        }
        for _ in 0..20 {
            if self.network.is_empty() {
                break;
            }
            self.deliver()?;
        }
        Ok(())
    }

    fn servers_are_equal(&self) -> bool {
        let stand = |process: &Process| -> Option<Vec<Cursor>> {
            let each = NAMES.iter().map(|name| process.database().cursor(&*process.collection(name)?));
            each.collect()
        };
        let Some(leader) = &self.servers[self.leader].process else { return false };
        let Some(wanted) = stand(leader) else { return false };
        let others = self.servers.iter().enumerate().filter(|(at, _)| *at != self.leader);
        { others }.all(|(_, server)| {
            server
                .process
                .as_ref()
                .is_some_and(|process| process.is_at_rest() && stand(process).as_ref() == Some(&wanted))
        })
    }

    /// Everybody shows the same of a collection, which is what was accepted.
    fn compare(&mut self, name: &'static str) -> Checked {
        let (expected, digest) = self.shown(self.leader, name)?;
        for at in 0..self.servers.len() {
            if self.shown(at, name)? != (expected.clone(), digest) {
                return Err(format!("server {at} and server {}, which leads, do not agree on {name}", self.leader));
            }
        }
        let (deleted, floor) = self.deleted(self.leader, name);
        for at in 0..self.servers.len() {
            // Of what it has forgotten itself, a leader before this one had seen that nobody needs it.
            let (known, own) = self.deleted(at, name);
            let kept = deleted.iter().filter(|delete| delete.seq > floor.max(own));
            if let Some(missing) =
                { kept }.find(|delete| known.iter().all(|own| (&own.id, own.stamp) != (&delete.id, delete.stamp)))
            {
                return Err(format!("server {at} has forgotten of {name} that {missing:?} was deleted"));
            }
        }
        for (at, profile) in self.profiles.iter().enumerate() {
            let collection = profile.collection(name).ok_or("a collection is missing in a tab")?;
            if collection.with_engine(|engine| (live(&engine.snapshot()), engine.digest()))
                != (expected.clone(), digest)
            {
                return Err(format!("profile {at} and server {} do not agree on {name}", self.leader));
            }
        }
        self.model.check(name, &expected)?;
        self.counts.count_all("points in the end", expected.len() as u64);
        self.note(&expected);
        Ok(())
    }

    fn shown(&self, at: usize, name: &str) -> Checked<Shown> {
        let process = self.servers[at].process.as_ref().ok_or("a server is down")?;
        let collection = process.collection(name).ok_or("a collection is missing at a server")?;
        collection.with_engine(|engine| {
            if engine.digest() != engine.recount() {
                return Err(format!("the digest of {name} at server {at} is not that of its points"));
            }
            Ok((live(&engine.snapshot()), engine.digest()))
        })
    }

    /// The deletes that a server knows, and up to where it may have forgotten them.
    fn deleted(&self, at: usize, name: &str) -> (Vec<Known>, u64) {
        let collection = self.servers[at].process.as_ref().and_then(|process| process.collection(name));
        let known = collection.map(|collection| collection.with_engine(|engine| (engine.deletes(), floor(engine))));
        known.unwrap_or_default()
    }
}
