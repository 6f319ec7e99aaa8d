//! The service `Collections`.

use std::sync::Arc;

use tonic::Request;

use super::convert::{config_from, config_to, name_from};
use super::handlers::{Answer, Handlers};
use crate::database::OpenCollection;
use crate::proto::collections_server::Collections;
use crate::proto::{
    Collection, CreateCollectionRequest, DeleteCollectionRequest, DeleteCollectionResponse, GetCollectionRequest,
    ListCollectionsRequest, ListCollectionsResponse,
};

/// A collection as the wire describes it.
pub(super) fn describe(collection: &OpenCollection) -> Collection {
    let snapshot = collection.snapshot();
    Collection {
        config: Some(config_to(snapshot.config())),
        id: format!("{:016x}", collection.space().0),
        points: snapshot.len() as u64,
        pending: snapshot.pending() as u64,
        segments: snapshot.segments().len() as u64,
    }
}

#[tonic::async_trait]
impl Collections for Handlers {
    async fn create(&self, request: Request<CreateCollectionRequest>) -> Answer<Collection> {
        self.answer(request, |call| {
            let config = config_from(call.message.config)?;
            call.caller.require_collection(&config.name)?;
            call.database.create(call.caller.tenant(), config).map(|collection| describe(&collection))
        })
        .await
    }

    async fn get(&self, request: Request<GetCollectionRequest>) -> Answer<Collection> {
        self.answer(request, |call| call.collection(&call.message.name).map(|collection| describe(&collection))).await
    }

    async fn list(&self, request: Request<ListCollectionsRequest>) -> Answer<ListCollectionsResponse> {
        self.answer(request, |call| {
            Ok(ListCollectionsResponse { collections: call.collections().iter().map(|c| describe(c)).collect() })
        })
        .await
    }

    async fn delete(&self, request: Request<DeleteCollectionRequest>) -> Answer<DeleteCollectionResponse> {
        let peers = Arc::clone(&self.peers);
        self.answer(request, move |call| {
            let name = name_from(&call.message.name)?;
            call.caller.require_collection(&name)?;
            if let Some(space) = call.database.space_of(call.caller.tenant(), name.as_str()) {
                peers.note_dropped(space)?;
            }
            call.database.delete_collection(call.caller.tenant(), name.as_str())?;
            Ok(DeleteCollectionResponse {})
        })
        .await
    }
}
