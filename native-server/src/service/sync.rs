//! The service `Sync`; its streams are in `pull.rs`.
//!
//! The protocol's own values travel as bytes. They are decoded here, whole, before anything is done with them.

use std::sync::Arc;

use hyperspace_core::collection::Shipment;
use hyperspace_core::error::{Error, ErrorKind, Result};
use hyperspace_core::sync::{Code, Cursor, Hello, Offer, Pushed, decode_all, encode_all, respond};
use hyperspace_core::types::{IdKey, SpaceId};
use tokio::runtime::Handle;
use tonic::{Request, Response};

use super::convert::{config_from, name_from};
use super::handlers::{Answer, Call, Handlers, Queued};
use super::lead::{self, LeaderStream};
use super::pull::{PageStream, pull};
use super::status::status;
use super::work::block;
use crate::auth::Scope;
use crate::database::{Database, OpenCollection, PINNED_FOR};
use crate::proto::sync_server::Sync as Service;
use crate::proto::{
    AcknowledgeRequest, AcknowledgeResponse, CollectionConfig, FetchRequest, FetchResponse, GetManifestRequest,
    GetManifestResponse, HelloRequest, HelloResponse, PullRequest, PushRequest, PushResponse, ReconcileRequest,
    ReconcileResponse, ReplicateRequest,
};

/// The longest list of offers, and about how long a page and an answer to a fetch are at most.
pub(super) const MOST_BYTES: usize = 1 << 20;
/// Keys of a fetch.
const MOST_KEYS: usize = 4_096;
/// The longest frame of a reconciliation.
const MOST_FRAME: usize = 64 << 10;

#[tonic::async_trait]
impl Service for Handlers {
    async fn hello(&self, request: Request<HelloRequest>) -> Answer<HelloResponse> {
        self.answer(request, hello).await
    }

    type PullStream = PageStream;

    async fn pull(&self, request: Request<PullRequest>) -> Answer<Self::PullStream> {
        pull(self, request)
    }

    async fn push(&self, request: Request<PushRequest>) -> Answer<PushResponse> {
        self.write(request, push, |_, pushed| PushResponse { pushed: encode_all(&pushed) }).await
    }

    async fn fetch(&self, request: Request<FetchRequest>) -> Answer<FetchResponse> {
        self.answer(request, fetch).await
    }

    type ReplicateStream = LeaderStream;

    async fn replicate(&self, request: Request<ReplicateRequest>) -> Answer<Self::ReplicateStream> {
        lead::replicate(self, request).await
    }

    async fn acknowledge(&self, request: Request<AcknowledgeRequest>) -> Answer<AcknowledgeResponse> {
        lead::acknowledge(self, request).await
    }

    async fn get_manifest(&self, request: Request<GetManifestRequest>) -> Answer<GetManifestResponse> {
        self.answer(request, manifest).await
    }

    async fn reconcile(&self, request: Request<ReconcileRequest>) -> Answer<ReconcileResponse> {
        reconcile(self, request).await.map(Response::new).map_err(status)
    }
}

impl<M> Call<M> {
    /// A collection of the caller by its number.
    pub(super) fn space(&self, number: u64) -> Result<Arc<OpenCollection>> {
        let collection = self.database.collection_numbered(self.caller.tenant(), SpaceId(number))?;
        if self.caller.sees(collection.name()) {
            return Ok(collection);
        }
        Err(Error::not_found(format!("there is no space {number:016x}")))
    }
}

/// Reads a value of the protocol.
///
/// # Errors
/// `InvalidArgument` when the bytes are none.
fn read<T: Code>(bytes: &[u8], what: &str) -> Result<T> {
    decode_all(bytes, what).map_err(|error| of_caller(what, error))
}

/// What core takes for damage is a mistake of the caller's here.
fn of_caller(what: &str, error: Error) -> Error {
    match error.kind() {
        ErrorKind::Corrupted => Error::invalid_argument(format!("{what}: {}", error.message())),
        _ => error,
    }
}

/// Refuses what is longer than it may be.
fn check_length(what: &str, bytes: &[u8], most: usize) -> Result<()> {
    if bytes.len() <= most {
        return Ok(());
    }
    Err(Error::limit_exceeded(format!("{what} have {} bytes, the limit is {most}", bytes.len())))
}

#[expect(clippy::needless_pass_by_value, reason = "a call is spent by its work")]
fn hello(call: Call<HelloRequest>) -> Result<HelloResponse> {
    let message = &call.message;
    let hello: Hello = read(&message.hello, "the greeting")?;
    let collection = match &message.config {
        Some(config) => found_or_made(&call, config)?,
        None => call.collection(&message.collection)?,
    };
    let greeting = call.database.welcome(&collection, &hello)?;
    Ok(HelloResponse {
        space: collection.space().0,
        key: greeting.key.0.to_vec(),
        welcome: encode_all(&greeting.welcome),
        server_time_ms: greeting.now_ms,
        ships: greeting.ships,
    })
}

/// The collection that a replica was made as.
fn found_or_made(call: &Call<HelloRequest>, config: &CollectionConfig) -> Result<Arc<OpenCollection>> {
    let name = name_from(&call.message.collection)?;
    let mut config = config.clone();
    if config.name.is_empty() {
        config.name = name.to_string();
    }
    let config = config_from(Some(config))?;
    if config.name != name {
        return Err(Error::invalid_argument(format!(
            "the configuration is of collection `{}`, the greeting of `{name}`",
            config.name
        )));
    }
    let found = match call.collection(name.as_str()) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            call.caller.require(Scope::Write)?;
            call.database.create(call.caller.tenant(), config.clone())
        }
        found => return found.and_then(|found| check_shape(found, &config)),
    };
    match found {
        // Another replica was faster.
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            call.collection(name.as_str()).and_then(|found| check_shape(found, &config))
        }
        made => made,
    }
}

/// Checks that the points of one collection can be points of the other.
fn check_shape(
    found: Arc<OpenCollection>,
    wanted: &hyperspace_core::collection::CollectionConfig,
) -> Result<Arc<OpenCollection>> {
    let snapshot = found.snapshot();
    let own = snapshot.config();
    if (own.dimension, own.metric) == (wanted.dimension, wanted.metric) {
        return Ok(found);
    }
    Err(Error::conflict(format!(
        "collection `{}` is {} of {} dimensions, not {} of {}",
        own.name,
        own.metric.as_str(),
        own.dimension,
        wanted.metric.as_str(),
        wanted.dimension
    )))
}

/// Queues what is accepted of some offers.
fn push(call: &Call<PushRequest>) -> Result<Queued<Pushed>> {
    let message = &call.message;
    check_length("the offers", &message.offers, MOST_BYTES)?;
    let collection = call.space(message.space)?;
    let offers: Vec<Offer> = read(&message.offers, "the offers")?;
    let mut before = 0;
    for Offer { cseq, .. } in &offers {
        if *cseq <= before {
            return Err(Error::invalid_argument(format!("the counters of offers rise, {cseq} follows {before}")));
        }
        before = *cseq;
    }
    let (pushed, ticket) = call.database.push(&collection, message.epoch, message.writer, &offers)?;
    Ok((ticket, collection, pushed))
}

#[expect(clippy::needless_pass_by_value, reason = "a call is spent by its work")]
fn fetch(call: Call<FetchRequest>) -> Result<FetchResponse> {
    let message = &call.message;
    check_length("the keys", &message.keys, MOST_KEYS * size_of::<IdKey>())?;
    let (keys, rest) = message.keys.as_chunks();
    if !rest.is_empty() {
        return Err(Error::invalid_argument(format!(
            "the keys have {} bytes, which is not {} each",
            message.keys.len(),
            size_of::<IdKey>()
        )));
    }
    let keys: Vec<IdKey> = keys.iter().copied().map(IdKey).collect();
    let collection = call.space(message.space)?;
    let (recs, answered, head) = call.database.fetch(&collection, message.epoch, &keys, MOST_BYTES)?;
    Ok(FetchResponse { recs: encode_all(&recs), answered: answered as u32, head })
}

#[expect(clippy::needless_pass_by_value, reason = "a call is spent by its work")]
fn manifest(call: Call<GetManifestRequest>) -> Result<GetManifestResponse> {
    let GetManifestRequest { space, epoch, after } = call.message;
    let (Shipment { cursor, floor, manifest, .. }, units) = call.database.ship(&*call.space(space)?, epoch, after)?;
    unpin_later(&call.database);
    Ok(GetManifestResponse {
        manifest: manifest.encode(),
        units: units.concat(),
        seq: cursor.seq,
        floor_seq: floor.seq,
        floor_hlc: floor.hlc,
    })
}

/// Has a database give back what it keeps for replicas once nobody needs it.
fn unpin_later(database: &Arc<Database>) {
    let database = Arc::downgrade(database);
    Handle::current().spawn(async move {
        loop {
            tokio::time::sleep(PINNED_FOR).await;
            if !database.upgrade().is_some_and(|database| database.unpin()) {
                return;
            }
        }
    });
}

async fn reconcile(handlers: &Handlers, request: Request<ReconcileRequest>) -> Result<ReconcileResponse> {
    let call = handlers.call(request)?;
    let turn = handlers.workers.queue(call.caller.tenant())?;
    let (items, call) = block(move || {
        let message = &call.message;
        check_length("the frame", &message.frame, MOST_FRAME)?;
        let at = Cursor { epoch: message.epoch, seq: message.seq };
        Ok((call.database.items(&*call.space(message.space)?, at)?, call))
    })
    .await?;
    let (items, is_new) = items;
    if is_new {
        unpin_later(&call.database);
    }
    turn.compute(move || {
        let frame = respond(&items, &call.message.frame, MOST_FRAME).map_err(|error| of_caller("the frame", error))?;
        Ok(ReconcileResponse { frame })
    })
    .await
}
