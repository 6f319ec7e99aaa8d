//! The service `Points`; searches are in `search.rs`, pages in `scroll.rs`.

use hyperspace_core::collection::UpsertBatch;
use hyperspace_core::error::{Error, Result};
use hyperspace_core::types::PointId;
use tonic::Request;

use super::convert::{
    Budget, MAX_ANSWER_BYTES, Rows, Wanted, durability_from, filter_from, id_to, ids_from, metadata_from, new_ids,
};
use super::handlers::{Answer, Call, Handlers, Queued};
use super::{scroll, search};
use crate::database::Which;
use crate::proto::delete_request;
use crate::proto::points_server::Points;
use crate::proto::{
    CountRequest, CountResponse, DeleteRequest, DeleteResponse, GetRequest, GetResponse, ScrollRequest, ScrollResponse,
    SearchBatchRequest, SearchBatchResponse, SearchRequest, SearchResponse, SetMetadataRequest, SetMetadataResponse,
    UpsertRequest, UpsertResponse,
};

#[tonic::async_trait]
impl Points for Handlers {
    async fn upsert(&self, request: Request<UpsertRequest>) -> Answer<UpsertResponse> {
        let respond = |sequence, ids: Vec<PointId>| UpsertResponse { ids: ids.iter().map(id_to).collect(), sequence };
        self.write(request, upsert, |written, ids| respond(written.sequence, ids)).await
    }

    async fn delete(&self, request: Request<DeleteRequest>) -> Answer<DeleteResponse> {
        self.write(request, delete, |written, ()| DeleteResponse {
            deleted: written.applied.deleted as u64,
            sequence: written.sequence,
        })
        .await
    }

    async fn set_metadata(&self, request: Request<SetMetadataRequest>) -> Answer<SetMetadataResponse> {
        self.write(request, set_metadata, |written, ()| SetMetadataResponse {
            updated: written.applied.upserted as u64,
            sequence: written.sequence,
        })
        .await
    }

    async fn get(&self, request: Request<GetRequest>) -> Answer<GetResponse> {
        self.compute(request, get).await
    }

    async fn search(&self, request: Request<SearchRequest>) -> Answer<SearchResponse> {
        search::one(self, request).await
    }

    async fn search_batch(&self, request: Request<SearchBatchRequest>) -> Answer<SearchBatchResponse> {
        search::many(self, request).await
    }

    async fn scroll(&self, request: Request<ScrollRequest>) -> Answer<ScrollResponse> {
        self.compute(request, |call| {
            let collection = call.collection(&call.message.collection)?;
            scroll::page(&collection.snapshot(), &call.message)
        })
        .await
    }

    async fn count(&self, request: Request<CountRequest>) -> Answer<CountResponse> {
        self.compute(request, |call| {
            let filter = filter_from(&call.message.filter)?;
            let snapshot = call.collection(&call.message.collection)?.snapshot();
            Ok(CountResponse { count: snapshot.count(&filter) as u64 })
        })
        .await
    }
}

/// Queues a batch; the answer names the ids, which may have been made here.
fn upsert(call: &Call<UpsertRequest>) -> Result<Queued<Vec<PointId>>> {
    let message = &call.message;
    let collection = call.collection(&message.collection)?;
    let durability = durability_from(message.durability)?;
    let dimension = collection.snapshot().config().dimension;
    let given = ids_from(&message.ids)?;
    let points = (!given.is_empty()).then_some(given.len());
    let rows = Rows::decode(message.vectors.as_ref(), dimension, points)?;
    let ids = if given.is_empty() { new_ids(rows.len() / dimension)? } else { given };
    let metadata = metadata_from(&message.metadata, ids.len())?;
    let batch = UpsertBatch { ids: &ids, vectors: rows.as_vectors(), metadata: &metadata };
    Ok((call.database.upsert(&collection, &batch, durability)?, collection, ids))
}

fn delete(call: &Call<DeleteRequest>) -> Result<Queued<()>> {
    let message = &call.message;
    let collection = call.collection(&message.collection)?;
    let durability = durability_from(message.durability)?;
    let ticket = match &message.which {
        Some(delete_request::Which::Ids(ids)) => {
            call.database.delete(&collection, Which::Ids(&ids_from(&ids.ids)?), durability)?
        }
        Some(delete_request::Which::Filter(filter)) if !filter.is_empty() => {
            call.database.delete(&collection, Which::Matching(&filter_from(filter)?), durability)?
        }
        // Nothing at all is more likely a mistake than the wish to delete everything.
        _ => return Err(Error::invalid_argument("a delete has ids or a filter; `{}` is the filter of every point")),
    };
    Ok((ticket, collection, ()))
}

fn set_metadata(call: &Call<SetMetadataRequest>) -> Result<Queued<()>> {
    let message = &call.message;
    let collection = call.collection(&message.collection)?;
    let durability = durability_from(message.durability)?;
    let ids = ids_from(&message.ids)?;
    if message.metadata.len() != ids.len() {
        return Err(Error::invalid_argument(format!("{} metadata for {} points", message.metadata.len(), ids.len())));
    }
    let metadata = metadata_from(&message.metadata, ids.len())?;
    let changes: Vec<_> = ids.into_iter().zip(metadata).collect();
    Ok((call.database.set_metadata(&collection, &changes, durability)?, collection, ()))
}

#[expect(clippy::needless_pass_by_value, reason = "a call is spent by its work")]
fn get(call: Call<GetRequest>) -> Result<GetResponse> {
    let message = &call.message;
    let ids = ids_from(&message.ids)?;
    let snapshot = call.collection(&message.collection)?.snapshot();
    let wanted = Wanted::new(message.with_vector, message.with_metadata);
    let budget = Budget::new(MAX_ANSWER_BYTES);
    let found = ids.iter().filter_map(|id| snapshot.get(id));
    Ok(GetResponse { points: found.map(|point| wanted.point(point, &budget)).collect::<Result<_>>()? })
}
