//! A replica that writes on its own, also while nobody listens: a tab that was offline, or a leader of old.
//!
//! What it wrote and the leader has not answered is its **outbox**. That is no list: it is every newest write of its own
//! whose counter is above the last one that was answered or is on its way. So a write that replaces another one in the
//! outbox takes its place, and a write costs nothing but its row. What is on its way is kept with its bodies and sent
//! again unchanged until it is answered (R2, R13).
//!
//! Invariants: of what is on its way, counters are above `acked` and below those of the rest of the outbox; a row of the
//! outbox has number 0 only while no leader can know its id (R5).

use alloc::vec::Vec;

use crate::error::Result;
use crate::log::{Rec, Stamper};
use crate::map::Map;
use crate::sort::{sort, sort_by_key};
use crate::types::{IdKey, PointId, Stamp};

use super::digest::SpaceKey;
use super::leader::{Answered, Leader, MAX_LEAD_MS};
use super::message::{Chain, Cursor, Floor, Hello, Known, Offer, Page, Pushed, RowChange, Rows, Verdict, Welcome};
use super::state::{Change, Note};

/// What an offer takes beside its id and its body, at most.
const OFFER_BYTES: usize = 48;
/// What stands before a list.
const LENGTH_BYTES: usize = 4;

/// What a replica knows of a space beside its rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replica {
    /// The leader's number of the space.
    pub(super) space: u64,
    pub(super) key: SpaceKey,
    /// Under which name the writes were made that `acked` and `sent` count.
    pub(super) writer: u64,
    pub(super) cursor: Cursor,
    pub(super) floor: Floor,
    pub(super) terms: Vec<Cursor>,
    pub(super) acked: Chain,
    pub(super) sent: Vec<Offer>,
    /// A loss of power may have taken from own writes below this counter that an earlier write of their ids was sent.
    pub(super) doubted: u64,
    /// Rows that the outbox has beside its own newest writes.
    pub(super) renumbered: Map<IdKey, Renumbered>,
    /// Up to where the leader's numbers went when own writes were answered: by writer, up to this counter.
    pub(super) numbered: Vec<(u64, u64, u64)>,
    pub(super) is_resyncing: bool,
    pub(super) conflicts: Vec<Offer>,
    /// Of a follower: up to where writers are answered.
    pub(super) answered: Map<u64, Chain>,
    /// Tombstones that do not count any more, though sealed segments may have them; in order.
    pub(super) exhumed: Vec<Stamp>,
}

/// A row of the outbox that does not stand under its own counter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Renumbered {
    /// Its counter.
    pub cseq: u64,
    /// Which row of the id it is: once a newer one is there, this is void.
    pub stamp: Stamp,
    /// See [`Offer::reoffered_above`].
    pub above: Option<u64>,
    /// Once it is answered: the leader's newest number at that time.
    pub number: Option<u64>,
}

/// What changes at a replica beside rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReplicaNote {
    /// Where it stands, and which tombstones are forgotten.
    pub cursor: Option<(Cursor, Floor)>,
    /// Where each term after the first began.
    pub terms: Option<Vec<Cursor>>,
    /// How the leader knows this writer, and the newest number at that time.
    pub acked: Option<(Chain, u64)>,
    /// What is on its way from now on.
    pub sent: Option<Vec<Offer>>,
    /// Below which counter it is not known any more which ids the leader cannot know.
    pub doubted: Option<u64>,
    /// Rows that come into the outbox under another counter.
    pub renumbered: Vec<(PointId, Renumbered)>,
    /// Under which name it writes from now on.
    pub writer: Option<u64>,
    /// Whether it takes the whole state anew.
    pub is_resyncing: Option<bool>,
    /// What the leader refused, for the application.
    pub conflicts: Vec<Offer>,
    /// How many of the oldest conflicts the application has dealt with.
    pub settled_conflicts: u32,
    /// Of a follower: up to where writers are answered.
    pub answered: Vec<(u64, Chain)>,
}

impl Replica {
    /// A replica of the space that a leader knows under a number; `writer` writes here.
    pub const fn new(space: u64, key: SpaceKey, writer: u64) -> Self {
        Self {
            space,
            key,
            writer,
            cursor: Cursor { epoch: 0, seq: 0 },
            floor: Floor { seq: 0, hlc: 0 },
            terms: Vec::new(),
            acked: Chain { cseq: 0, hash: [0; 16] },
            sent: Vec::new(),
            doubted: 0,
            renumbered: Map::new(),
            numbered: Vec::new(),
            is_resyncing: false,
            conflicts: Vec::new(),
            answered: Map::new(),
            exhumed: Vec::new(),
        }
    }

    /// Makes a collection that has never met another one a replica; what it has is its outbox.
    ///
    /// # Errors
    /// As [`Stamper::stamp`].
    pub fn follow(rows: &impl Rows, space: u64, key: SpaceKey, stamper: &mut Stamper, now_ms: u64) -> Result<Change> {
        let mut replica = Self::new(space, key, stamper.writer());
        // Rows may have been written under another name, before their profile was copied.
        let others = rows.all(|stamp| stamp.writer != replica.writer);
        let others = renumber(others, None, stamper, now_ms)?;
        replica.renumbered = others.into_iter().map(|(id, one)| (id.key(), one)).collect();
        Ok(Change { rows: Vec::new(), note: Note::Follow(replica) })
    }

    /// The leader's number of the space.
    pub const fn space(&self) -> u64 {
        self.space
    }

    /// The key of the space's digests.
    pub const fn key(&self) -> &SpaceKey {
        &self.key
    }

    /// Where it stands.
    pub const fn cursor(&self) -> Cursor {
        self.cursor
    }

    /// Tombstones up to here are forgotten by the leader.
    pub const fn floor(&self) -> Floor {
        self.floor
    }

    /// Under which name it writes.
    pub const fn writer(&self) -> u64 {
        self.writer
    }

    /// Up to where the leader has answered.
    pub const fn acked(&self) -> Chain {
        self.acked
    }

    /// Whether it takes the whole state anew.
    pub const fn is_resyncing(&self) -> bool {
        self.is_resyncing
    }

    /// What the leader refused, for the application.
    pub fn conflicts(&self) -> &[Offer] {
        &self.conflicts
    }

    /// What is on its way.
    pub fn sent(&self) -> &[Offer] {
        &self.sent
    }

    /// Writes up to this counter are answered or on their way.
    fn bound(&self) -> u64 {
        self.sent.last().map_or(0, |offer| offer.cseq).max(self.acked.cseq)
    }

    /// Whether a leader may know the id of a row of the outbox (R5).
    fn is_change(&self, known: &Known) -> bool {
        let Known { stamp, seq, .. } = *known;
        seq > 0 || stamp.writer == self.writer && stamp.cseq < self.doubted
    }

    fn is_unsent(&self, stamp: Stamp) -> bool {
        stamp.writer == self.writer && stamp.cseq > self.bound()
    }

    /// The number under which a write of this replica is stored; `before` is what its rows hold of the id (R5).
    pub fn number_of(&self, before: Option<&Known>) -> u64 {
        match before {
            None => 0,
            Some(before) if self.is_unsent(before.stamp) && !self.is_change(before) => 0,
            Some(before) => before.seq.max(1),
        }
    }

    /// Introduces this replica; `stamper` is its writer's.
    pub const fn hello(&self, stamper: &Stamper) -> Hello {
        Hello {
            writer: self.writer,
            next_cseq: stamper.next_cseq(),
            acked: self.acked,
            cursor: self.cursor,
            is_resyncing: self.is_resyncing,
        }
    }

    /// Whether another replica has written under the name of this one (R13).
    pub fn is_forked(&self, welcome: &Welcome, stamper: &Stamper) -> bool {
        welcome.is_forked || self.has_twin(welcome.acked, stamper)
    }

    /// Whether the leader has answered what this replica has not sent, and cannot have forgotten that it sent: a loss of
    /// power can take that from it only of counters from before this run.
    pub fn has_twin(&self, acked: Chain, stamper: &Stamper) -> bool {
        let answered = self.acked.cseq + 1..=acked.cseq;
        let sent = self.sent.iter().filter(|offer| answered.contains(&offer.cseq));
        let own = sent.fold(self.acked, |chain, offer| chain.with_offer(offer));
        acked.cseq >= self.acked.cseq.max(stamper.first_cseq()) && own != acked
    }

    /// The ids of writes that the leader has answered up to `acked` without this replica knowing how (R16): what it knows of
    /// them has to be fetched.
    pub fn unsettled(&self, rows: &impl Rows, acked: Chain) -> Vec<IdKey> {
        self.answered_up_to(rows, acked.cseq).iter().map(|offer| offer.id.key()).collect()
    }

    /// What was on its way, and what a loss of power has put back into the outbox.
    fn answered_up_to(&self, rows: &impl Rows, cseq: u64) -> Vec<Offer> {
        let sent = self.sent.iter().filter(|offer| offer.cseq <= cseq).cloned();
        let outbox = self.outbox(rows).into_iter().take_while(|(own, _)| *own <= cseq);
        sent.chain(outbox.map(|(cseq, known)| self.offer(rows, cseq, &known))).collect()
    }

    /// Settles them by what the leader knows: `found` has a record for each id that it has one of, `head` is its newest
    /// number; `stamper` is the writer's.
    pub fn settle(&self, rows: &impl Rows, acked: Chain, head: u64, found: &[Rec], stamper: &Stamper) -> Change {
        let found: Map<IdKey, &Rec> = found.iter().map(|rec| (rec.id.key(), rec)).collect();
        let sent = self.sent.iter().filter(|offer| offer.cseq > acked.cseq).cloned().collect();
        let mut note = ReplicaNote { acked: Some((acked, head)), sent: Some(sent), ..ReplicaNote::default() };
        // The leader has answered what this replica forgot that it sent.
        note.doubted = (acked.cseq > self.bound()).then(|| stamper.next_cseq());
        let mut changes = Vec::new();
        for offer in self.answered_up_to(rows, acked.cseq) {
            let key = offer.id.key();
            let theirs = found.get(&key).copied();
            let is_newest = rows.known(&key).is_some_and(|own| own.stamp == offer.stamp);
            if is_newest && theirs.is_none_or(|theirs| theirs.stamp < offer.stamp) {
                // Refused, or deleted since and forgotten.
                changes.push(RowChange::Forget(offer.id.clone(), offer.stamp));
                note.conflicts.push(offer);
            }
            changes.extend(theirs.cloned().map(RowChange::Put));
        }
        Change { rows: changes, note: Note::Replica(note) }
    }

    /// Goes back to where a leader's history begins, and offers again what it knows under a number behind that (R12).
    ///
    /// # Errors
    /// As [`Stamper::stamp`].
    pub fn rewind(&self, rows: &impl Rows, welcome: &Welcome, stamper: &mut Stamper, now_ms: u64) -> Result<Change> {
        let start = welcome.rewind.unwrap_or(welcome.head.seq);
        let mut behind = rows.all(|_| true);
        behind.retain(|known| self.number(known).is_some_and(|seq| seq > start));
        let mut note = ReplicaNote {
            cursor: Some((Cursor { epoch: welcome.head.epoch, seq: self.cursor.seq.min(start) }, welcome.floor)),
            terms: Some(welcome.terms.clone()),
            ..ReplicaNote::default()
        };
        note.renumbered = renumber(behind, Some(start), stamper, now_ms)?;
        Ok(Change { rows: Vec::new(), note: Note::Replica(note) })
    }

    /// The number that the leader gave a row, or one above it; nothing when it gave none.
    fn number(&self, known: &Known) -> Option<u64> {
        let Known { stamp, seq, .. } = *known;
        if let Some(one) = self.renumbering(&known.id.key(), stamp) {
            return one.number;
        }
        if stamp.writer == self.writer && stamp.cseq > self.acked.cseq {
            return None;
        }
        let own = |&&(writer, cseq, _): &&(u64, u64, u64)| writer == stamp.writer && stamp.cseq <= cseq;
        let answered = self.numbered.iter().find(own).map(|&(.., seq)| seq);
        answered.or_else(|| (seq > 0).then_some(seq))
    }

    /// Takes another name, that of `stamper`, because somebody else has the present one (R13). What the leader has not
    /// answered gets stamps of the new name, at the old times: whoever keeps the old one would take them for its own
    /// writes. The leader may know its ids from there, so it counts as changes (R5).
    ///
    /// # Errors
    /// As [`Stamper::stamp`].
    pub fn rename(&self, rows: &impl Rows, stamper: &mut Stamper, now_ms: u64) -> Result<Change> {
        let mut note = ReplicaNote { writer: Some(stamper.writer()), ..ReplicaNote::default() };
        let mut changes = Vec::new();
        let mut open = rows.all(|_| true);
        open.retain(|known| self.number(known).is_none());
        sort_by_key(&mut open, |known| known.stamp);
        for Known { id, stamp: old, .. } in open {
            let above = self.renumbering(&id.key(), old).and_then(|one| one.above);
            let given = stamper.stamp(now_ms, 1)?;
            let is_kept = above.is_some() && old.writer != self.writer;
            let stamp = if is_kept { old } else { Stamp { hlc: old.hlc, ..given } };
            if !is_kept {
                let rec = rows.newest(&id.key()).expect("what is known of a row is there");
                changes.push(RowChange::Forget(id.clone(), old));
                changes.push(RowChange::Put(Rec { stamp, seq: rec.seq.max(1), ..rec }));
            }
            if above.is_some() {
                note.renumbered.push((id, Renumbered { cseq: given.cseq, stamp, above, number: None }));
            }
        }
        Ok(Change { rows: changes, note: Note::Replica(note) })
    }

    /// Begins to take the whole state anew (R1): everything is pulled, then what is here too much is found by
    /// reconciliation.
    pub fn resync(&self, welcome: &Welcome) -> Change {
        let cursor = Some((Cursor { epoch: welcome.head.epoch, seq: 0 }, welcome.floor));
        let terms = Some(welcome.terms.clone());
        let note = ReplicaNote { cursor, terms, is_resyncing: Some(true), ..ReplicaNote::default() };
        Change { rows: Vec::new(), note: Note::Replica(note) }
    }

    /// Takes some of what changed.
    pub fn pull(&self, page: Page) -> Change {
        let seq = page.cursor.seq.max(self.cursor.seq);
        let cursor = Some((Cursor { epoch: page.cursor.epoch, seq }, page.floor));
        let note = ReplicaNote { cursor, answered: page.answered, ..ReplicaNote::default() };
        Change { rows: page.recs.into_iter().map(RowChange::Put).collect(), note: Note::Replica(note) }
    }

    /// What to send next: what is on its way, or else the oldest writes of the outbox, encoded in so many bytes at most, one
    /// at least. The change, if there is one, is made durable before anything is sent.
    pub fn push(&self, rows: &impl Rows, most_bytes: usize) -> (Vec<Offer>, Option<Change>) {
        if !self.sent.is_empty() {
            return (self.sent.clone(), None);
        }
        let mut bytes = LENGTH_BYTES;
        let mut offers = Vec::new();
        for (cseq, known) in self.outbox(rows) {
            let offer = self.offer(rows, cseq, &known);
            bytes += OFFER_BYTES + offer.id.to_canonical().len() + offer.body.as_ref().map_or(0, |body| body.len());
            if bytes > most_bytes && !offers.is_empty() {
                break;
            }
            offers.push(offer);
        }
        if offers.is_empty() {
            return (offers, None);
        }
        let note = ReplicaNote { sent: Some(offers.clone()), ..ReplicaNote::default() };
        (offers, Some(Change { rows: Vec::new(), note: Note::Replica(note) }))
    }

    fn offer(&self, rows: &impl Rows, cseq: u64, known: &Known) -> Offer {
        let key = known.id.key();
        let Rec { id, stamp, body, .. } = rows.newest(&key).expect("what is known of a row is there");
        let reoffered_above = self.renumbering(&key, stamp).and_then(|one| one.above);
        Offer { cseq, id, stamp, is_change: self.is_change(known), reoffered_above, body }
    }

    fn renumbering(&self, key: &IdKey, stamp: Stamp) -> Option<&Renumbered> {
        self.renumbered.get(key).filter(|one| one.stamp == stamp)
    }

    /// The rows of the outbox that are not on their way, by rising counter.
    pub fn outbox(&self, rows: &impl Rows) -> Vec<(u64, Known)> {
        let counter =
            |known: &Known| self.renumbering(&known.id.key(), known.stamp).map_or(known.stamp.cseq, |one| one.cseq);
        let own = rows.all(|stamp| self.is_unsent(stamp));
        let others = self.renumbered.iter().filter(|(_, one)| !self.is_unsent(one.stamp));
        let others = others.filter_map(|(key, one)| rows.known(key).filter(|known| known.stamp == one.stamp));
        let outbox = own.into_iter().chain(others).map(|known| (counter(&known), known));
        let mut outbox: Vec<(u64, Known)> = outbox.filter(|(cseq, _)| *cseq > self.bound()).collect();
        sort_by_key(&mut outbox, |(cseq, _)| *cseq);
        outbox
    }

    /// Takes the leader's answer.
    ///
    /// # Errors
    /// As [`Stamper::stamp`].
    pub fn pushed(&self, rows: &impl Rows, answer: Pushed, stamper: &mut Stamper, now_ms: u64) -> Result<Change> {
        let latest_ms = answer.now_ms.saturating_add(MAX_LEAD_MS);
        let is_ahead = |stamp: Stamp| stamp.hlc >> 16 > latest_ms;
        let mut sent = self.sent.clone();
        sent.retain(|offer| answer.verdicts.iter().all(|(cseq, _)| *cseq != offer.cseq));
        let acked = Some((answer.acked, answer.seq));
        let mut note = ReplicaNote { acked, sent: Some(sent), ..ReplicaNote::default() };
        let (mut changes, mut restamped) = (Vec::new(), Vec::new());
        for (cseq, verdict) in answer.verdicts {
            let Some(offer) = self.sent.iter().find(|offer| offer.cseq == cseq) else { continue };
            match verdict {
                Verdict::Accepted(_) => {}
                Verdict::Lost(winner) => changes.push(RowChange::Put(winner)),
                Verdict::StaleDeleted => {
                    note.conflicts.push(offer.clone());
                    changes.push(RowChange::Forget(offer.id.clone(), offer.stamp));
                }
                Verdict::Restamp => restamped.push(offer.clone()),
            }
        }
        if restamped.iter().any(|offer| is_ahead(offer.stamp)) {
            // All that is far ahead goes back at once: new stamps are below it, and have to be above what stays (R10).
            let mut rest = self.outbox(rows);
            rest.retain(|(_, known)| is_ahead(known.stamp) && restamped.iter().all(|offer| offer.id != known.id));
            restamped.extend(rest.iter().map(|(cseq, known)| self.offer(rows, *cseq, known)));
            stamper.turn_back(latest_ms << 16);
        }
        stamper.observe(Stamp { hlc: answer.hlc, ..Stamp::default() });
        for offer in restamped {
            // The newest write of the id takes the place of all that were offered (R7).
            let newest = rows.newest(&offer.id.key());
            let is_own = |rec: &Rec| rec.stamp == offer.stamp || self.is_unsent(rec.stamp);
            let Some(rec) = newest.filter(is_own) else { continue };
            let stamp = stamper.stamp(now_ms.min(latest_ms), 1)?;
            let seq = if offer.is_change { rec.seq.max(1) } else { 0 };
            if let Some(above) = offer.reoffered_above {
                let one = Renumbered { cseq: stamp.cseq, stamp, above: Some(above), number: None };
                note.renumbered.push((rec.id.clone(), one));
            }
            if stamp < rec.stamp {
                changes.push(RowChange::Forget(rec.id.clone(), rec.stamp));
            }
            changes.push(RowChange::Put(Rec { stamp, seq, ..rec }));
        }
        Ok(Change { rows: changes, note: Note::Replica(note) })
    }

    /// Whether nothing is on its way or waits to be sent.
    pub fn is_answered(&self, rows: &impl Rows) -> bool {
        self.sent.is_empty() && self.outbox(rows).is_empty()
    }

    /// Takes what a reconciliation found: `here` are points that only this replica has, or has otherwise; `found` is what
    /// the leader knows of them and of those that only it has. What the leader must have known and lacks is offered to it
    /// again.
    ///
    /// # Errors
    /// As [`Stamper::stamp`].
    pub fn repair(
        &self,
        rows: &impl Rows,
        here: &[IdKey],
        found: Vec<Rec>,
        stamper: &mut Stamper,
        now_ms: u64,
    ) -> Result<Change> {
        let outbox = self.outbox(rows).into_iter().map(|(_, known)| known.id.key());
        // Of what is on its way, a row may have been replaced by what the leader gave.
        let is_newest = |offer: &&Offer| rows.known(&offer.id.key()).is_some_and(|known| known.stamp == offer.stamp);
        let sent = self.sent.iter().filter(is_newest).map(|offer| offer.id.key());
        let mut open: Vec<IdKey> = outbox.chain(sent).collect();
        sort(&mut open);
        let found: Map<IdKey, Rec> = found.into_iter().map(|rec| (rec.id.key(), rec)).collect();
        let (mut changes, mut lost) = (Vec::new(), Vec::new());
        let mut keys: Vec<IdKey> = here.iter().chain(found.keys()).copied().collect();
        keys.retain(|key| open.binary_search(key).is_err());
        sort(&mut keys);
        keys.dedup();
        for known in keys.iter().filter_map(|key| rows.known(key)) {
            let number = self.number(&known).unwrap_or(0);
            let theirs = found.get(&known.id.key()).map(|theirs| theirs.stamp);
            if theirs < Some(known.stamp) && number > self.floor.seq && !self.is_resyncing {
                lost.push(known);
            } else if theirs <= Some(known.stamp) {
                // Deleted long ago, or not what was written.
                changes.push(RowChange::Forget(known.id, known.stamp));
            }
        }
        changes.extend(found.into_values().map(RowChange::Put));
        let renumbered = renumber(lost, Some(self.cursor.seq), stamper, now_ms)?;
        let note = ReplicaNote { is_resyncing: Some(false), renumbered, ..ReplicaNote::default() };
        Ok(Change { rows: changes, note: Note::Replica(note) })
    }

    /// Takes note of a change that is stored.
    pub(super) fn apply(&mut self, note: &ReplicaNote) {
        if let Some(writer) = note.writer {
            self.writer = writer;
            self.acked = Chain::default();
            self.sent.clear();
            self.doubted = 0;
            self.renumbered.retain(|_, one| one.number.is_some());
            // Their counters were the old name's: no answer to the new one says anything of them.
            self.renumbered.values_mut().for_each(|one| one.cseq = 0);
        }
        if let Some((cursor, floor)) = note.cursor {
            // What is forgotten here is so under a leader that remembers it, too, until everything is taken anew.
            let is_anew = note.is_resyncing == Some(true);
            (self.cursor, self.floor) = (cursor, if is_anew { floor } else { self.floor.and(floor) });
        }
        if let Some(terms) = &note.terms {
            self.terms.clone_from(terms);
        }
        if let Some((acked, head)) = note.acked {
            self.acked = acked;
            for one in self.renumbered.values_mut() {
                one.number = (one.cseq <= acked.cseq).then(|| one.number.unwrap_or(head));
            }
            self.numbered.retain(|&(writer, cseq, _)| writer != self.writer || cseq < acked.cseq);
            self.numbered.push((self.writer, acked.cseq, head));
        }
        self.doubted = note.doubted.unwrap_or(self.doubted);
        if let Some(sent) = &note.sent {
            self.sent.clone_from(sent);
        }
        self.renumbered.extend(note.renumbered.iter().map(|(id, one)| (id.key(), one.clone())));
        self.is_resyncing = note.is_resyncing.unwrap_or(self.is_resyncing);
        self.conflicts.extend(note.conflicts.iter().cloned());
        self.conflicts.drain(..(note.settled_conflicts as usize).min(self.conflicts.len()));
        self.answered.extend(note.answered.iter().copied());
    }

    /// The leader that this replica is when it is promoted: it goes on with what it has.
    pub(super) fn to_leader(&self, heard: &[Cursor]) -> Leader {
        let answered = |chain: &Chain| Answered { chain: *chain, head: self.cursor.seq };
        let leader = Leader {
            key: self.key,
            epoch: self.cursor.epoch,
            terms: self.terms.clone(),
            head: self.cursor.seq,
            floor: self.floor,
            answered: self.answered.iter().map(|(&writer, chain)| (writer, answered(chain))).collect(),
        };
        // What was still to be offered again may have numbers below the cursor, which others have for something else.
        let open = self.renumbered.values().filter(|one| one.number.is_none()).filter_map(|one| one.above);
        leader.promoted(heard, open.min())
    }

    /// The terms before a server's own of which this replica has not heard, as promoting it wants to know them: it knows of
    /// the last one that there was such a one, and that it began behind what is forgotten.
    pub fn missed(&self, term: u32) -> Vec<Cursor> {
        let before = Cursor { epoch: term.saturating_sub(1), seq: self.floor.seq };
        if before.epoch > self.cursor.epoch { [before].into() } else { Vec::new() }
    }

    /// Takes note that a tombstone does not count any more.
    pub(super) fn exhume(&mut self, stamp: Stamp) {
        if let Err(place) = self.exhumed.binary_search(&stamp) {
            self.exhumed.insert(place, stamp);
        }
    }

    /// Takes note of an own write that is stored: what was renumbered of its id goes on under its counter.
    pub(crate) fn note_write(&mut self, key: IdKey, stamp: Stamp) {
        if let Some(one @ Renumbered { number: None, .. }) = self.renumbered.remove(&key) {
            self.renumbered.insert(key, Renumbered { cseq: stamp.cseq, stamp, ..one });
        }
    }
}

/// Gives rows counters of the present writer; they keep their stamps.
fn renumber(
    mut rows: Vec<Known>,
    above: Option<u64>,
    stamper: &mut Stamper,
    now_ms: u64,
) -> Result<Vec<(PointId, Renumbered)>> {
    sort_by_key(&mut rows, |known| known.stamp);
    let first = if rows.is_empty() { 0 } else { stamper.stamp(now_ms, rows.len())?.cseq };
    let each = rows.into_iter().zip(first..);
    Ok(each.map(|(known, cseq)| (known.id, Renumbered { cseq, stamp: known.stamp, above, number: None })).collect())
}
