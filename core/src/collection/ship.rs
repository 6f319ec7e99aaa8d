//! Sealed segments that travel as a whole, their graphs in them: what a leader gives away, and what a replica takes into
//! service. A fresh replica so has everything without building anything.
//!
//! Segments that arrive bring what pages would have brought, so they may come in any order, again, or not all of them: for
//! each id the newest write stays. The cursor is moved once all are there; until then they are rows that are known early.
//! What the memtable knows of an id is newer than what its segments say, or else it comes before them as a change of rows
//! ([`Collection::news_of`]): a log that is replayed over them then ends the same.

use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::error::{Error, Result};
use crate::log::{Rec, body};
use crate::segment::{LiveBitmap, Manifest, Segment};
use crate::sync::{Cursor, Digest, Floor, RowChange, State};
use crate::types::{IdKey, Lsn, Offset, Stamp};

use super::job::SealedJob;
use super::schedule::JobOut;
use super::{Collection, LiveSegment};

/// Rows for which a tab would feel that it builds a graph: so many it seals at once.
const FELT_ROWS: usize = 2_000;

/// What a leader ships.
#[derive(Clone, Debug)]
pub struct Shipment {
    /// With these segments everything up to here is known.
    pub cursor: Cursor,
    /// Tombstones up to this number may be gone.
    pub floor: Floor,
    /// The collection with these segments and no others.
    pub manifest: Manifest,
    /// The segments, in the order of the manifest.
    pub segments: Vec<Arc<Segment>>,
}

impl Collection {
    /// Whether a replica that knows everything up to a number is better served with segments than with rows: there is so much
    /// news that it would have to build a graph for them, and at least half of what the segments hold is news.
    pub fn ships(&self, after: u64) -> bool {
        let (mut news, mut points) = (0, 0);
        for sealed in self.segments_behind(after) {
            let is_news = |offset: &Offset| after == 0 || sealed.segment.seq(*offset) > after;
            news += sealed.live.iter().filter(is_news).count();
            points += sealed.segment.len() as usize;
        }
        news >= self.policy.rows.min(FELT_ROWS)
            && 2 * news >= points
            && self.sealed_head().is_some_and(|head| head.seq > after)
    }

    /// The segments that a replica lacks which knows everything up to a number.
    ///
    /// # Errors
    /// `Conflict` when none have been sealed since the collection leads.
    pub fn shipment(&self, after: u64) -> Result<Shipment> {
        let (State::Leader(leader), Some(cursor)) = (&self.sync, self.sealed_head()) else {
            let name = &self.config.name;
            return Err(Error::conflict(format!("collection `{name}` has sealed nothing since it leads")));
        };
        let shipped: Vec<LiveSegment> = self.segments_behind(after).cloned().collect();
        let manifest = self.manifest_of(&shipped, Lsn(0), Vec::new());
        let segments = shipped.into_iter().map(|sealed| sealed.segment).collect();
        Ok(Shipment { cursor, floor: leader.floor(), manifest, segments })
    }

    /// Everything up to here is in segments.
    fn sealed_head(&self) -> Option<Cursor> {
        let State::Leader(leader) = &self.sync else { return None };
        let Ok(State::Leader(sealed)) = State::decode(&self.sealed_sync) else { return None };
        // In another term the same numbers may have been other writes.
        Some(sealed.head()).filter(|head| head.epoch == leader.head().epoch)
    }

    fn segments_behind(&self, after: u64) -> impl Iterator<Item = &LiveSegment> {
        self.segments.iter().filter(move |sealed| sealed.segment.newest_seq() > after)
    }

    /// Whether a segment is in service.
    pub fn has_segment(&self, id: &[u8; 32]) -> bool {
        self.segments.iter().any(|sealed| sealed.segment.id().0 == *id)
    }

    /// What of a segment that arrives is newer than what the memtable knows: to be put as rows before it is adopted.
    pub fn news_of(&self, segment: &Segment, live: &LiveBitmap) -> Vec<RowChange> {
        let is_news = |key: &IdKey, stamp| self.memtable.stamp_of(key).is_some_and(|known: Stamp| known < stamp);
        let (keys, offsets) = segment.keys();
        let rows = keys.iter().zip(offsets.iter().map(|&offset| Offset(offset)));
        let rows = rows.filter(|(key, offset)| live.is_live(*offset) && is_news(key, segment.stamp(*offset)));
        let rows = rows.map(|(_, offset)| {
            let (space, metadata) = (segment.space(), segment.metadata(offset));
            let body = body(space.term(offset.0), space.row(offset.0), metadata.as_bytes());
            let (id, stamp, seq) = (segment.point_id(offset), segment.stamp(offset), segment.seq(offset));
            Rec { id, stamp, seq, body: Some(body) }
        });
        let graves = segment.tombstones().filter(|tombstone| is_news(&tombstone.key, tombstone.stamp));
        let graves = graves.map(|grave| Rec { id: grave.id, stamp: grave.stamp, seq: grave.seq, body: None });
        rows.chain(graves).map(RowChange::Put).collect()
    }

    /// Takes a segment that a leader sealed as the result of a job: to be stored, flipped to and installed like any other.
    /// `live` says which of its points were live there, `sum` what the leader's digest of these is. Nothing when it brings
    /// nothing: all of it is here.
    ///
    /// # Errors
    /// `Corrupted` when it is of another shape, or its points do not amount to the digest.
    pub fn adopt(&mut self, segment: Arc<Segment>, live: LiveBitmap, sum: u128) -> Result<Option<SealedJob>> {
        self.config.check_segment(&segment)?;
        let items = self.sync.key().map(|space| {
            let (keys, offsets) = segment.keys();
            let rows = keys.iter().zip(offsets.iter().map(|&offset| Offset(offset)));
            let live = rows.filter(|(_, offset)| live.is_live(*offset));
            live.fold(Digest::default(), |mut digest, (key, offset)| {
                digest.add(&segment.digest_item(space, *key, offset));
                digest
            })
        });
        let digest = items.unwrap_or_default();
        if digest.sum != sum {
            return Err(Error::corrupted(format!(
                "the points of segment {} are not what its leader counts",
                segment.id()
            )));
        }
        let arrival = LiveSegment { segment: Arc::clone(&segment), live: live.clone(), digest };
        let is_news = |stamp, known: Option<Stamp>| known.is_none_or(|known| known < stamp);
        let brings_deletes = segment.tombstones().any(|t| is_news(t.stamp, self.stamp_of(&t.key)));
        // What is stored twice would be dropped twice.
        let brings_points = self.with_arrival(arrival).last().is_some_and(|arrived| arrived.live.live() > 0);
        if self.has_segment(&segment.id().0) || !brings_points && !brings_deletes {
            return Ok(None);
        }
        self.last_job = self.last_job.next();
        self.jobs_out.push(JobOut { id: self.last_job, segments: alloc::vec![segment.id()] });
        Ok(Some(SealedJob::arrived(self.last_job, segment, live, digest)))
    }

    /// The segments with one more that arrived: of each id the newest write is live, in it or elsewhere.
    pub(super) fn with_arrival(&self, mut arrival: LiveSegment) -> Vec<LiveSegment> {
        let (mut after, space, segment) = (self.segments.clone(), self.sync.key(), Arc::clone(&arrival.segment));
        let (keys, offsets) = segment.keys();
        for (key, &offset) in keys.iter().zip(offsets) {
            let offset = Offset(offset);
            if !arrival.live.is_live(offset) {
                continue;
            }
            let sealed = self.sealed_stamp_of(key);
            if self.memtable.stamp_of(key).is_some() || sealed.is_some_and(|known| known >= segment.stamp(offset)) {
                arrival.kill(key, space);
            } else if sealed.is_some() {
                for other in &mut after {
                    other.kill(key, space);
                }
            }
        }
        for grave in segment.tombstones().filter(|grave| self.sync.counts(grave.stamp)) {
            for other in &mut after {
                let found = other.segment.find(&grave.key);
                if found.is_some_and(|offset| other.segment.stamp(offset) < grave.stamp) {
                    other.kill(&grave.key, space);
                }
            }
        }
        after.push(arrival);
        after
    }

    /// Counts a segment that was taken into service.
    pub(super) fn note_arrival(&mut self, before: Digest) {
        self.digest = self.digest.without(&before).with(&self.sealed_digest());
        let newest = self.segments.iter().map(|sealed| sealed.segment.newest_hlc()).max();
        self.newest_hlc = newest.unwrap_or(0).max(self.newest_hlc);
    }

    /// The digest of all live points in segments.
    pub(super) fn sealed_digest(&self) -> Digest {
        self.segments.iter().fold(Digest::default(), |sum, sealed| sum.with(&sealed.digest))
    }
}
