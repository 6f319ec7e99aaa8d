//! Searches, one by one and in batches. A batch is cut into runs that take slots like searches of their own, so that it
//! uses the cores that are free and others get their turn in between.

use std::mem;
use std::sync::Arc;
use std::time::Instant;

use hyperspace_core::collection::{Plan, SearchRequest};
use hyperspace_core::error::{Error, Result};
use hyperspace_core::filter::Filter;
use hyperspace_core::metric::QueryVector;
use tokio::task::JoinSet;
use tonic::{Request, Response};

use super::convert::{Budget, MAX_ANSWER_BYTES, Rows, Wanted, count, filter_from};
use super::handlers::{Answer, Handlers};
use super::latency::Latencies;
use super::status::status;
use crate::database::OpenCollection;
use crate::proto;

/// The most searches of a batch.
const MAX_QUERIES: usize = 1_000;
/// Searches of a batch that run behind each other in one slot.
const RUN: usize = 16;

/// What searches of one request share.
#[derive(Debug)]
struct Terms {
    top_k: usize,
    filter: Filter,
    ef: Option<usize>,
    plan: Plan,
    wanted: Wanted,
    budget: Budget,
}

impl Terms {
    fn of(message: &proto::SearchBatchRequest) -> Result<Self> {
        Ok(Self {
            top_k: count(message.top_k),
            filter: filter_from(&message.filter)?,
            ef: message.ef_search.map(count),
            plan: if message.exact { Plan::Exact } else { Plan::Auto },
            wanted: Wanted::new(message.with_vector, message.with_metadata),
            budget: Budget::new(MAX_ANSWER_BYTES),
        })
    }

    fn search(&self, collection: &OpenCollection, query: QueryVector) -> Result<proto::SearchResponse> {
        let mut request = SearchRequest::new(query, self.top_k)?.with_filter(self.filter.clone()).with_plan(self.plan);
        if let Some(ef) = self.ef {
            request = request.with_ef(ef)?;
        }
        let (snapshot, found) = collection.search(&request)?;
        let hits = found.hits.iter().map(|hit| self.wanted.hit(&snapshot, hit, &self.budget));
        Ok(proto::SearchResponse { hits: hits.collect::<Result<_>>()?, distances: found.distances })
    }
}

/// A search is a batch of one.
fn batch_of(request: proto::SearchRequest) -> Result<proto::SearchBatchRequest> {
    if !request.text.is_empty() {
        return Err(Error::unsupported("text search is not built yet: leave `text` out"));
    }
    Ok(proto::SearchBatchRequest {
        collection: request.collection,
        vectors: request.vector,
        top_k: request.top_k,
        filter: request.filter,
        ef_search: request.ef_search,
        exact: request.exact,
        with_vector: request.with_vector,
        with_metadata: request.with_metadata,
    })
}

pub(super) async fn one(handlers: &Handlers, request: Request<proto::SearchRequest>) -> Answer<proto::SearchResponse> {
    let since = Instant::now();
    let latencies = Arc::clone(&handlers.latencies);
    handlers
        .compute(request, move |mut call| {
            let message = batch_of(mem::take(&mut call.message))?;
            let terms = Terms::of(&message)?;
            let collection = call.collection(&message.collection)?;
            let query = queries(&collection, message.vectors.as_ref(), Some(1))?.swap_remove(0);
            let response = terms.search(&collection, query)?;
            latencies.record(since.elapsed());
            Ok(response)
        })
        .await
}

pub(super) async fn many(
    handlers: &Handlers,
    request: Request<proto::SearchBatchRequest>,
) -> Answer<proto::SearchBatchResponse> {
    let call = handlers.call(request).map_err(status)?;
    let turn = handlers.workers.queue(call.caller.tenant()).map_err(status)?;
    let prepared = turn.clone().compute(move || {
        let terms = Terms::of(&call.message)?;
        let collection = call.collection(&call.message.collection)?;
        let queries = queries(&collection, call.message.vectors.as_ref(), None)?;
        Ok((call, Arc::new(terms), collection, queries))
    });
    let (_call, terms, collection, queries) = prepared.await.map_err(status)?;

    // Dropped with the request: what has not begun by then never does.
    let mut runs = JoinSet::new();
    for (number, queries) in queries.chunks(RUN).enumerate() {
        let (terms, collection, queries) = (Arc::clone(&terms), Arc::clone(&collection), queries.to_vec());
        let latencies = Arc::clone(&handlers.latencies);
        let run = turn.clone().compute(move || run(&terms, &collection, queries, &latencies));
        runs.spawn(async move { run.await.map(|results| (number, results)) });
    }
    let mut results = Vec::new();
    while let Some(finished) = runs.join_next().await {
        let finished = finished.map_err(|error| status(Error::internal(format!("a bug: a search failed: {error}"))))?;
        results.push(finished.map_err(status)?);
    }
    results.sort_unstable_by_key(|(number, _)| *number);
    let results = results.into_iter().flat_map(|(_, results)| results).collect();
    Ok(Response::new(proto::SearchBatchResponse { results }))
}

fn run(
    terms: &Terms,
    collection: &OpenCollection,
    queries: Vec<QueryVector>,
    latencies: &Latencies,
) -> Result<Vec<proto::SearchResponse>> {
    let timed = |query| {
        let since = Instant::now();
        terms.search(collection, query).inspect(|_| latencies.record(since.elapsed()))
    };
    queries.into_iter().map(timed).collect()
}

/// Proves the queries of a request against its collection.
fn queries(
    collection: &OpenCollection,
    vectors: Option<&proto::Vectors>,
    rows: Option<usize>,
) -> Result<Vec<QueryVector>> {
    let snapshot = collection.snapshot();
    let config = snapshot.config();
    let decoded = Rows::decode(vectors, config.dimension, rows)?;
    let given = decoded.len() / config.dimension;
    if given > MAX_QUERIES {
        return Err(Error::limit_exceeded(format!("a batch has at most {MAX_QUERIES} searches, not {given}")));
    }
    decoded.queries(config.metric, config.dimension)
}
