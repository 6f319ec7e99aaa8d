//! How many of the nearest points searches find, measured when somebody asks. Each query takes a slot of its own, like any
//! search, so that others get their turn in between.

use hyperspace_core::collection::{RECALL_QUERIES, Recall, RecallTest, Scratch};
use tonic::{Request, Response};

use super::convert::count;
use super::handlers::{Answer, Handlers};
use super::status::status;
use crate::proto::{MeasureRecallRequest, MeasureRecallResponse};

/// How many nearest points are asked for by default.
const TOP_K: u64 = 10;
/// Standard deviations that 95 % of a normal distribution lie within.
const Z: f64 = 1.959_964;

pub(super) async fn measure(
    handlers: &Handlers,
    request: Request<MeasureRecallRequest>,
) -> Answer<MeasureRecallResponse> {
    let call = handlers.call(request).map_err(status)?;
    let turn = handlers.workers.queue(call.caller.tenant()).map_err(status)?;
    let prepared = turn.clone().compute(move || {
        let MeasureRecallRequest { collection, queries, top_k, ef_search } = &call.message;
        let queries = if *queries == 0 { RECALL_QUERIES[0] } else { count(*queries) };
        let top_k = if *top_k == 0 { TOP_K } else { *top_k };
        let snapshot = call.collection(collection)?.snapshot();
        let test = RecallTest::new(snapshot, queries, count(top_k), ef_search.map(count))?;
        Ok((call, test, top_k))
    });
    let (_call, mut test, top_k) = prepared.await.map_err(status)?;
    let mut scratch = Scratch::default();
    loop {
        let asked = turn.clone().compute(move || test.step(&mut scratch).map(|done| (test, scratch, done)));
        let done;
        (test, scratch, done) = asked.await.map_err(status)?;
        if let Some(recall) = done {
            return Ok(Response::new(answer(&recall, top_k)));
        }
    }
}

fn answer(found: &Recall, top_k: u64) -> MeasureRecallResponse {
    let recall = found.found as f64 / found.nearest.max(1) as f64;
    let (low, high) = interval(recall, found.queries);
    let distances = found.distances as f64 / found.queries.max(1) as f64;
    MeasureRecallResponse { queries: found.queries, top_k, recall, low, high, distances }
}

/// The 95 % interval of a share (Wilson, 1927). What one query finds hangs together, so only queries count as trials: if
/// anything, the interval is too wide.
fn interval(share: f64, trials: u64) -> (f64, f64) {
    if trials == 0 {
        return (0.0, 1.0);
    }
    let n = trials as f64;
    let scale = 1.0 / (1.0 + Z * Z / n);
    let middle = (share + Z * Z / (2.0 * n)) * scale;
    let half = Z * (share * (1.0 - share) / n + Z * Z / (4.0 * n * n)).sqrt() * scale;
    ((middle - half).max(0.0), (middle + half).min(1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_those_of_the_tables() {
        for (share, trials, low, high) in
            [(0.0, 10, 0.0, 0.2775), (0.5, 10, 0.2366, 0.7634), (0.95, 100, 0.8882, 0.9785)]
        {
            let found = interval(share, trials);
            assert!((found.0 - low).abs() < 1e-4 && (found.1 - high).abs() < 1e-4, "{found:?}, {low} to {high}");
        }
        let (low, high) = interval(0.0, 0);
        assert!(low <= 0.0 && high >= 1.0, "nothing is known");
    }
}
