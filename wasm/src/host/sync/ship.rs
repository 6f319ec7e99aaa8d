//! Sealed segments that come instead of rows, their graphs in them: when a server says that this is cheaper, nothing has to
//! be built here.
//!
//! A segment comes in pieces, each verified against the name of the whole before it is kept; what is kept is stored at once,
//! so it need not come again, whatever ends. When all of it is there, it is checked as anything from outside, and goes into
//! service as the result of a job does. The cursor moves last. A shipment that cannot be right is given up, and rows are
//! pulled, which is always possible.

use std::rc::Rc;
use std::sync::Arc;

use hyperspace_core::bytes::AlignedBytes;
use hyperspace_core::collection::Collection;
use hyperspace_core::error::{Error, Result};
use hyperspace_core::segment::{
    Checks, LiveBitmap, Manifest, ManifestSegment, Segment, UNIT, UnitHash, are_units, unit_hash,
};
use hyperspace_core::sync::{Change, Cursor, Floor, Local as _, Note, Page, ReplicaNote};
use hyperspace_core::types::{Lsn, SegmentId, SpaceId};

use super::talk::check_time;
use super::{Next, wire};
use crate::host::database::{Database, OpenCollection};
use crate::host::rows::{CHUNK, arriving_key, chunk_range, is_arriving, space_range};
use crate::host::wait::yield_once;
use crate::kv::{Key, Kv, Store};

/// Bytes that are asked for at once: whole units.
const WINDOW: usize = 16 * UNIT;
/// So many answers in a row may bring nothing that is right.
const MOST_WRONG: u32 = 3;
/// The largest segment that a tab takes.
const MOST_BYTES: u64 = 1 << 30;

/// Segments on their way.
pub(in crate::host) struct Shipment {
    cursor: Cursor,
    floor: Floor,
    /// Those that are not here yet; the last one is next.
    segments: Vec<(ManifestSegment, Vec<UnitHash>)>,
    arriving: Option<Arriving>,
}

/// A segment of which a part is here.
struct Arriving {
    bytes: AlignedBytes,
    /// So many of them, from the front, are known to be right.
    known: usize,
    /// So many chunks of it are stored.
    stored: usize,
    wrong: u32,
}

impl Shipment {
    /// Reads the answer to the question for a manifest, which was asked in this term.
    pub(in crate::host) fn read(body: &[u8], epoch: u32) -> Result<Self> {
        let (manifest, units, seq, floor) = wire::manifest(body)?;
        let (hashes, rest) = units.as_chunks();
        let mut hashes = hashes.iter().copied();
        let mut segments = Vec::new();
        for named in Manifest::decode(manifest)?.segments {
            let units: Vec<UnitHash> = hashes.by_ref().take(named.bytes.div_ceil(UNIT as u64) as usize).collect();
            let id = SegmentId(named.id);
            if named.bytes > MOST_BYTES {
                return Err(Error::unsupported(format!(
                    "segment {id} has {} bytes, a tab takes {MOST_BYTES}",
                    named.bytes
                )));
            }
            if !are_units(&units, named.bytes, &id) {
                return Err(Error::corrupted(format!("the units of segment {id} do not amount to it")));
            }
            segments.push((named, units));
        }
        if !rest.is_empty() || hashes.next().is_some() {
            return Err(Error::corrupted("a manifest has more units than its segments"));
        }
        Ok(Self { cursor: Cursor { epoch, seq }, floor, segments, arriving: None })
    }

    /// How many bytes each segment has.
    #[cfg(feature = "fuzzing")]
    pub(in crate::host) fn lengths(&self) -> Vec<u64> {
        self.segments.iter().map(|(named, _)| named.bytes).collect()
    }

    /// Takes bytes of the segment that is arriving.
    pub(super) fn take(&mut self, body: &[u8]) -> Result<()> {
        let (Some(arriving), Some((named, units))) = (&mut self.arriving, self.segments.last()) else {
            return Err(Error::corrupted("a piece of a segment came that nobody waited for"));
        };
        let place = &mut arriving.bytes.as_mut()[arriving.known..];
        let len = body.len().min(place.len());
        place[..len].copy_from_slice(&body[..len]);
        if arriving.verify(units, arriving.known + len) {
            arriving.wrong = 0;
            return Ok(());
        }
        arriving.wrong += 1;
        if arriving.wrong < MOST_WRONG {
            return Ok(());
        }
        let (id, at) = (SegmentId(named.id), arriving.known);
        Err(Error::corrupted(format!("segment {id} does not arrive as it was: byte {at} and what follows")))
    }
}

impl Arriving {
    /// Verifies units of which everything is here, up to a byte; says whether any of them is right.
    fn verify(&mut self, units: &[UnitHash], through: usize) -> bool {
        let (before, bytes) = (self.known, self.bytes.as_ref());
        for (number, hash) in units.iter().enumerate().skip(before / UNIT) {
            let end = bytes.len().min((number + 1) * UNIT);
            if end > through || unit_hash(&bytes[number * UNIT..end], number, units.len() == 1) != *hash {
                break;
            }
            self.known = end;
        }
        self.known > before
    }
}

impl<K: Kv> Database<K> {
    /// Goes on with a shipment until a piece of it has to be fetched, or all of it is here.
    pub(super) async fn ship(&self, collection: &Rc<OpenCollection>, mut shipment: Shipment) -> Result<Next> {
        let space = collection.space();
        if shipment.arriving.is_none() {
            self.sweep_arriving(space, &shipment).await?;
        }
        while let Some((named, units)) = shipment.segments.last() {
            let id = SegmentId(named.id);
            if collection.with_engine(|engine| engine.has_segment(&named.id)) {
                shipment.segments.pop();
                continue;
            }
            let mut arriving = match shipment.arriving.take() {
                Some(arriving) => arriving,
                None => self.resume(space, named, units).await?,
            };
            let bytes = arriving.bytes.as_ref();
            arriving.stored = self.stage_part(space, &id, bytes, arriving.stored, arriving.known).await?;
            if arriving.known < bytes.len() {
                let to = bytes.len().min(arriving.known + WINDOW) - 1;
                let of = collection.with_engine(|engine| engine.replica().space());
                let (path, range) = (format!("/v1/segments/{of:016x}/{id}"), format!("bytes={}-{to}", arriving.known));
                shipment.arriving = Some(arriving);
                collection.talk.borrow_mut().shipment = Some(shipment);
                return Ok(Next::Ask((path.into(), range.into_bytes())));
            }
            let segment = Arc::new(Segment::open(id, Arc::new(arriving.bytes), Checks::Contents)?);
            check_time(segment.newest_hlc(), self.environment.now_ms())?;
            let live = LiveBitmap::decode(&named.live, segment.len())?;
            self.adopt(collection, segment, live, u128::from_le_bytes(named.sum)).await?;
            shipment.segments.pop();
            yield_once().await;
        }
        let _turn = self.turn(collection).await?;
        let Shipment { cursor, floor, .. } = shipment;
        let page = Page { cursor, floor, recs: Vec::new(), answered: Vec::new(), up_to_date: None };
        let change = collection.with_engine(|engine| engine.replica().pull(page));
        let newest = self.stamper.borrow().last_hlc();
        self.store_change(collection, &change, newest).await?;
        collection.sync_restart();
        Ok(Next::Stored)
    }

    /// Deletes what is here of segments that do not come any more.
    async fn sweep_arriving(&self, space: SpaceId, shipment: &Shipment) -> Result<()> {
        let (from, to) = space_range(space);
        let stored = self.kv.keys(Store::Segs, &from, &to).await?;
        let comes =
            |key: &Key| shipment.segments.iter().any(|(named, _)| arriving_key(space, &SegmentId(named.id)) == *key);
        // One that was made here meanwhile has its chunks under the same keys.
        let is_whole = |key: &Key| stored.contains(&chunk_range(key).0);
        let gone = stored.iter().filter(|key| is_arriving(key) && !comes(key) && !is_whole(key));
        self.sweep(gone.cloned().collect()).await;
        Ok(())
    }

    /// Begins with a segment, with as much of it as an earlier attempt has stored.
    async fn resume(&self, space: SpaceId, named: &ManifestSegment, units: &[UnitHash]) -> Result<Arriving> {
        let (bytes, stored) = self.load_arriving(space, &SegmentId(named.id), named.bytes as usize).await?;
        let mut arriving = Arriving { bytes, known: 0, stored: 0, wrong: 0 };
        arriving.verify(units, stored);
        arriving.stored = arriving.known / CHUNK;
        Ok(arriving)
    }

    /// Takes a segment that is stored into service.
    async fn adopt(
        &self,
        collection: &Rc<OpenCollection>,
        segment: Arc<Segment>,
        live: LiveBitmap,
        sum: u128,
    ) -> Result<()> {
        let turn = self.turn(collection).await?;
        let rows = collection.with_engine(|engine| engine.news_of(&segment, &live));
        if !rows.is_empty() {
            let change = Change { rows, note: Note::Replica(ReplicaNote::default()) };
            let newest = self.stamper.borrow().last_hlc();
            self.store_change(collection, &change, newest).await?;
        }
        let before = collection.snapshot().len();
        let adopted = collection.engine.borrow_mut().adopt(Arc::clone(&segment), live, sum)?;
        drop(turn);
        let Some(sealed) = adopted else { return Ok(()) };
        let id = sealed.id();
        match self.hold_settled().await {
            Ok(held) => self.put_into_service(held, Rc::clone(collection), sealed, Lsn(0)).await?,
            Err(error) => {
                collection.engine.borrow_mut().abandon_job(id);
                return Err(error);
            }
        }
        self.observe(collection.with_engine(Collection::newest_hlc));
        self.environment.changed(collection.space(), collection.snapshot().len().abs_diff(before).max(1));
        Ok(())
    }
}
