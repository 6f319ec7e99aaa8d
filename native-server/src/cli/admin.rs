//! `health`, `configure`, `snapshot`, `vacuum`, `recall`, `promote` and `remove-follower`.

use hyperspace_core::error::Error;
use serde_json::json;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;

use super::args::{Configure, Recall};
use super::collections;
use super::connect::Session;
use super::failure::Outcome;
use super::output::{Console, bytes, count};
use crate::proto;

/// Says whether the server accepts writes.
pub(crate) async fn health(session: &Session, console: &mut Console<'_>) -> Outcome<()> {
    let answer = session.health().check(HealthCheckRequest::default()).await?.into_inner();
    if answer.status() != ServingStatus::Serving {
        return Err(Error::unavailable(format!("{} does not serve", session.server())).into());
    }
    console.answer(|| json!({ "serving": true }), || "serving".into())
}

/// Changes how a collection searches and builds, and shows what it is now.
pub(crate) async fn configure(session: &Session, arguments: Configure, console: &mut Console<'_>) -> Outcome<()> {
    let request = proto::ConfigureRequest {
        collection: arguments.collection,
        ef_search: arguments.ef_search,
        ef_construction: arguments.ef_construction,
    };
    let collection = session.admin().configure(request).await?.into_inner();
    console.answer(|| collections::to_json(&collection), || collections::describe(&collection))
}

/// Has the server write a copy of the database.
pub(crate) async fn snapshot(session: &Session, console: &mut Console<'_>) -> Outcome<()> {
    let written = session.patient_admin().snapshot(proto::SnapshotRequest {}).await?.into_inner();
    console.answer(
        || json!({ "name": written.name, "path": written.path, "bytes": written.bytes, "files": written.files }),
        || {
            let size = bytes(written.bytes);
            format!(
                "snapshot {}: {size} in {} files, on the server in {}",
                written.name,
                count(written.files),
                written.path
            )
        },
    )
}

/// Has the server return the space of dead points.
pub(crate) async fn vacuum(session: &Session, collection: Option<String>, console: &mut Console<'_>) -> Outcome<()> {
    let request = proto::VacuumRequest { collection: collection.unwrap_or_default() };
    let done = session.patient_admin().vacuum(request).await?.into_inner();
    console.answer(
        || {
            json!({
                "segments_rewritten": done.segments_rewritten,
                "points_dropped": done.points_dropped,
                "bytes_before": done.bytes_before,
                "bytes_after": done.bytes_after,
            })
        },
        || {
            format!(
                "rewrote {} segments, dropped {} dead points: {} before, {} after",
                count(done.segments_rewritten),
                count(done.points_dropped),
                bytes(done.bytes_before),
                bytes(done.bytes_after)
            )
        },
    )
}

/// Has the server measure how many of the nearest points its searches find.
pub(crate) async fn recall(session: &Session, arguments: Recall, console: &mut Console<'_>) -> Outcome<()> {
    let Recall { collection, queries, top_k, ef_search } = arguments;
    let request = proto::MeasureRecallRequest { collection, queries, top_k, ef_search };
    let done = session.patient_admin().measure_recall(request).await?.into_inner();
    console.answer(
        || {
            json!({
                "queries": done.queries,
                "top_k": done.top_k,
                "recall": done.recall,
                "low": done.low,
                "high": done.high,
                "distances": done.distances,
            })
        },
        || {
            format!(
                "recall@{} {:.4} ({:.4} to {:.4} with 95 % confidence), {:.0} distances a search, {} queries",
                done.top_k,
                done.recall,
                done.low,
                done.high,
                done.distances,
                count(done.queries)
            )
        },
    )
}

/// Makes a follower the leader of what it has.
pub(crate) async fn promote(session: &Session, console: &mut Console<'_>) -> Outcome<()> {
    let done = session.patient_admin().promote(proto::PromoteRequest {}).await?.into_inner();
    console.answer(
        || json!({ "term": done.term, "promoted": done.promoted }),
        || {
            let since = if done.promoted { "now" } else { "already" };
            format!("{} leads {since}, in term {}", session.server(), done.term)
        },
    )
}

/// Has a leader count a follower no more.
pub(crate) async fn remove_follower(session: &Session, id: String, console: &mut Console<'_>) -> Outcome<()> {
    let done = session.admin().remove_follower(proto::RemoveFollowerRequest { id: id.clone() }).await?.into_inner();
    console.answer(
        || json!({ "id": id, "removed": done.removed }),
        || if done.removed { format!("removed follower {id}") } else { format!("there is no follower {id}") },
    )
}
