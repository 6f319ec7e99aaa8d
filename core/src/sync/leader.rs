//! The leader of a space: it numbers writes, answers offers, and says what a replica has to do.
//!
//! Invariants: numbers rise; each id has one number, that of its newest write; what is counted as answered of a writer
//! becomes durable with the rows of those answers (R2), and is kept for longer than any replica sleeps (R3).

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use crate::log::Rec;
use crate::map::Map;
use crate::sort::sort_by_key;
use crate::types::{IdKey, Stamp};

use super::digest::{Digest, SpaceKey};
use super::message::{Chain, Cursor, Floor, Hello, Known, Offer, Page, Pushed, RowChange, Rows, Verdict, Welcome};
use super::replica::Replica;
use super::state::{Change, Note};

/// A stamp may be so far ahead of the leader's clock (R10). Servers' clocks may differ by as much, so what an earlier leader
/// has accepted may be twice that ahead.
pub const MAX_LEAD_MS: u64 = 60_000;

/// Bytes of winners (R14) after which no more offers are answered: each would be another row in the answer.
const MOST_WINNERS: usize = 1 << 20;

/// What a leader knows of a space beside its rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leader {
    pub(super) key: SpaceKey,
    pub(super) epoch: u32,
    /// Where each term after the first began.
    pub(super) terms: Vec<Cursor>,
    pub(super) head: u64,
    pub(super) floor: Floor,
    pub(super) answered: Map<u64, Answered>,
}

/// Up to where a writer is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Answered {
    pub(super) chain: Chain,
    /// The newest number at that time.
    pub(super) head: u64,
}

/// What changes at a leader beside rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeaderNote {
    /// Up to where a writer is answered.
    pub answered: Option<(u64, Chain)>,
    /// Where tombstones may be forgotten.
    pub floor: Option<Floor>,
}

impl Leader {
    /// The leader of a space that is empty, in its first term; 1 unless servers had other leaders before.
    pub const fn new(key: SpaceKey, epoch: u32) -> Self {
        let floor = Floor { seq: 0, hlc: 0 };
        Self { key, epoch, terms: Vec::new(), head: 0, floor, answered: Map::new() }
    }

    /// The key of the space's digests.
    pub const fn key(&self) -> &SpaceKey {
        &self.key
    }

    /// The present term, and the newest number.
    pub const fn head(&self) -> Cursor {
        Cursor { epoch: self.epoch, seq: self.head }
    }

    /// Below it tombstones may be forgotten.
    pub const fn floor(&self) -> Floor {
        self.floor
    }

    /// Where each term after the first began.
    pub fn terms(&self) -> &[Cursor] {
        &self.terms
    }

    /// Begins a new term at what a replica has, and whoever knows more offers it again (R12). `heard` are the terms of
    /// other leaders; it must have heard of all in which anything was answered. Of a later term than its own it has nothing,
    /// so what it has behind the beginning of that one is not what others have under the same numbers: it is told anew. So is
    /// what is above the number `open`, where it went back to offer what it had, and has not been answered.
    #[must_use]
    pub(super) fn promoted(mut self, heard: &[Cursor], open: Option<u64>) -> Self {
        let missed = heard.iter().filter(|term| term.epoch > self.epoch).map(|term| term.seq);
        let start = missed.chain(open).fold(self.head, u64::min);
        let known = self.terms.last().map_or(self.epoch, |term| term.epoch);
        self.terms.extend(heard.iter().filter(|term| term.epoch > known));
        self.epoch = self.terms.last().map_or(self.epoch, |term| term.epoch).max(self.epoch) + 1;
        self.terms.push(Cursor { epoch: self.epoch, seq: start });
        self
    }

    /// Makes the leader a replica, of whoever leads now; `writer` writes here from now on, another one than before. All rows
    /// have numbers, so there is nothing to offer until the other one's history turns out to end before them (R12).
    pub fn demoted(&self, space: u64, writer: u64) -> Change {
        let mut replica = Replica::new(space, self.key, writer);
        (replica.cursor, replica.floor) = (self.head(), self.floor);
        replica.terms.clone_from(&self.terms);
        replica.answered = self.answered.iter().map(|(&writer, answered)| (writer, answered.chain)).collect();
        Change { rows: Vec::new(), note: Note::Follow(replica) }
    }

    /// Says what a replica has to do, and up to where its writes are answered.
    pub fn welcome(&self, hello: &Hello) -> Welcome {
        let acked = self.answered.get(&hello.writer).map(|answered| answered.chain).unwrap_or_default();
        let is_forked = acked.cseq >= hello.next_cseq || acked.cseq == hello.acked.cseq && acked != hello.acked;
        let later = self.terms.iter().filter(|term| term.epoch > hello.cursor.epoch);
        let rewind = later.map(|term| term.seq).min();
        let known_up_to = rewind.map_or(hello.cursor.seq, |start| start.min(hello.cursor.seq));
        let must_resync = !hello.is_resyncing && (hello.cursor.epoch > self.epoch || known_up_to < self.floor.seq);
        let terms = self.terms.clone();
        Welcome { head: self.head(), floor: self.floor, terms, acked, is_forked, rewind, must_resync }
    }

    /// Up to where tombstones may be forgotten at all: what a replica offers again after a change of leaders must not be
    /// taken for a point that was deleted (R11).
    pub fn forgettable(&self) -> u64 {
        self.terms.iter().map(|term| term.seq).min().unwrap_or(self.head)
    }

    /// Answers offers of a writer, in the order of their counters. What was answered before is passed over (R2). Nothing is
    /// answered for good from the first offer on that needs a new stamp: counters tell what is answered, so it would count
    /// as answered too, and be taken for refused if this answer is lost. What is left without a verdict, also because the
    /// answer would be too long with it, is sent again.
    pub fn push(&self, rows: &impl Rows, writer: u64, offers: &[Offer], now_ms: u64) -> (Pushed, Change) {
        let mut step = Step { rows, head: self.head, recs: Map::new() };
        let before = self.answered.get(&writer).map(|answered| answered.chain).unwrap_or_default();
        let mut acked = before;
        let mut verdicts = Vec::with_capacity(offers.len());
        // Later writes of an id wait for the earlier one's new stamp (R7).
        let mut restamped = BTreeSet::new();
        let mut winners = 0;
        for offer in offers.iter().filter(|offer| offer.cseq > before.cseq) {
            if winners > MOST_WINNERS {
                break;
            }
            let key = offer.id.key();
            if restamped.contains(&key) || self.needs_stamp(&step, &key, writer, offer, now_ms) {
                restamped.insert(key);
                verdicts.push((offer.cseq, Verdict::Restamp));
            } else if restamped.is_empty() {
                acked = acked.with_offer(offer);
                let verdict = self.judge(&mut step, key, offer);
                if let Verdict::Lost(Rec { body: Some(body), .. }) = &verdict {
                    winners += body.len();
                }
                verdicts.push((offer.cseq, verdict));
            }
        }
        let newest = step.recs.values().map(|rec| rec.stamp.hlc).max().unwrap_or(0).max(self.floor.hlc);
        let answered = (acked != before).then_some((writer, acked));
        let pushed = Pushed { acked, seq: step.head, hlc: newest, now_ms, verdicts };
        let mut recs: Vec<Rec> = step.recs.into_values().collect();
        sort_by_key(&mut recs, |rec| rec.seq);
        let rows = recs.into_iter().map(RowChange::Put).collect();
        (pushed, Change { rows, note: Note::Leader(LeaderNote { answered, floor: None }) })
    }

    fn needs_stamp(&self, step: &Step<'_, impl Rows>, key: &IdKey, writer: u64, offer: &Offer, now_ms: u64) -> bool {
        // A write that took the place of what is offered again has its own counter for a stamp: nobody has judged it.
        let is_judged =
            offer.reoffered_above.is_some() && (offer.stamp.writer, offer.stamp.cseq) != (writer, offer.cseq);
        let most_ms = if is_judged { 2 * MAX_LEAD_MS } else { MAX_LEAD_MS };
        let is_ahead = offer.stamp.hlc >> 16 > now_ms.saturating_add(most_ms);
        is_ahead || !offer.is_change && self.is_below_floor(step, key, offer)
    }

    /// Whether the tombstone of its id may be forgotten, or there never was one (R4).
    fn is_below_floor(&self, step: &Step<'_, impl Rows>, key: &IdKey, offer: &Offer) -> bool {
        let is_known = offer.reoffered_above.is_some_and(|above| self.floor.seq <= above);
        step.stamp(key).is_none() && offer.stamp.hlc <= self.floor.hlc && !is_known
    }

    fn judge(&self, step: &mut Step<'_, impl Rows>, key: IdKey, offer: &Offer) -> Verdict {
        if self.is_below_floor(step, &key, offer) {
            return Verdict::StaleDeleted;
        }
        if step.stamp(&key).is_some_and(|newest| newest >= offer.stamp) {
            return Verdict::Lost(step.newest(&key).expect("an id that has a stamp has a record"));
        }
        step.head += 1;
        let rec = Rec { id: offer.id.clone(), stamp: offer.stamp, seq: step.head, body: offer.body.clone() };
        step.recs.insert(key, rec);
        Verdict::Accepted(step.head)
    }

    /// Raises the floor over tombstones that every registered follower has and that are old enough (R11).
    pub fn forget(&self, tombstones: impl IntoIterator<Item = Known>) -> Change {
        let floor =
            tombstones.into_iter().filter(|known| known.seq <= self.forgettable()).fold(self.floor, |floor, known| {
                Floor { seq: floor.seq.max(known.seq), hlc: floor.hlc.max(known.stamp.hlc) }
            });
        Change { rows: Vec::new(), note: Note::Leader(LeaderNote { answered: None, floor: Some(floor) }) }
    }

    /// Takes note of a row that is stored under this number.
    pub(crate) fn note_number(&mut self, seq: u64) {
        self.head = self.head.max(seq);
    }

    /// Takes note of a change that is stored.
    pub(super) fn apply(&mut self, note: &LeaderNote) {
        if let Some((writer, chain)) = note.answered {
            self.answered.insert(writer, Answered { chain, head: self.head });
        }
        self.floor = note.floor.unwrap_or(self.floor);
    }

    /// The part of a replica's way from `after` on that these rows are: the newest write of each id above it, in order,
    /// as many as its host gives at once. When there are no more, `all` is what the live points amount to.
    pub fn page(&self, after: u64, recs: Vec<Rec>, all: Option<Digest>) -> Page {
        let seq = if all.is_some() { self.head } else { recs.last().map_or(after, |rec| rec.seq) };
        let cursor = Cursor { epoch: self.epoch, seq };
        Page { cursor, floor: self.floor, recs, answered: Vec::new(), up_to_date: all }
    }

    /// Which writers were answered since the number `after`, for a follower that may have to answer them one day.
    pub fn answered_since(&self, after: u64) -> Vec<(u64, Chain)> {
        let since = self.answered.iter().filter(|(_, answered)| answered.head >= after);
        since.map(|(&writer, answered)| (writer, answered.chain)).collect()
    }
}

/// Rows with those on top that a step has accepted.
struct Step<'a, R> {
    rows: &'a R,
    head: u64,
    recs: Map<IdKey, Rec>,
}

impl<R: Rows> Step<'_, R> {
    fn stamp(&self, key: &IdKey) -> Option<Stamp> {
        self.recs.get(key).map(|rec| rec.stamp).or_else(|| Some(self.rows.known(key)?.stamp))
    }

    fn newest(&self, key: &IdKey) -> Option<Rec> {
        self.recs.get(key).cloned().or_else(|| self.rows.newest(key))
    }
}
