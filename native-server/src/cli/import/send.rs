//! Batches are sent, a few at a time, until all of them are acknowledged or one cannot be.
//!
//! What may work later is tried again with the same ids, so that a batch whose answer was lost is written twice with the
//! same result. Invariant: two batches that are under way have no id in common; of equal ids in a file the last one stays,
//! as in one batch.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use hyperspace_core::error::Result;
use hyperspace_core::types::PointId;
use prost::Message;
use tokio::sync::mpsc::Receiver;
use tokio::task::JoinSet;

use super::batches::Batch;
use crate::cli::connect::{Points, Session};
use crate::cli::failure::{at, of_status};
use crate::proto;

/// How many batches are under way at most.
const MOST_UNDER_WAY: usize = 4;
/// How often a batch is sent before the import gives up: about a minute of waiting.
const MOST_ATTEMPTS: u32 = 12;
/// The longest pause after the first attempt; it doubles from there.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// Where batches go.
pub(super) struct Target {
    pub(super) collection: String,
    pub(super) durability: proto::Durability,
}

/// A batch that is on the server.
pub(super) struct Acknowledged {
    /// Its rows.
    pub(super) rows: Range<u64>,
    /// How far the file was read when it was full.
    pub(super) position: u64,
    /// The length of its message.
    pub(super) bytes: u64,
}

/// Sends all batches and tells of each one that was acknowledged, in any order.
///
/// # Errors
/// The first error that trying again does not mend, with the rows it is about. Batches that were under way are waited for.
pub(super) async fn send(
    session: &Session,
    target: Target,
    mut batches: Receiver<Batch>,
    mut acknowledged: impl FnMut(Acknowledged),
) -> Result<()> {
    let mut flight = Flight { session, target: Arc::new(target), under_way: JoinSet::new(), ids: HashSet::new() };
    let mut outcome = Ok(());
    while outcome.is_ok() {
        let Some(batch) = batches.recv().await else { break };
        while outcome.is_ok() && !flight.has_room_for(&batch) {
            outcome = flight.land(&mut acknowledged).await;
        }
        if outcome.is_ok() {
            flight.start(batch);
        }
    }
    while !flight.under_way.is_empty() {
        outcome = outcome.and(flight.land(&mut acknowledged).await);
    }
    outcome
}

/// The batches that are under way.
struct Flight<'a> {
    session: &'a Session,
    target: Arc<Target>,
    under_way: JoinSet<(Vec<PointId>, Result<Acknowledged>)>,
    ids: HashSet<PointId>,
}

impl Flight<'_> {
    fn has_room_for(&self, batch: &Batch) -> bool {
        self.under_way.len() < MOST_UNDER_WAY && !batch.ids.iter().any(|id| self.ids.contains(id))
    }

    fn start(&mut self, batch: Batch) {
        self.ids.extend(batch.ids.iter().cloned());
        let (points, target) = (self.session.points(), self.target.clone());
        self.under_way.spawn(async move {
            let result = write(points, &target, &batch).await;
            (batch.ids, result)
        });
    }

    /// Waits for one batch; there is one under way.
    async fn land(&mut self, acknowledged: &mut impl FnMut(Acknowledged)) -> Result<()> {
        let landed = self.under_way.join_next().await.expect("called while batches are under way");
        let (ids, result) = landed.expect("a batch under way neither panics nor is aborted");
        for id in &ids {
            self.ids.remove(id);
        }
        acknowledged(result?);
        Ok(())
    }
}

/// Writes a batch, however often it takes.
async fn write(mut points: Points, target: &Target, batch: &Batch) -> Result<Acknowledged> {
    let mut attempt = 1;
    loop {
        let request = batch.request(&target.collection, target.durability);
        let bytes = request.encoded_len() as u64;
        let Err(status) = points.upsert(request).await else {
            return Ok(Acknowledged { rows: batch.rows.clone(), position: batch.position, bytes });
        };
        let error = of_status(&status);
        let Range { start, end } = batch.rows;
        let place = format!("rows {start} to {}", end - 1);
        if !error.is_retryable() {
            return Err(at(place, &error));
        }
        if attempt == MOST_ATTEMPTS {
            return Err(at(format!("{place}, sent {attempt} times"), &error));
        }
        tokio::time::sleep(pause(attempt, jitter())).await;
        attempt += 1;
    }
}

/// How long to wait after an attempt: doubling, and drawn from its upper half, so that many clients do not come back at once.
fn pause(attempt: u32, jitter: f64) -> Duration {
    let longest = FIRST_PAUSE.saturating_mul(1 << (attempt - 1).min(16)).min(LONGEST_PAUSE);
    longest.mul_f64(0.5 + 0.5 * jitter)
}

/// From 0 to 1; 1 where there is no entropy, because a pause needs none.
fn jitter() -> f64 {
    getrandom::u32().map_or(1.0, |random| f64::from(random) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_ten_seconds_and_are_never_short() {
        assert_eq!(pause(1, 1.0), FIRST_PAUSE);
        assert_eq!(pause(2, 1.0), 2 * FIRST_PAUSE);
        assert_eq!(pause(2, 0.0), FIRST_PAUSE);
        for attempt in 8..=u32::from(u8::MAX) {
            assert_eq!(pause(attempt, 1.0), LONGEST_PAUSE);
        }
        let all: Duration = (1..MOST_ATTEMPTS).map(|attempt| pause(attempt, 1.0)).sum();
        assert!(all > Duration::from_secs(30) && all < Duration::from_secs(90), "gives up after {all:?}");
    }

    #[test]
    fn jitter_is_a_fraction() {
        assert!((0..1000).map(|_| jitter()).all(|jitter| (0.0..=1.0).contains(&jitter)));
    }
}
