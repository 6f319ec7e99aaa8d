//! Messages between tabs and servers. Any of them may be lost, come twice, or come after any later one; a cut between two
//! nodes, in one direction or both, loses all.

use std::borrow::Cow;
use std::collections::BTreeSet;

use hyperspace_core::error::ErrorKind;
use hyperspace_core::sync::{Answer, Ask};
use hyperspace_server::proto::{AcknowledgeRequest, LeaderMessage, ReplicateRequest};

use super::counts::Counts;
use crate::random::Random;
use crate::sync::service::Asker;

/// One message in so many is lost, and one in so many comes twice.
const LOSS: usize = 14;
const REPEAT: usize = 10;
/// Messages that are on their way at most: the oldest are lost.
const MOST: usize = 200;

/// Who sends and receives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Node {
    Server(usize),
    Profile(usize),
}

/// What is said.
#[derive(Clone, Debug)]
pub(super) enum Payload {
    /// A tab's question, as it travels.
    Question { method: Cow<'static, str>, body: Vec<u8> },
    /// A follower's.
    Ask(Asker, Ask),
    /// Tell me what there is.
    Replicate(ReplicateRequest),
    /// This is durable here.
    Acknowledge(AcknowledgeRequest),
    /// To the message of this number.
    Reply(u64, Reply),
}

/// What is answered.
#[derive(Clone, Debug)]
pub(super) enum Reply {
    Refused(ErrorKind),
    ToTab(Vec<u8>),
    ToFollower(Answer),
    Told(LeaderMessage),
    Noted,
}

/// A message on its way.
#[derive(Clone, Debug)]
pub(super) struct Message {
    pub(super) number: u64,
    pub(super) from: Node,
    pub(super) to: Node,
    pub(super) payload: Payload,
}

/// All messages on their way.
#[derive(Debug, Default)]
pub(super) struct Network {
    messages: Vec<Message>,
    /// Nothing gets from the first to the second.
    cuts: BTreeSet<(Node, Node)>,
    sent: u64,
    is_healed: bool,
}

impl Network {
    /// Sends something; answers its number.
    pub(super) fn send(&mut self, from: Node, to: Node, payload: Payload) -> u64 {
        self.sent += 1;
        self.messages.push(Message { number: self.sent, from, to, payload });
        if self.messages.len() > MOST {
            self.messages.remove(0);
        }
        self.sent
    }

    /// What arrives next, unless that is lost.
    pub(super) fn take(&mut self, random: &mut Random, counts: &Counts) -> Option<Message> {
        if self.messages.is_empty() {
            return None;
        }
        let at = random.below(self.messages.len());
        let (from, to) = (self.messages[at].from, self.messages[at].to);
        let is_late = self.messages[..at].iter().any(|earlier| (earlier.from, earlier.to) == (from, to));
        if !self.is_healed && random.one_in(REPEAT) && !self.cuts.contains(&(from, to)) {
            counts.count("messages that come again");
            return Some(self.messages[at].clone());
        }
        let message = self.messages.remove(at);
        if self.cuts.contains(&(from, to)) {
            counts.count("messages cut off");
            return None;
        }
        if !self.is_healed && random.one_in(LOSS) {
            counts.count("messages lost");
            return None;
        }
        if is_late {
            counts.count("messages that overtake others");
        }
        Some(message)
    }

    /// Cuts a direction.
    pub(super) fn cut(&mut self, from: Node, to: Node) {
        self.cuts.insert((from, to));
    }

    /// Ends all cuts.
    pub(super) fn join(&mut self) {
        self.cuts.clear();
    }

    /// From here on everything arrives, in any order.
    pub(super) fn heal(&mut self) {
        self.join();
        self.is_healed = true;
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }
}
