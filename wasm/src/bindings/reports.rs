//! What the engine tells about itself, as plain JavaScript objects. Counts are numbers: all of them are far below 2^53.

use hyperspace_core::collection::Snapshot;
use js_sys::Array;
use wasm_bindgen::JsValue;

use super::convert::object;
use crate::host::{IndexProgress, OpenCollection};
use crate::kv::{BackendKind, KvCounters};

fn count(number: u64) -> JsValue {
    JsValue::from_f64(number as f64)
}

/// A line in the list of collections.
pub(super) fn summary(snapshot: &Snapshot) -> JsValue {
    let config = snapshot.config();
    object(&[
        ("name", config.name.as_str().into()),
        ("dimension", config.dimension.into()),
        ("metric", config.metric.as_str().into()),
        ("points", snapshot.len().into()),
    ])
}

/// How far the indexing of a collection is.
pub(super) fn progress(one: &IndexProgress) -> JsValue {
    object(&[
        ("collection", one.collection.as_str().into()),
        ("indexed", one.indexed.into()),
        ("pending", one.pending.into()),
        ("done", (one.pending == 0).into()),
    ])
}

/// What went in and out of the store.
pub(super) fn storage(counters: &KvCounters, backend: BackendKind) -> JsValue {
    object(&[
        ("bytesRead", count(counters.bytes_read)),
        ("bytesWritten", count(counters.bytes_written)),
        ("bytesStored", count(counters.bytes_stored)),
        ("transactions", count(counters.transactions)),
        ("reads", count(counters.reads)),
        ("writes", count(counters.writes)),
        ("backend", backend.as_str().into()),
    ])
}

/// What a collection consists of.
pub(super) fn stats(collection: &OpenCollection) -> JsValue {
    let snapshot = collection.snapshot();
    let config = snapshot.config();
    let (searches, distances) = collection.search_counts();
    let segments = snapshot.segments();
    let sealed_bytes: usize = segments.iter().map(|sealed| sealed.segment.byte_len()).sum();
    let largest = segments.iter().map(|sealed| sealed.segment.len()).max().unwrap_or(0);
    let segments = segments.iter().map(|sealed| {
        object(&[
            ("id", sealed.segment.id().to_string().into()),
            ("points", sealed.segment.len().into()),
            ("live", sealed.live.live().into()),
            ("bytes", sealed.segment.byte_len().into()),
        ])
    });
    collection.with_engine(|engine| {
        object(&[
            ("name", collection.name().into()),
            ("dimension", config.dimension.into()),
            ("metric", config.metric.as_str().into()),
            ("points", snapshot.len().into()),
            ("indexed", snapshot.indexed().into()),
            ("pending", snapshot.pending().into()),
            ("segments", segments.collect::<Array>().into()),
            ("bytesInMemory", (sealed_bytes + engine.memtable_bytes()).into()),
            ("tombstones", engine.tombstone_count().into()),
            ("logRecords", count(engine.newest_lsn().0 - engine.sealed_through().0)),
            ("graphInsertions", count(engine.graph_insertions())),
            ("distances", count(distances)),
            ("searches", count(searches)),
            ("efSearch", config.ef_for(largest as usize).into()),
        ])
    })
}
