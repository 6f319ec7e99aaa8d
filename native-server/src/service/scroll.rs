//! Pages of all points: in the order of the keys of their ids, which does not change while points are written and
//! segments are sealed. The cursor is the key that the page before ended with.

use hyperspace_core::collection::{MAX_BATCH, Snapshot};
use hyperspace_core::error::{Error, Result};
use hyperspace_core::types::IdKey;

use super::convert::{Budget, Wanted, count, filter_from};
use crate::proto::{ScrollRequest, ScrollResponse};

/// Points of a page that does not say.
const DEFAULT_LIMIT: usize = 100;
/// A page ends when it is this long: well below what clients accept by default, 4 MiB, with one more point.
const PAGE_BYTES: usize = 2 << 20;
/// Points that are looked at before the length of the page is.
const STEP: usize = 64;
/// Steps of one page, so that a filter that lets nothing through does not hold a slot for long.
const MOST_STEPS: usize = 256;

/// Puts one page together.
pub(super) fn page(snapshot: &Snapshot, request: &ScrollRequest) -> Result<ScrollResponse> {
    let filter = filter_from(&request.filter)?;
    let limit = match count(request.limit) {
        0 => DEFAULT_LIMIT,
        limit if limit <= MAX_BATCH => limit,
        _ => return Err(Error::limit_exceeded(format!("limit is at most {MAX_BATCH}, not {}", request.limit))),
    };
    let wanted = Wanted::new(request.with_vector, request.with_metadata);
    // Room for one more point than the page has, since the length is looked at behind each.
    let budget = Budget::new(PAGE_BYTES * 2);
    let mut after = cursor_from(&request.cursor)?;
    let mut points = Vec::new();
    for _ in 0..MOST_STEPS {
        let step = snapshot.scroll(after, STEP.min(limit - points.len()), &filter);
        let mut found = step.points.into_iter();
        for point in found.by_ref() {
            let key = point.id.key();
            points.push(wanted.point(point, &budget)?);
            if points.len() == limit || budget.has_fewer_than(PAGE_BYTES) {
                let is_last = step.next.is_none() && found.len() == 0;
                return Ok(ScrollResponse { points, next_cursor: cursor_to((!is_last).then_some(key)) });
            }
        }
        after = step.next;
        if after.is_none() {
            break;
        }
    }
    Ok(ScrollResponse { points, next_cursor: cursor_to(after) })
}

fn cursor_to(key: Option<IdKey>) -> Vec<u8> {
    key.map_or_else(Vec::new, |key| key.0.to_vec())
}

pub(super) fn cursor_from(bytes: &[u8]) -> Result<Option<IdKey>> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let key = bytes.try_into();
    key.map(|key| Some(IdKey(key))).map_err(|_| {
        Error::invalid_argument(format!("the cursor has {} bytes: it is the `next_cursor` of a page", bytes.len()))
    })
}
