//! Replication in the engine: the rows that the state machines decide about, and the life of their changes.
//!
//! A change is decided on by what is published, so none is prepared while other writes are on their way. It becomes one
//! record of the log, whose rows are put like those of any write: the newer stamp wins.

use alloc::format;
use alloc::vec::Vec;
use hashbrown::HashMap;

use crate::error::{Error, Result, Shown};
use crate::log::{BodyParts, Rec, body, encode_change};
use crate::metadata::MetadataRef;
use crate::metric::validate_stored;
use crate::segment::{Block, Row, Segment, Tombstone};
use crate::sort::sort_by_key;
use crate::sync::{Change, Digest, Item, Known, Local, Note, Replica, RowChange, Rows, SpaceKey, State};
use crate::types::{IdKey, Offset, PointId, Stamp};

use super::snapshot::{Place, Snapshot};
use super::write::{Applied, Prepared};
use super::{Collection, CollectionConfig, LiveSegment};

impl Collection {
    /// What the collection is in replication.
    pub const fn sync(&self) -> &State {
        &self.sync
    }

    /// The digest of all live points; nothing in a collection that never met another one.
    pub const fn digest(&self) -> Digest {
        self.digest
    }

    /// The digest, counted anew from what is stored.
    pub fn recount(&self) -> Digest {
        self.items().iter().collect()
    }

    /// All live points as digests see them; none in a collection that never met another one.
    pub fn items(&self) -> Vec<Item> {
        self.sync
            .key()
            .map(|space| items_of(space, &self.snapshot, &self.segments, self.memtable.blocks()))
            .unwrap_or_default()
    }

    /// Encodes a change as one record. Its rows have passed [`CollectionConfig::check_body`].
    ///
    /// # Errors
    /// `Internal` while earlier writes are prepared and not yet published: what it was decided by is not the newest state.
    pub fn prepare_change(&mut self, change: &Change) -> Result<Prepared> {
        if self.writes_are_pending() {
            return Err(Error::internal(format!(
                "a change is prepared as record {} of collection `{}`, which shows no more than record {}",
                self.next_lsn.0,
                self.config.name,
                self.memtable.newest().0
            )));
        }
        if let State::Leader(_) = &self.sync {
            // Writes that are prepared before this one is published go on behind it.
            let numbers = change.rows.iter().filter_map(|row| match row {
                RowChange::Put(rec) => Some(rec.seq),
                RowChange::Forget(..) => None,
            });
            self.numbered_through = numbers.fold(self.numbered_through, u64::max);
        }
        let lsn = self.take_lsn();
        Ok(Prepared { lsn, record: encode_change(lsn, |out| change.encode(out)) })
    }

    pub(super) fn apply_change(&mut self, bytes: &[u8], applied: &mut Applied) -> Result<()> {
        let Change { rows, note } = Change::decode(bytes)?;
        let dimension = self.config.dimension;
        // Everything that can fail comes before the first change, so a bad record changes nothing.
        for row in &rows {
            if let RowChange::Put(Rec { body: Some(body), .. }) = row {
                MetadataRef::checked(BodyParts::of(body, dimension)?.metadata)?;
            }
        }
        self.sync.check(&note)?;
        for row in rows {
            match row {
                RowChange::Put(Rec { id, stamp, seq, body }) => {
                    self.newest_hlc = self.newest_hlc.max(stamp.hlc);
                    match &body {
                        Some(body) => {
                            let parts = BodyParts::of(body, dimension)?;
                            let metadata = MetadataRef::trusted(parts.metadata);
                            let row = Row { key: id.key(), id: &id, stamp, seq, metadata };
                            self.put(&row, parts.components(), parts.term, applied);
                        }
                        None => self.bury(id, stamp, seq, applied),
                    }
                }
                RowChange::Forget(id, stamp) => self.forget(&id.key(), stamp, applied),
            }
        }
        let key = self.sync.key().copied();
        self.sync.apply(&note);
        if self.sync.key() != key.as_ref() {
            self.count_anew();
        }
        let newest = if matches!(note, Note::Lead(_)) { self.newest_number() } else { 0 };
        if let State::Leader(leader) = &mut self.sync {
            // What was still to be offered again has numbers behind the beginning of the new term: they are not given twice.
            leader.note_number(newest);
            self.numbered_through = self.numbered_through.max(leader.head().seq);
        }
        Ok(())
    }

    fn newest_number(&self) -> u64 {
        let sealed = self.segments.iter().map(|sealed| sealed.segment.newest_seq());
        let rows = self.memtable.blocks().iter().flat_map(|block| block.live().map(|at| block.seq(at)));
        sealed.chain(rows).chain(self.memtable.tombstones().map(|tombstone| tombstone.seq)).max().unwrap_or(0)
    }

    /// Forgets what is known of an id under this stamp.
    fn forget(&mut self, key: &IdKey, stamp: Stamp, applied: &mut Applied) {
        if self.known(key).is_some_and(|known| known.stamp == stamp) {
            let was_live = self.kill(key);
            applied.deleted += usize::from(was_live);
            self.memtable.exhume(key);
            // A job may be about to seal it, and what older deletes left must not come to light.
            let sealed = self.segments.iter().filter_map(|sealed| sealed.segment.tombstone_of(key));
            let stamps: Vec<Stamp> =
                sealed.map(|tombstone| tombstone.stamp).chain((!was_live).then_some(stamp)).collect();
            stamps.into_iter().for_each(|stamp| self.sync.exhume(stamp));
        }
    }

    /// Computes all digests from what is stored, whatever they are said to be: their key was unknown until now, or a row is
    /// not what was written.
    pub fn count_anew(&mut self) {
        let Some(space) = self.sync.key() else { return };
        for sealed in &mut self.segments {
            let items: Vec<Item> = sealed_items(space, sealed).collect();
            sealed.digest = items.iter().collect();
        }
        self.digest = self.recount();
    }

    /// The numbers of writes of these points; none in a collection that never met another one.
    pub(super) fn take_numbers(&mut self, ids: &[PointId]) -> Vec<u64> {
        match &self.sync {
            State::Local => Vec::new(),
            State::Leader(_) => {
                let first = self.numbered_through + 1;
                self.numbered_through += ids.len() as u64;
                (first..).take(ids.len()).collect()
            }
            State::Replica(replica) => {
                let mut numbers = Vec::with_capacity(ids.len());
                let mut prepared: HashMap<IdKey, u64> = HashMap::new();
                for id in ids {
                    let key = id.key();
                    let earlier = prepared.get(&key).or_else(|| self.prepared_numbers.get(&key)).copied();
                    let number = earlier.unwrap_or_else(|| replica.number_of(self.known(&key).as_ref()));
                    prepared.insert(key, number);
                    numbers.push(number);
                }
                self.prepared_numbers.extend(prepared);
                numbers
            }
        }
    }

    pub(super) fn forget_prepared_numbers(&mut self) {
        self.prepared_numbers.clear();
        if let State::Leader(leader) = &self.sync {
            self.numbered_through = leader.head().seq;
        }
    }

    /// What the segments know of an id: the newest of its live point and its tombstones.
    pub(super) fn known_sealed(&self, key: &IdKey) -> Option<Known> {
        let sealed = self.segments.iter().flat_map(|s| {
            let live = s.segment.find(key).filter(|&offset| s.live.is_live(offset));
            let live = live.map(|offset| known_at(&s.segment, offset));
            let dead = s.segment.tombstone_of(key).filter(|tombstone| self.sync.counts(tombstone.stamp));
            live.into_iter().chain(dead.map(known_of))
        });
        sealed.max_by_key(|known| known.stamp)
    }

    /// What is known of points that are deleted, in the order of the numbers of their deletes.
    pub fn deletes(&self) -> Vec<Known> {
        let sealed = self.segments.iter().flat_map(|sealed| sealed.segment.tombstones());
        let newest = sealed.filter(|tombstone| self.stamp_of(&tombstone.key) == Some(tombstone.stamp));
        let mut deletes: Vec<Known> = newest.chain(self.memtable.tombstones().cloned()).map(known_of).collect();
        sort_by_key(&mut deletes, |known| known.seq);
        deletes
    }

    /// The newest writes behind a leader's number, in the order of their numbers: as many as have about `most_bytes`
    /// together, one at least; and whether these are all.
    ///
    /// Looks at every number of the segments that have one behind it, and keeps some thousands of them at a time.
    pub fn behind(&self, mut after: u64, most_bytes: usize) -> (Vec<Rec>, bool) {
        let (mut recs, mut bytes) = (Vec::new(), 0);
        loop {
            let window = self.window(after);
            let is_last = window.len() < WINDOW;
            for (seq, source) in window {
                after = seq;
                let rec = match source {
                    Source::Live(place) => self.rec_at(place, seq),
                    // A tombstone of an older segment may have been replaced since.
                    Source::Dead(tombstone) if self.stamp_of(&tombstone.key) != Some(tombstone.stamp) => continue,
                    Source::Dead(Tombstone { id, stamp, .. }) => Rec { id, stamp, seq, body: None },
                };
                bytes += REC_BYTES + rec.body.as_ref().map_or(0, |body| body.len());
                if bytes > most_bytes && !recs.is_empty() {
                    return (recs, false);
                }
                recs.push(rec);
            }
            if is_last {
                return (recs, true);
            }
        }
    }

    /// The writes with the least numbers behind one, in order: [`WINDOW`] of them, or fewer when there are no more.
    fn window(&self, after: u64) -> Vec<(u64, Source)> {
        let mut least = Least { after, below: u64::MAX, found: Vec::new() };
        for (number, LiveSegment { segment, live, .. }) in self.segments.iter().enumerate() {
            if segment.newest_seq() <= after {
                continue;
            }
            for offset in live.iter() {
                let place = Place::Sealed { segment: number as u32, offset };
                least.note(segment.seq(offset), || Source::Live(place));
            }
            for at in 0..segment.tombstone_count() {
                least.note(segment.tombstone_seq(at), || Source::Dead(segment.tombstone_at(at)));
            }
        }
        for (number, block) in self.memtable.blocks().iter().enumerate() {
            for at in block.live() {
                let place = Place::Memtable { block: number as u32, at: at as u32 };
                least.note(block.seq(at), || Source::Live(place));
            }
        }
        for tombstone in self.memtable.tombstones() {
            least.note(tombstone.seq, || Source::Dead(tombstone.clone()));
        }
        least.finish()
    }

    fn rec_at(&self, place: Place, seq: u64) -> Rec {
        let (space, row) = self.snapshot.vector_at(place);
        let metadata = self.snapshot.metadata_at(place);
        let body = Some(body(space.term(row), space.row(row), metadata.as_bytes()));
        Rec { id: self.snapshot.id_at(place), stamp: self.snapshot.stamp_at(place), seq, body }
    }
}

/// About what a record takes beside its body.
const REC_BYTES: usize = 64;
/// Writes that are put in order at a time: a page takes no more memory than that, however many there are.
const WINDOW: usize = 4096;

/// Where the newest write of an id is.
enum Source {
    Live(Place),
    Dead(Tombstone),
}

/// The least numbers of those that it is told of.
struct Least {
    after: u64,
    /// No number from here on is among them.
    below: u64,
    found: Vec<(u64, Source)>,
}

impl Least {
    fn note(&mut self, seq: u64, source: impl FnOnce() -> Source) {
        if seq <= self.after || seq >= self.below {
            return;
        }
        self.found.push((seq, source()));
        if self.found.len() == 2 * WINDOW {
            self.cut();
            self.below = self.found[WINDOW - 1].0;
        }
    }

    fn cut(&mut self) {
        sort_by_key(&mut self.found, |(seq, _)| *seq);
        self.found.truncate(WINDOW);
    }

    fn finish(mut self) -> Vec<(u64, Source)> {
        self.cut();
        self.found
    }
}

impl CollectionConfig {
    /// Checks a body that came from elsewhere as a write of the collection would have been.
    ///
    /// # Errors
    /// `InvalidArgument` naming the point.
    pub fn check_body(&self, id: &PointId, bytes: &[u8]) -> Result<()> {
        let named =
            |e: Error| Error::invalid_argument(format!("point {id} of collection `{}`: {}", self.name, e.message()));
        let parts = BodyParts::of(bytes, self.dimension).map_err(named)?;
        let row: Vec<f32> = parts.components().collect();
        let term = validate_stored(self.metric, self.dimension, &row, parts.term).map_err(named)?;
        if term.to_bits() != parts.term.to_bits() {
            return Err(named(Error::invalid_argument(format!(
                "its term is {}, not {}",
                Shown(parts.term.into()),
                Shown(term.into())
            ))));
        }
        MetadataRef::checked(parts.metadata).map_err(named).map(drop)
    }
}

impl Snapshot {
    /// All live points as the digests of a space see them. Reads every byte of them.
    pub fn items(&self, space: &SpaceKey) -> Vec<Item> {
        items_of(space, self, &self.segments, &self.blocks)
    }
}

/// The items of live points; `view` knows how blocks are laid out.
fn items_of(space: &SpaceKey, view: &Snapshot, segments: &[LiveSegment], blocks: &[Block]) -> Vec<Item> {
    let mut items = Vec::with_capacity(view.len());
    segments.iter().for_each(|sealed| items.extend(sealed_items(space, sealed)));
    for block in blocks {
        items.extend(block.live().map(|at| view.fresh_item_at(space, block, at)));
    }
    items
}

/// The items of the live points of a segment.
fn sealed_items<'a>(space: &'a SpaceKey, sealed: &'a LiveSegment) -> impl Iterator<Item = Item> + 'a {
    let LiveSegment { segment, live, .. } = sealed;
    let (keys, offsets) = segment.keys();
    let live = keys.iter().zip(offsets).filter(|(_, offset)| live.is_live(Offset(**offset)));
    live.map(|(key, &offset)| segment.digest_item(space, *key, Offset(offset)))
}

fn known_at(segment: &Segment, offset: Offset) -> Known {
    Known { id: segment.point_id(offset), stamp: segment.stamp(offset), seq: segment.seq(offset) }
}

fn known_row(block: &Block, at: usize) -> Known {
    Known { id: block.point_id(at), stamp: block.stamp(at), seq: block.seq(at) }
}

fn known_of(tombstone: Tombstone) -> Known {
    Known { id: tombstone.id, stamp: tombstone.stamp, seq: tombstone.seq }
}

impl Local for Collection {
    /// # Panics
    /// When the collection is no replica: sessions are of replicas only.
    fn replica(&self) -> &Replica {
        let State::Replica(replica) = &self.sync else { panic!("a session is a replica's") };
        replica
    }

    fn digest(&self) -> Digest {
        self.digest
    }

    fn items(&self) -> Vec<Item> {
        self.items()
    }
}

impl Rows for Collection {
    fn newest(&self, key: &IdKey) -> Option<Rec> {
        let Known { id, stamp, seq } = self.known(key)?;
        match self.place_of(key) {
            Some(place) => Some(self.rec_at(place, seq)),
            None => Some(Rec { id, stamp, seq, body: None }),
        }
    }

    fn known(&self, key: &IdKey) -> Option<Known> {
        if let Some((block, at)) = self.memtable.find(key) {
            return Some(known_row(&self.memtable.blocks()[block], at));
        }
        self.memtable.tombstone(key).cloned().map(known_of).or_else(|| self.known_sealed(key))
    }

    fn all(&self, fits: impl Fn(Stamp) -> bool) -> Vec<Known> {
        let mut all = Vec::new();
        for LiveSegment { segment, live, .. } in &self.segments {
            let fitting = live.iter().filter(|&offset| fits(segment.stamp(offset)));
            all.extend(fitting.map(|offset| known_at(segment, offset)));
            let dead = segment.tombstones().filter(|t| fits(t.stamp) && self.stamp_of(&t.key) == Some(t.stamp));
            all.extend(dead.map(known_of));
        }
        for block in self.memtable.blocks() {
            let rows = block.live().filter(|&at| fits(block.stamp(at)));
            all.extend(rows.map(|at| known_row(block, at)));
        }
        all.extend(self.memtable.tombstones().filter(|t| fits(t.stamp)).cloned().map(known_of));
        all
    }
}
