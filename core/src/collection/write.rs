//! The life of a write: checked and encoded, then published from its own record.

use alloc::format;
use alloc::vec::Vec;
use hashbrown::HashSet;

use crate::error::{Error, Result};
use crate::log::{Entry, NewEntry, Record, RecordBody, RequestId, Stamper, WriteBatch, encode_writes};
use crate::metadata::{Metadata, MetadataRef};
use crate::metric::{validate_f32, validate_f64, validate_stored};
use crate::segment::{Row, Tombstone};
use crate::sync::{Item, State, no_replica};
use crate::types::{IdKey, Lsn, PointId, Stamp};

use super::Collection;
use super::config::MAX_BATCH;
use super::snapshot::Place;

/// Vectors of a batch, row after row.
#[derive(Clone, Copy, Debug)]
pub enum Vectors<'a> {
    /// Stored as they are.
    F32(&'a [f32]),
    /// Rounded once to f32; for poincare the term is taken from these before they are rounded.
    F64(&'a [f64]),
    /// As another database stored them, with a term for each row.
    Stored(&'a [f32], &'a [f32]),
}

impl Vectors<'_> {
    const fn len(&self) -> usize {
        match self {
            Self::F32(v) | Self::Stored(v, _) => v.len(),
            Self::F64(v) => v.len(),
        }
    }
}

/// Points to write, in columns.
#[derive(Clone, Copy, Debug)]
pub struct UpsertBatch<'a> {
    /// One id a point; of equal ids the last one stays.
    pub ids: &'a [PointId],
    /// `ids.len() * dimension` components.
    pub vectors: Vectors<'a>,
    /// One a point, or empty when no point has any.
    pub metadata: &'a [Metadata],
}

/// A write that has a place in the log and is not yet visible.
#[derive(Clone, Debug)]
pub struct Prepared {
    pub(super) lsn: Lsn,
    pub(super) record: Vec<u8>,
}

impl Prepared {
    /// The number of the record.
    pub const fn lsn(&self) -> Lsn {
        self.lsn
    }

    /// The bytes that have to be durable before the write is published.
    pub fn record(&self) -> &[u8] {
        &self.record
    }
}

/// What a record changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Points written.
    pub upserted: usize,
    /// Points that were live and are gone.
    pub deleted: usize,
    /// Entries that lost against a newer write of the same id.
    pub superseded: usize,
}

impl Collection {
    /// Checks a batch whole and encodes it as one record. Nothing is changed but the counters of lsn and stamps.
    ///
    /// # Errors
    /// `InvalidArgument` for a wrong dimension, a value that is not finite, a zero vector under cosine, a point outside
    /// the ball, or columns of unequal length, naming the point; `LimitExceeded` for more than [`MAX_BATCH`] points.
    pub fn prepare_upsert(
        &mut self,
        batch: &UpsertBatch<'_>,
        stamper: &mut Stamper,
        now_ms: u64,
        request: Option<RequestId>,
    ) -> Result<Prepared> {
        let (count, dimension, metric) = (batch.ids.len(), self.config.dimension, self.config.metric);
        check_batch(count)?;
        if batch.vectors.len() != count * dimension {
            return Err(Error::invalid_argument(format!(
                "{count} points of collection `{}` take {} components ({dimension} each), {} were given",
                self.config.name,
                count * dimension,
                batch.vectors.len()
            )));
        }
        if !batch.metadata.is_empty() && batch.metadata.len() != count {
            return Err(Error::invalid_argument(format!("{} metadata for {count} points", batch.metadata.len())));
        }
        let mut rounded = Vec::new();
        let mut terms = Vec::with_capacity(count);
        for (i, id) in batch.ids.iter().enumerate() {
            let range = i * dimension..(i + 1) * dimension;
            let term = match batch.vectors {
                Vectors::F32(rows) => validate_f32(metric, dimension, &rows[range]),
                Vectors::F64(rows) => validate_f64(metric, dimension, &rows[range], &mut rounded),
                Vectors::Stored(rows, terms) => validate_stored(metric, dimension, &rows[range], terms[i]),
            };
            let named = |e: Error| {
                Error::new(e.kind(), format!("point {id} of collection `{}`: {}", self.config.name, e.message()))
            };
            terms.push(term.map_err(named)?);
        }
        let rows = match batch.vectors {
            Vectors::F32(rows) | Vectors::Stored(rows, _) => rows,
            Vectors::F64(_) => &rounded,
        };
        let first = stamper.stamp(now_ms, count)?;
        let empty = Metadata::default();
        let puts = (0..count).map(|i| {
            let metadata = batch.metadata.get(i).unwrap_or(&empty).as_bytes();
            Some((&rows[i * dimension..(i + 1) * dimension], terms[i], metadata))
        });
        let numbers = self.take_numbers(batch.ids);
        Ok(self.encode(first, request, batch.ids, &numbers, puts))
    }

    /// Encodes the delete of some ids as one record; `None` when none of them is live.
    ///
    /// While earlier writes are prepared and not yet published, what will be live is not known: then every id goes into
    /// the record, and one that turns out never to have existed leaves a tombstone that harms nobody.
    ///
    /// # Errors
    /// `LimitExceeded` for more than [`MAX_BATCH`] ids; `Internal` when fewer stamps are reserved than there are ids.
    pub fn prepare_delete(
        &mut self,
        ids: &[PointId],
        stamper: &mut Stamper,
        now_ms: u64,
        request: Option<RequestId>,
    ) -> Result<Option<Prepared>> {
        check_most(ids.len())?;
        let writes_are_pending = self.writes_are_pending();
        let gone = ids.iter().filter(|id| writes_are_pending || self.place_of(&id.key()).is_some());
        let gone: Vec<PointId> = gone.cloned().collect();
        if gone.is_empty() {
            return Ok(None);
        }
        let first = stamper.stamp(now_ms, gone.len())?;
        let numbers = self.take_numbers(&gone);
        Ok(Some(self.encode(first, request, &gone, &numbers, gone.iter().map(|_| None))))
    }

    /// Encodes new metadata for those of some points that are live as one record of puts, each with the vector and the term
    /// that are stored; `None` when none of them is live.
    ///
    /// # Errors
    /// `InvalidArgument` for no point at all or an id that is listed twice; `LimitExceeded` for more than [`MAX_BATCH`]
    /// points; `Internal` while earlier writes are prepared and not yet published (the vectors that they bring cannot be
    /// seen), or when fewer stamps are reserved than there are points.
    pub fn prepare_metadata(
        &mut self,
        changes: &[(PointId, Metadata)],
        stamper: &mut Stamper,
        now_ms: u64,
        request: Option<RequestId>,
    ) -> Result<Option<Prepared>> {
        check_batch(changes.len())?;
        if self.writes_are_pending() {
            return Err(Error::internal(format!(
                "metadata is prepared as record {} of collection `{}`, which shows no more than record {}",
                self.next_lsn.0,
                self.config.name,
                self.memtable.newest().0
            )));
        }
        let mut seen = HashSet::with_capacity(changes.len());
        let (mut ids, mut found) = (Vec::with_capacity(changes.len()), Vec::with_capacity(changes.len()));
        for (id, metadata) in changes {
            let key = id.key();
            if !seen.insert(key) {
                return Err(Error::invalid_argument(format!("point {id} is listed twice")));
            }
            if let Some(place) = self.place_of(&key) {
                ids.push(id.clone());
                found.push((place, metadata));
            }
        }
        if found.is_empty() {
            return Ok(None);
        }
        let first = stamper.stamp(now_ms, found.len())?;
        let numbers = self.take_numbers(&ids);
        let snapshot = self.snapshot();
        let puts = found.into_iter().map(|(place, metadata)| {
            let (space, row) = snapshot.vector_at(place);
            Some((space.row(row), space.term(row), metadata.as_bytes()))
        });
        Ok(Some(self.encode(first, request, &ids, &numbers, puts)))
    }

    /// The next record: of each point what is put, or nothing when it is deleted.
    fn encode<'a>(
        &mut self,
        first: Stamp,
        request: Option<RequestId>,
        ids: &'a [PointId],
        numbers: &'a [u64],
        puts: impl Iterator<Item = Option<(&'a [f32], f32, &'a [u8])>>,
    ) -> Prepared {
        let lsn = self.take_lsn();
        let layout = self.config.layout(!numbers.is_empty());
        let numbers = numbers.iter().copied().chain(core::iter::repeat(0));
        let entries = ids.iter().zip(numbers).zip(puts).map(|((id, number), put)| NewEntry { id, number, put });
        Prepared { lsn, record: encode_writes(lsn, first, request, layout, entries) }
    }

    /// Whether writes are prepared that are neither published nor given up.
    pub fn writes_are_pending(&self) -> bool {
        self.next_lsn != self.memtable.newest().next()
    }

    /// Gives up writes that were prepared and could not be made durable: their numbers are used again, so that what is
    /// live is known again. All writes prepared after them must be given up too.
    pub fn give_up_prepared(&mut self) {
        self.next_lsn = self.memtable.newest().next();
        self.forget_prepared_numbers();
    }

    /// Makes a write visible, after the host made its record durable.
    ///
    /// # Errors
    /// `Internal` when writes are published out of order.
    pub fn publish(&mut self, prepared: &Prepared) -> Result<Applied> {
        self.replay([prepared.record()])
    }

    /// Makes writes visible that the host made durable together, in the order in which they were prepared: readers see
    /// them all at once. Answers for each what [`Collection::publish`] would.
    pub fn publish_group<'a>(&mut self, group: impl IntoIterator<Item = &'a Prepared>) -> Vec<Result<Applied>> {
        let publish = |prepared: &Prepared| {
            let mut applied = Applied::default();
            self.replay_one(prepared.record(), &mut applied).map(|()| applied)
        };
        let published = group.into_iter().map(publish).collect();
        self.refresh();
        published
    }

    /// Applies records of the log in order, and then shows them to new readers. Records that the segments contain are
    /// passed over.
    ///
    /// # Errors
    /// `Corrupted` when a record is damaged, missing or of another collection; what came before it is applied.
    pub fn replay<'a>(&mut self, records: impl IntoIterator<Item = &'a [u8]>) -> Result<Applied> {
        let mut applied = Applied::default();
        let outcome = records.into_iter().try_for_each(|record| self.replay_one(record, &mut applied));
        self.refresh();
        outcome.map(|()| applied)
    }

    fn replay_one(&mut self, record: &[u8], applied: &mut Applied) -> Result<()> {
        let Record { lsn, body } = Record::decode(record)?;
        if lsn <= self.sealed_through {
            return Ok(());
        }
        let name = &self.config.name;
        let expected = self.memtable.newest().next();
        if lsn != expected {
            return Err(Error::corrupted(format!(
                "the log of collection `{name}` goes on with record {}, {} is missing",
                lsn.0, expected.0
            )));
        }
        match body {
            RecordBody::Writes(writes) => {
                self.check_layout(lsn, &writes)?;
                self.apply(&writes, applied)?;
                self.newest_hlc = self.newest_hlc.max(writes.first.hlc);
            }
            RecordBody::Change(bytes) if cfg!(feature = "replica") => self.apply_change(bytes, applied)?,
            RecordBody::Change(_) => return Err(no_replica()),
        }
        self.memtable.advance(lsn);
        self.next_lsn = self.next_lsn.max(lsn.next());
        if !self.writes_are_pending() {
            self.forget_prepared_numbers();
        }
        Ok(())
    }

    fn check_layout(&self, lsn: Lsn, writes: &WriteBatch<'_>) -> Result<()> {
        let (name, layout) = (&self.config.name, writes.layout);
        if layout.dimension != self.config.dimension {
            return Err(Error::corrupted(format!(
                "record {} has vectors of {} dimensions, collection `{name}` has {}",
                lsn.0, layout.dimension, self.config.dimension
            )));
        }
        if layout.has_terms != self.config.metric.has_terms() {
            return Err(Error::corrupted(format!(
                "record {} and the metric {} of collection `{name}` do not agree on terms",
                lsn.0,
                self.config.metric.as_str()
            )));
        }
        if layout.has_numbers == matches!(self.sync, State::Local) {
            return Err(Error::corrupted(format!(
                "record {} and collection `{name}` do not agree on whether writes are numbered",
                lsn.0
            )));
        }
        Ok(())
    }

    fn apply(&mut self, writes: &WriteBatch<'_>, applied: &mut Applied) -> Result<()> {
        // Everything that can fail comes before the first change, so a bad record changes nothing.
        for (.., entry) in writes.entries() {
            if let Entry::Put { metadata, .. } = entry {
                MetadataRef::checked(metadata)?;
            }
        }
        for (stamp, seq, entry) in writes.entries() {
            match entry {
                Entry::Put { id, term, vector, metadata } => {
                    let components = vector.chunks_exact(4).map(|c| f32::from_le_bytes([c[0], c[1], c[2], c[3]]));
                    let metadata = MetadataRef::trusted(metadata);
                    self.put(&Row { key: id.key(), id: &id, stamp, seq, metadata }, components, term, applied);
                }
                Entry::Delete { id } => self.bury(id, stamp, seq, applied),
            }
        }
        Ok(())
    }

    /// Puts a point in the place of what is there of its id, unless that is newer.
    pub(super) fn put(&mut self, row: &Row<'_>, vector: impl Iterator<Item = f32>, term: f32, applied: &mut Applied) {
        let Row { key, stamp, seq, .. } = *row;
        if self.stamp_of(&key).is_some_and(|newest| newest >= stamp) {
            applied.superseded += 1;
            return;
        }
        self.kill(&key);
        let term = self.config.metric.has_terms().then_some(term);
        self.memtable.put(row, vector, term);
        if let Some(item) = self.fresh_item(&key) {
            self.digest.add(&item);
        }
        self.sync.note_write(key, stamp, seq);
        applied.upserted += 1;
    }

    /// Deletes what is there of an id, unless that is newer.
    pub(super) fn bury(&mut self, id: PointId, stamp: Stamp, seq: u64, applied: &mut Applied) {
        let key = id.key();
        if self.stamp_of(&key).is_some_and(|newest| newest >= stamp) {
            applied.superseded += 1;
            return;
        }
        applied.deleted += usize::from(self.kill(&key));
        // Buried even when nothing was live: a replay meets bitmaps that know of the delete already.
        self.memtable.bury(Tombstone { key, id, stamp, seq });
        self.sync.note_write(key, stamp, seq);
    }

    /// The newest stamp under which the collection knows an id, dead or alive.
    pub(super) fn stamp_of(&self, key: &IdKey) -> Option<Stamp> {
        self.memtable.stamp_of(key).or_else(|| self.sealed_stamp_of(key))
    }

    /// The same of what the segments know.
    pub(super) fn sealed_stamp_of(&self, key: &IdKey) -> Option<Stamp> {
        let sealed = self.segments.iter().filter_map(|s| {
            let live = s.segment.find(key).filter(|&offset| s.live.is_live(offset)).map(|o| s.segment.stamp(o));
            let dead = s.segment.tombstone_of(key).map(|tombstone| tombstone.stamp);
            live.max(dead.filter(|&stamp| self.sync.counts(stamp)))
        });
        sealed.max()
    }

    /// Kills the live point of an id; says whether there was one.
    pub(super) fn kill(&mut self, key: &IdKey) -> bool {
        if let Some(item) = self.fresh_item(key) {
            self.digest.subtract(&item);
        }
        if self.memtable.kill(key) {
            return true;
        }
        let space = self.sync.key();
        for segment in &mut self.segments {
            let before = segment.digest;
            if segment.kill(key, space) {
                self.digest = self.digest.without(&before).with(&segment.digest);
                return true;
            }
        }
        false
    }

    /// A live point of the memtable as digests see it, where there is a key for them.
    fn fresh_item(&self, key: &IdKey) -> Option<Item> {
        let (block, at) = self.memtable.find(key)?;
        Some(self.snapshot.fresh_item_at(self.sync.key()?, &self.memtable.blocks()[block], at))
    }

    /// Where an id is live, in the newest snapshot too.
    pub(super) fn place_of(&self, key: &IdKey) -> Option<Place> {
        if let Some((block, at)) = self.memtable.find(key) {
            return Some(Place::Memtable { block: block as u32, at: at as u32 });
        }
        self.snapshot.find_sealed(key)
    }

    pub(super) fn take_lsn(&mut self) -> Lsn {
        let lsn = self.next_lsn;
        self.next_lsn = lsn.next();
        lsn
    }
}

fn check_batch(count: usize) -> Result<()> {
    if count == 0 {
        return Err(Error::invalid_argument("a batch has at least one point"));
    }
    check_most(count)
}

fn check_most(count: usize) -> Result<()> {
    if count > MAX_BATCH {
        return Err(Error::limit_exceeded(format!("a batch has at most {MAX_BATCH} points, not {count}")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collection::{CollectionConfig, Point};
    use crate::metric::Metric;
    use crate::sync::SpaceKey;

    /// A collection, and four writes of it that are prepared.
    fn prepared() -> (Collection, Vec<Prepared>) {
        let config = CollectionConfig::new("group", 2, Metric::L2).unwrap();
        let mut collection = Collection::create_leading(config, SpaceKey([7; 32]), 1).unwrap();
        let mut stamper = Stamper::new(1, 0, 0);
        stamper.reserve(100);
        let ids: Vec<PointId> = (0..6).map(PointId::Int).collect();
        let vectors: Vec<f32> = (0..12).map(|x| x as f32).collect();
        let mut upsert = |from: usize, to: usize, stamper: &mut Stamper| {
            let vectors = Vectors::F32(&vectors[..2 * (to - from)]);
            let batch = UpsertBatch { ids: &ids[from..to], vectors, metadata: &[] };
            collection.prepare_upsert(&batch, stamper, 1, None).unwrap()
        };
        let mut group = alloc::vec![upsert(0, 4, &mut stamper), upsert(2, 6, &mut stamper)];
        group.push(collection.prepare_delete(&ids[1..3], &mut stamper, 1, None).unwrap().unwrap());
        group.push(collection.prepare_delete(&ids[..2], &mut stamper, 1, None).unwrap().unwrap());
        (collection, group)
    }

    fn points(collection: &Collection) -> Vec<Point> {
        collection.snapshot().points().collect()
    }

    #[test]
    fn a_group_does_what_its_writes_do_one_after_the_other() {
        let (mut together, group) = prepared();
        let before = together.snapshot();
        let at_once = together.publish_group(&group);
        let (mut apart, group) = prepared();
        let one_by_one: Vec<_> = group.iter().map(|write| apart.publish(write)).collect();
        assert_eq!(at_once, one_by_one);
        let [_, _, deleted, last] = at_once.as_slice() else { panic!("four answers") };
        assert_eq!((deleted.as_ref().unwrap().deleted, last.as_ref().unwrap().deleted), (2, 1));
        assert_eq!((points(&together).len(), points(&together)), (3, points(&apart)));
        assert_eq!((together.digest(), together.recount()), (apart.digest(), apart.digest()));
        assert_eq!(together.snapshot().through(), group[3].lsn());
        assert!(before.is_empty(), "who reads goes on with what was there");
    }

    #[test]
    fn what_follows_a_gap_in_a_group_is_not_published() {
        let (mut collection, group) = prepared();
        let published = collection.publish_group([&group[0], &group[2], &group[3]]);
        assert!(published[0].is_ok() && published[1].is_err() && published[2].is_err(), "{published:?}");
        assert_eq!((points(&collection).len(), collection.newest_lsn()), (4, group[0].lsn()));
    }
}
