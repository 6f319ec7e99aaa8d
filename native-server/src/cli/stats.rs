//! `stats`: the figures of a server, once or again and again.

use std::time::Duration;

use hyperspace_core::error::Error;
use serde_json::{Value, json};

use super::args;
use super::collections::{config_to_json, metric_name};
use super::connect::Session;
use super::failure::Outcome;
use super::output::{Console, Side, Table, bytes, count, duration, per_second};
use crate::proto;

/// Clears a terminal, so that the next figures stand where the last ones stood.
const CLEAR: &str = "\x1b[H\x1b[2J";

/// Shows the figures; with `--watch` until the server or the user ends it.
pub(crate) async fn stats(session: &Session, arguments: &args::Stats, console: &mut Console<'_>) -> Outcome<()> {
    let count = u64::from(!arguments.watch);
    let request = proto::MonitorRequest { interval_ms: arguments.interval_ms, count };
    let mut stream = session.patient_admin().monitor(request).await?.into_inner();
    let mut seen = 0;
    while let Some(stats) = stream.message().await? {
        if arguments.watch && console.terminals.out && !console.json {
            write!(console.out, "{CLEAR}")?;
        } else if seen > 0 && !console.json {
            writeln!(console.out)?;
        }
        console.answer(|| to_json(&stats), || to_text(&stats, session.server()))?;
        seen += 1;
    }
    match seen {
        0 => Err(Error::internal("the server ended the stream before the first figures").into()),
        _ if arguments.watch => Err(Error::unavailable("the server ended the stream").into()),
        _ => Ok(()),
    }
}

fn to_json(stats: &proto::Stats) -> Value {
    json!({
        "version": stats.version,
        "uptime_ms": stats.uptime_ms,
        "writable": stats.writable,
        "reason": stats.reason,
        "searches": stats.searches,
        "searches_per_second": stats.searches_per_second,
        "search_p50_ms": stats.search_p50_ms,
        "search_p99_ms": stats.search_p99_ms,
        "points_written": stats.points_written,
        "points_written_per_second": stats.points_written_per_second,
        "points_deleted": stats.points_deleted,
        "resident_bytes": stats.resident_bytes,
        "disk_bytes": stats.disk_bytes,
        "log_bytes": stats.log_bytes,
        "log_syncs": stats.log_syncs,
        "log_records": stats.log_records,
        "reopenings": stats.reopenings,
        "collections": stats.collections.iter().map(collection_to_json).collect::<Vec<_>>(),
        "replication": stats.replication.as_ref().map(replication_to_json),
    })
}

fn replication_to_json(replication: &proto::Replication) -> Value {
    let followers = replication.followers.iter();
    let followers = followers.map(|one| json!({ "id": one.id, "connected": one.connected, "behind": one.behind }));
    json!({
        "leads": replication.leads,
        "term": replication.term,
        "leader": replication.leader,
        "connected": replication.connected,
        "stale_ms": replication.stale_ms,
        "trouble": replication.trouble,
        "repaired": replication.repaired,
        "followers": followers.collect::<Vec<_>>(),
    })
}

/// What a server is among others; nothing when it is alone.
fn replication_to_text(replication: &proto::Replication) -> Vec<String> {
    if !replication.leads {
        let state = if replication.trouble.is_empty() { "connected" } else { replication.trouble.as_str() };
        let age = replication.stale_ms.map_or_else(
            || "never equal yet".to_string(),
            |ms| format!("equal {} ago", duration(Duration::from_millis(ms))),
        );
        return vec![format!("follows   {} (term {}), {age}: {state}", replication.leader, replication.term)];
    }
    let each = replication.followers.iter().map(|follower| {
        let state = if follower.connected { "connected" } else { "away" };
        format!("follower  {} {state}, {} writes behind", follower.id, count(follower.behind))
    });
    each.collect()
}

fn collection_to_json(collection: &proto::CollectionStats) -> Value {
    json!({
        "name": collection.name,
        "points": collection.points,
        "pending": collection.pending,
        "segments": collection.segments,
        "dead": collection.dead,
        "tombstones": collection.tombstones,
        "segment_bytes": collection.segment_bytes,
        "memtable_bytes": collection.memtable_bytes,
        "indexing": collection.indexing,
        "graph_insertions": collection.graph_insertions,
        "searches": collection.searches,
        "distances": collection.distances,
        "sequence": collection.sequence,
        "digest": collection.digest,
        "coded": collection.coded,
        "bytes_per_vector": collection.bytes_per_vector,
        "config": collection.config.as_ref().map(config_to_json),
    })
}

fn to_text(stats: &proto::Stats, server: &str) -> String {
    let uptime = duration(Duration::from_millis(stats.uptime_ms));
    let memory = if stats.resident_bytes == 0 { "unknown".to_string() } else { bytes(stats.resident_bytes) };
    let mut lines = vec![
        format!("hyperspace-server {} at {server}, up {uptime}", stats.version),
        format!(
            "searches  {:<12} {:<12} p50 {:.2} ms  p99 {:.2} ms",
            count(stats.searches),
            per_second(stats.searches_per_second),
            stats.search_p50_ms,
            stats.search_p99_ms
        ),
        format!(
            "points    {:<12} {:<12} {} deleted",
            count(stats.points_written),
            per_second(stats.points_written_per_second),
            count(stats.points_deleted)
        ),
        format!("memory    {memory}"),
        format!(
            "disk      {:<12} log {}: {} writes made durable by {} syncs",
            bytes(stats.disk_bytes),
            bytes(stats.log_bytes),
            count(stats.log_records),
            count(stats.log_syncs)
        ),
    ];
    if stats.reopenings > 0 {
        lines.push(format!("opened again after a failure: {} times", count(stats.reopenings)));
    }
    lines.extend(stats.replication.iter().flat_map(replication_to_text));
    if !stats.writable {
        lines.push(format!("WRITES ARE REFUSED: {}", stats.reason));
    }
    lines.push(String::new());
    lines.push(if stats.collections.is_empty() { "no collections".to_string() } else { table(&stats.collections) });
    lines.join("\n")
}

/// What a walk keeps in memory of a vector, and how many have codes if not all or none have.
fn vector(collection: &proto::CollectionStats) -> String {
    let sealed = collection.points - collection.pending;
    let some = collection.coded != 0 && collection.coded != sealed;
    let coded = if some { format!(", {} coded", count(collection.coded)) } else { String::new() };
    format!("{:.0} B{coded}", collection.bytes_per_vector)
}

fn table(collections: &[proto::CollectionStats]) -> String {
    let mut table = Table::new(&[
        ("collection", Side::Left),
        ("metric", Side::Left),
        ("dimension", Side::Right),
        ("points", Side::Right),
        ("pending", Side::Right),
        ("dead", Side::Right),
        ("segments", Side::Right),
        ("on disk", Side::Right),
        ("in memory", Side::Right),
        ("a vector", Side::Right),
        ("searches", Side::Right),
        ("state", Side::Left),
    ]);
    for collection in collections {
        let config = collection.config.clone().unwrap_or_default();
        let state = if collection.indexing { "indexing" } else { "idle" };
        table.row([
            collection.name.clone(),
            metric_name(&config),
            count(config.dimension),
            count(collection.points),
            count(collection.pending),
            count(collection.dead),
            count(collection.segments),
            bytes(collection.segment_bytes),
            bytes(collection.memtable_bytes),
            vector(collection),
            count(collection.searches),
            state.to_string(),
        ]);
    }
    table.render()
}
