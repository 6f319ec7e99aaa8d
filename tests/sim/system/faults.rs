//! What goes wrong, and what administrators do about it.

use hyperspace_core::sync::Rows as _;
use hyperspace_server::settings::WriteConcern;

use super::NAMES;
use super::network::Node;
use super::world::{RIGHT_MS, World};
use crate::server::harness::sim::Crash;
use crate::sync::drive::Checked;

impl World {
    /// Something goes wrong, or is mended.
    pub(super) fn fault(&mut self, profile: usize, server: usize) -> Checked {
        match self.random.below(24) {
            0 => self.profiles[profile].die(&self.counts),
            1 => {
                let version = self.next_version();
                self.profiles[profile].take_over(version, &self.counts)
            }
            2 if !self.has_wrong_clocks => self.profiles[profile].lose_power(&self.counts),
            3 => {
                self.profiles[profile].arm(&mut self.random);
                self.counts.count("faults of a tab's store");
                Ok(())
            }
            4 => {
                self.profiles[profile].disarm();
                Ok(())
            }
            5..8 => {
                let calls = 1 + self.random.below(40);
                self.servers[server].halt_after(calls);
                Ok(())
            }
            8..13 => self.restart(server),
            13 => {
                self.cut(profile, server);
                Ok(())
            }
            14 | 15 => {
                self.network.join();
                Ok(())
            }
            16 if self.random.one_in(2) => self.promote(),
            17 | 18 => self.turn(server),
            19 => {
                self.set_clocks(profile, server);
                Ok(())
            }
            20 | 21 => {
                self.platform.pass(200 + self.random.next() % 3_000);
                Ok(())
            }
            22 => self.remove(),
            23 if self.random.one_in(3) => self.lose_disk(server),
            _ => Ok(()),
        }
    }

    /// A server that is down begins again; one that runs dies first.
    fn restart(&mut self, at: usize) -> Checked {
        if self.servers[at].process.is_some() {
            if !self.random.one_in(8) {
                return Ok(());
            }
            self.counts.count("servers that are killed");
        }
        let crash = if self.random.one_in(2) { Crash::Power } else { Crash::Process };
        if matches!(crash, Crash::Power) {
            self.counts.count("servers that lose power");
        }
        self.start(at, crash)
    }

    /// Starts a server; the administrator goes on with a promotion that was not answered.
    pub(super) fn start(&mut self, at: usize, crash: Crash) -> Checked {
        self.counts.count("starts of servers");
        self.servers[at].start(crash, &mut self.random)?;
        if self.promoting == Some(at) { self.promote() } else { Ok(()) }
    }

    /// The network falls apart: a server is cut off from another one, or from all; in one direction, or in both.
    fn cut(&mut self, profile: usize, server: usize) {
        self.counts.count("cuts of the network");
        let own = Node::Server(server);
        let others = (0..self.servers.len()).filter(|&at| at != server).map(Node::Server);
        let everybody: Vec<Node> = others.chain((0..self.profiles.len()).map(Node::Profile)).collect();
        let chosen: Vec<Node> = match self.random.below(4) {
            0 => everybody,
            1 => vec![Node::Profile(profile)],
            _ => vec![everybody[self.random.below(2)]],
        };
        let direction = self.random.below(3);
        for other in chosen {
            if direction != 0 {
                self.network.cut(own, other);
            }
            if direction != 1 {
                self.network.cut(other, own);
            }
        }
    }

    /// An administrator makes a follower the leader: one that knows of the last promotion and has all collections, but perhaps
    /// not all points. The old leader may go on for a while.
    pub(super) fn promote(&mut self) -> Checked {
        let newest = self.servers.iter().map(|server| server.term).max().unwrap_or(0);
        let may = |at: usize| {
            let server = &self.servers[at];
            server.process.as_ref().is_some_and(|process| {
                !process.leads() && server.term == newest && process.database().everything().len() == NAMES.len()
            })
        };
        let fitting: Vec<usize> = match self.promoting {
            Some(at) => (at..=at).filter(|&at| self.servers[at].process.is_some()).collect(),
            None => (0..self.servers.len()).filter(|&at| may(at)).collect(),
        };
        if fitting.is_empty() {
            return Ok(());
        }
        let at = fitting[self.random.below(fitting.len())];
        self.promoting = Some(at);
        let lags = self.lags(at);
        let process = self.servers[at].process.as_ref().expect("it is up");
        let promoted = process.member.promote();
        if self.servers[at].look() {
            self.counts.count("servers that stop in the midst of a promotion");
            return Ok(());
        }
        promoted.map_err(|error| format!("server {at} is not promoted: {error}"))?;
        (self.leader, self.promoting) = (at, None);
        self.profiles.iter_mut().for_each(super::profile::Profile::see_change);
        self.counts.count("promotions");
        if lags {
            self.counts.count("promotions of a server that lags");
        }
        Ok(())
    }

    /// Whether another server has come further.
    fn lags(&self, at: usize) -> bool {
        let stands = |at: usize, name: &str| {
            let process = self.servers[at].process.as_ref()?;
            process.database().cursor(&*process.collection(name)?)
        };
        let is_behind = |name: &&str| {
            let own = stands(at, name);
            let others = (0..self.servers.len()).filter_map(|other| stands(other, name));
            { others }.any(|other| own.is_some_and(|own| (own.epoch, own.seq) < (other.epoch, other.seq)))
        };
        NAMES.iter().any(is_behind)
    }

    /// An administrator tells a server to follow the one that was promoted last.
    pub(super) fn turn(&mut self, at: usize) -> Checked {
        if at == self.leader || self.promoting == Some(at) || self.servers[at].follows == Some(self.leader) {
            return Ok(());
        }
        let has_led = self.servers[at].process.as_ref().is_some_and(super::server::Process::leads);
        self.counts.count(if has_led { "leaders told to follow" } else { "followers told to follow another one" });
        self.servers[at].follows = Some(self.leader);
        self.start(at, Crash::Process)
    }

    fn set_clocks(&mut self, profile: usize, server: usize) {
        let (of_server, of_profile) = (self.random.next() % 30_000, self.random.next() % (2 * RIGHT_MS));
        if self.has_wrong_clocks {
            self.counts.count("clocks that jump");
            // Servers agree within half a minute.
            self.servers[server].set_clock(RIGHT_MS - 15_000 + of_server);
            self.profiles[profile].set_clock(of_profile);
        }
    }

    /// An administrator removes a follower by mistake; it comes back.
    fn remove(&mut self) -> Checked {
        let Some(process) = self.servers[self.leader].process.as_ref().filter(|process| process.leads()) else {
            return Ok(());
        };
        let followers = process.member.followers();
        if followers.len() < 2 {
            return Ok(());
        }
        let removed = process.member.remove(followers[self.random.below(followers.len())]);
        if self.servers[self.leader].look() {
            return Ok(());
        }
        self.counts.count("followers that are removed");
        removed.map(drop).map_err(|error| error.to_string())
    }

    /// A server is lost with its disk; when it led, another one is promoted. What no other server has is lost, unless a
    /// majority was asked for.
    fn lose_disk(&mut self, at: usize) -> Checked {
        let is_everybody_up = self.servers.iter().all(|server| server.process.is_some());
        if self.has_lost_disk || self.promoting.is_some() || !is_everybody_up {
            return Ok(());
        }
        if at == self.leader {
            self.promote()?;
            if self.leader == at {
                return Ok(());
            }
        }
        self.has_lost_disk = true;
        let number = self.servers[at].process.as_ref().map(|process| process.database().number());
        self.servers[at].lose();
        self.servers[at].follows = Some(self.leader);
        self.counts.count("disks that are lost");
        if self.concern == WriteConcern::Leader {
            let others = self.servers.iter().filter_map(|server| server.process.as_ref()).collect::<Vec<_>>();
            let lost = self.model.lose(|(name, id), stamp| {
                let has = |process: &&super::server::Process| {
                    let collection = process.collection(name)?;
                    collection.with_engine(|engine| engine.known(&id.key())).filter(|known| known.stamp >= stamp)
                };
                others.iter().any(|process| has(process).is_some())
            });
            self.counts.count_all("writes lost with a disk", lost as u64);
        }
        self.profiles.iter_mut().for_each(super::profile::Profile::doubt);
        if let (Some(number), Some(process)) = (number, &self.servers[self.leader].process)
            && process.leads()
        {
            let removed = process.member.remove(number);
            if !self.servers[self.leader].look() {
                removed.map_err(|error| error.to_string())?;
            }
        }
        Ok(())
    }
}
