//! Segments on their way to replicas: which ones are shipped, the hashes of their units, and that they stay readable while
//! somebody fetches them, though a merge has replaced them meanwhile. A mapped file can be read after it was deleted.

use std::sync::Arc;
use std::time::Instant;

use hyperspace_core::collection::Shipment;
use hyperspace_core::error::{Error, Result};
use hyperspace_core::segment::{Segment, UnitHash, unit_hashes};
use hyperspace_core::types::{SegmentId, SpaceId};

use super::collection::OpenCollection;
use super::replicate::{PINNED_FOR, leader_in};
use super::{Database, held};

/// A segment that somebody fetches.
#[derive(Debug)]
pub(super) struct Lent {
    space: SpaceId,
    segment: Arc<Segment>,
    units: Arc<[UnitHash]>,
    /// When it was last asked for.
    since: Instant,
}

impl Lent {
    fn is(&self, space: SpaceId, id: SegmentId) -> bool {
        (self.space, self.segment.id()) == (space, id)
    }

    pub(super) fn is_old(&self) -> bool {
        self.since.elapsed() >= PINNED_FOR
    }
}

impl Database {
    /// The segments that a replica lacks which knows everything up to a number, and the hashes of the units of all of them.
    /// They can be had for [`PINNED_FOR`] after they were last asked for; then [`Database::unpin`] is to be called.
    ///
    /// # Errors
    /// `Conflict` for another term, or when there are none; those of [`Database::welcome`].
    pub fn ship(&self, collection: &OpenCollection, epoch: u32, after: u64) -> Result<(Shipment, Vec<UnitHash>)> {
        let shipment = self.tell_durably(collection, |engine| {
            leader_in(engine, epoch)?;
            engine.shipment(after)
        })?;
        let (space, mut units) = (collection.space(), Vec::new());
        for segment in &shipment.segments {
            let hashes = match self.lent(space, segment.id()) {
                Some((_, hashes)) => hashes,
                None => self.lend(space, segment),
            };
            units.extend_from_slice(&hashes);
        }
        Ok((shipment, units))
    }

    /// A segment that was shipped.
    ///
    /// # Errors
    /// `Conflict` when it is not any more: it was merged, and nobody has asked for it for long.
    pub fn shipped(&self, collection: &OpenCollection, id: SegmentId) -> Result<Arc<Segment>> {
        let present =
            || collection.snapshot().segments().iter().find(|s| s.segment.id() == id).map(|s| s.segment.clone());
        let lent = self.lent(collection.space(), id).map(|(segment, _)| segment);
        lent.or_else(present).ok_or_else(|| {
            let name = collection.name();
            Error::conflict(format!("collection `{name}` has no segment {id}: ask which ones it has now"))
        })
    }

    /// A segment that somebody fetches; it was asked for just now.
    fn lent(&self, space: SpaceId, id: SegmentId) -> Option<(Arc<Segment>, Arc<[UnitHash]>)> {
        let mut lent = held(&self.lent);
        let found = lent.iter_mut().find(|lent| lent.is(space, id))?;
        found.since = Instant::now();
        Some((Arc::clone(&found.segment), Arc::clone(&found.units)))
    }

    /// Hashes a segment, all of it, and keeps it. Two who come at once hash it twice.
    fn lend(&self, space: SpaceId, segment: &Arc<Segment>) -> Arc<[UnitHash]> {
        let units: Arc<[UnitHash]> = unit_hashes(segment.bytes()).into();
        let mut lent = held(&self.lent);
        if !lent.iter().any(|lent| lent.is(space, segment.id())) {
            let (segment, units) = (Arc::clone(segment), Arc::clone(&units));
            lent.push(Lent { space, segment, units, since: Instant::now() });
        }
        units
    }
}
