//! A collection in memory whose points are all in one sealed segment, as they are after the last merge.
//!
//! Everything but a build that is given hands is done on the calling thread, through the engine's public API: points are written as one would, in batches,
//! then one job seals them. Nothing is stored; what a host adds is measured over its own door.

use std::sync::Arc;

use hyperspace_core::collection::{
    Collection, CollectionConfig, MAX_BATCH, Plan, Scratch, SearchRequest, Snapshot, UpsertBatch, Urgency, Vectors,
};
use hyperspace_core::error::{Error, Result};
use hyperspace_core::log::Stamper;
use hyperspace_core::metadata::Metadata;
use hyperspace_core::metric::QueryVector;
use hyperspace_core::types::PointId;

use crate::hands::Hands;
use crate::rows::Rows;

/// Points that can be searched; the id of each is the number of its row.
#[derive(Debug)]
pub struct Index {
    snapshot: Arc<Snapshot>,
    scratch: Scratch,
}

/// What a run over many queries found.
#[derive(Clone, Debug, Default)]
pub struct Answers {
    /// The nearest rows of each query, nearest first.
    pub ids: Vec<Vec<u64>>,
    /// Distances evaluated for all of them.
    pub distances: u64,
}

impl Index {
    /// Writes all rows and seals them: with hands, in batches; without, on the calling thread, node by node.
    ///
    /// # Errors
    /// As the engine's.
    pub fn build(config: CollectionConfig, rows: &Rows, hands: Option<&Hands>) -> Result<Self> {
        let mut collection = fill(config, rows, |_| None)?;
        if let Some(mut job) = collection.next_job(Urgency::Now) {
            if let Some(hands) = hands {
                hands.lead(|| {
                    while job.step_with(hands, u32::MAX)?.remaining > 0 {}
                    Ok::<_, Error>(())
                })?;
            }
            collection.install(job.finish()?);
        }
        Ok(Self { snapshot: collection.snapshot(), scratch: Scratch::default() })
    }

    /// Bytes of its segment: rows, ids, stamps, codes and the graph.
    pub fn bytes(&self) -> usize {
        self.snapshot.segments().iter().map(|sealed| sealed.segment.byte_len()).sum()
    }

    /// Searches one query after the other.
    ///
    /// # Errors
    /// As the engine's.
    pub fn search(&mut self, queries: &Rows, top_k: usize, ef: Option<usize>, plan: Plan) -> Result<Answers> {
        let config = self.snapshot.config();
        let mut answers = Answers::default();
        for row in queries.iter() {
            let query = QueryVector::from_f32(config.metric, config.dimension, row)?;
            let mut request = SearchRequest::new(query, top_k)?.with_plan(plan);
            if let Some(ef) = ef {
                request = request.with_ef(ef)?;
            }
            let outcome = self.snapshot.search(&request, &mut self.scratch)?;
            answers.ids.push(outcome.hits.iter().filter_map(|hit| number(&hit.id)).collect());
            answers.distances += outcome.distances;
        }
        Ok(answers)
    }
}

fn number(id: &PointId) -> Option<u64> {
    if let PointId::Int(number) = id { Some(*number) } else { None }
}

/// A collection with all rows in its memtable, and metadata by their numbers.
///
/// # Errors
/// As the engine's.
pub fn fill(config: CollectionConfig, rows: &Rows, metadata: impl Fn(u64) -> Option<Metadata>) -> Result<Collection> {
    let mut collection = Collection::create(config)?;
    let mut stamper = Stamper::new(1, 0, 0);
    stamper.reserve(u64::MAX);
    for (number, values) in rows.values.chunks(MAX_BATCH * rows.dimension.max(1)).enumerate() {
        let first = (number * MAX_BATCH) as u64;
        let count = (values.len() / rows.dimension) as u64;
        let ids: Vec<PointId> = (first..first + count).map(PointId::Int).collect();
        let metadata: Vec<Metadata> = (first..first + count).map_while(&metadata).collect();
        let batch = UpsertBatch { ids: &ids, vectors: Vectors::F32(values), metadata: &metadata };
        let prepared = collection.prepare_upsert(&batch, &mut stamper, 1, None)?;
        collection.publish(&prepared)?;
    }
    Ok(collection)
}
