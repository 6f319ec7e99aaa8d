//! What the engine tells about itself, as plain JavaScript objects.
//!
//! These have a fixed shape and cross by serde-wasm-bindgen. Metadata and filters have none: `convert.rs`.

use hyperspace_core::collection::Snapshot;
use hyperspace_core::error::{Error, Result};
use serde::Serialize;
use serde_wasm_bindgen::Serializer;
use wasm_bindgen::JsValue;

use crate::host::OpenCollection;

/// A report as a plain object. Counts are numbers: all of them are far below 2^53.
pub(super) fn report(value: &impl Serialize) -> Result<JsValue> {
    value.serialize(&Serializer::json_compatible()).map_err(|_| Error::internal("a report could not be made"))
}

/// What is said of a collection that was opened.
#[derive(Serialize)]
pub(super) struct CollectionReply {
    pub(super) space: u64,
    pub(super) dimension: usize,
    pub(super) metric: &'static str,
}

/// A line in the list of collections.
#[derive(Serialize)]
pub(super) struct CollectionSummary {
    name: String,
    dimension: usize,
    metric: &'static str,
    points: usize,
}

impl CollectionSummary {
    pub(super) fn of(snapshot: &Snapshot) -> Self {
        let config = snapshot.config();
        Self {
            name: config.name.to_string(),
            dimension: config.dimension,
            metric: config.metric.as_str(),
            points: snapshot.len(),
        }
    }
}

/// How far the indexing of a collection is.
#[derive(Serialize)]
pub(super) struct Progress {
    pub(super) collection: String,
    pub(super) indexed: usize,
    pub(super) pending: usize,
    pub(super) done: bool,
}

/// What went in and out of the store.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Storage {
    pub(super) bytes_read: u64,
    pub(super) bytes_written: u64,
    pub(super) bytes_stored: u64,
    pub(super) transactions: u64,
    pub(super) reads: u64,
    pub(super) writes: u64,
    pub(super) backend: &'static str,
}

/// What a collection consists of.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Stats {
    name: String,
    dimension: usize,
    metric: &'static str,
    quantization: &'static str,
    points: usize,
    indexed: usize,
    pending: usize,
    coded: usize,
    bytes_per_vector: f64,
    segments: Vec<SegmentStats>,
    bytes_in_memory: usize,
    tombstones: usize,
    log_records: u64,
    graph_insertions: u64,
    distances: u64,
    searches: u64,
    ef_search: usize,
}

#[derive(Serialize)]
struct SegmentStats {
    id: String,
    points: u32,
    live: u32,
    bytes: usize,
}

pub(super) fn stats(collection: &OpenCollection) -> Stats {
    let snapshot = collection.snapshot();
    let config = snapshot.config();
    let (searches, distances) = collection.search_counts();
    let segments = snapshot.segments().iter().map(|sealed| SegmentStats {
        id: sealed.segment.id().to_string(),
        points: sealed.segment.len(),
        live: sealed.live.live(),
        bytes: sealed.segment.byte_len(),
    });
    let segments: Vec<SegmentStats> = segments.collect();
    let sealed_bytes: usize = segments.iter().map(|segment| segment.bytes).sum();
    let largest = segments.iter().map(|segment| segment.points).max().unwrap_or(0);
    collection.with_engine(|engine| Stats {
        name: collection.name().to_owned(),
        dimension: config.dimension,
        metric: config.metric.as_str(),
        quantization: config.quantization.as_str(),
        points: snapshot.len(),
        indexed: snapshot.indexed(),
        pending: snapshot.pending(),
        coded: snapshot.coded(),
        bytes_per_vector: snapshot.bytes_per_vector(),
        segments,
        bytes_in_memory: sealed_bytes + engine.memtable_bytes(),
        tombstones: engine.tombstone_count(),
        log_records: engine.newest_lsn().0 - engine.sealed_through().0,
        graph_insertions: engine.graph_insertions(),
        distances,
        searches,
        ef_search: config.ef_for(largest as usize),
    })
}
