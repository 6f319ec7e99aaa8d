//! Building elsewhere: the rows of a large job are lent to a builder, another worker of the page's, and while it builds their
//! graph the engine's own thread is free for searches. What comes back is stored and installed like what was built here.
//!
//! A job is lent whole and once. A builder that fails gives nothing back: its job is built here from the start, which it
//! can be because its input stays where it was, and no other is lent.

use std::sync::Arc;

use hyperspace_core::bytes::AlignedBytes;
use hyperspace_core::collection::{Job, SealedJob};
use hyperspace_core::error::Result;
use hyperspace_core::segment::{Checks, Segment};
use hyperspace_core::types::SegmentId;

use super::database::Database;
use crate::kv::Kv;

/// Jobs of fewer insertions are done before a builder has begun.
const LEAST: u32 = 1_000;

/// Where a job is worked at.
#[derive(Default)]
pub(super) enum Place {
    #[default]
    Here,
    /// Nowhere: it waits for a builder, with the rows that it needs.
    Offered(AlignedBytes),
    /// With a builder.
    Away,
    /// It is done: the segment and its name.
    Back(SegmentId, AlignedBytes),
}

impl Place {
    pub(super) const fn is_away(&self) -> bool {
        matches!(self, Self::Offered(_) | Self::Away)
    }
}

/// What a job has become, here or elsewhere.
pub(super) fn sealed(job: Job, place: Place) -> Result<SealedJob> {
    match place {
        Place::Back(id, bytes) => job.take(Arc::new(Segment::open(id, Arc::new(bytes), Checks::Structure)?)),
        _ => job.finish(),
    }
}

impl<K: Kv> Database<K> {
    /// Says whether there is a builder to lend jobs to.
    pub fn lend(&self, lends: bool) {
        self.lends.set(lends);
    }

    /// Offers a job that begins, if it is worth it.
    pub(super) fn offer(&self, job: &mut Job, remaining: u32) -> Result<Option<Place>> {
        let rows = if self.lends.get() && remaining >= LEAST { job.lend()? } else { None };
        Ok(rows.map(Place::Offered))
    }

    /// The rows of a job for a builder, once.
    pub fn lent(&self) -> Option<AlignedBytes> {
        let mut job = self.job.borrow_mut();
        let place = &mut job.as_mut().filter(|job| matches!(job.place, Place::Offered(_)))?.place;
        match std::mem::replace(place, Place::Away) {
            Place::Offered(rows) => Some(rows),
            _ => None,
        }
    }

    /// How many insertions its builder has left.
    pub fn left(&self, remaining: u32) {
        if let Some(job) = self.job.borrow_mut().as_mut() {
            job.remaining = remaining;
        }
    }

    /// Takes what a builder made of the rows, or nothing when it failed.
    pub fn given_back(&self, built: Option<(SegmentId, AlignedBytes)>) {
        self.lends.set(self.lends.get() && built.is_some());
        if let Some(job) = self.job.borrow_mut().as_mut().filter(|job| job.place.is_away()) {
            job.place = built.map_or(Place::Here, |(id, bytes)| Place::Back(id, bytes));
        }
    }
}
