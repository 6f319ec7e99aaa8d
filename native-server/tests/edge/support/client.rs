//! A native client, and messages written briefly.

use std::net::SocketAddr;

use bytes::Bytes;
use hyperspace_server::proto::admin_client::AdminClient;
use hyperspace_server::proto::collections_client::CollectionsClient;
use hyperspace_server::proto::points_client::PointsClient;
use hyperspace_server::proto::sync_client::SyncClient;
use hyperspace_server::proto::vectors::Rows;
use hyperspace_server::proto::{
    Collection, CollectionConfig, CollectionStats, CountRequest, CreateCollectionRequest, CreateKeyRequest,
    DeleteRequest, GetCollectionRequest, GetRequest, Key, Metric, MonitorRequest, Point, PointId, PointIds, Scope,
    ScrollRequest, SearchRequest, SearchResponse, Stats, UpsertRequest, UpsertResponse, VacuumRequest, VacuumResponse,
    Vectors, delete_request, point_id,
};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

/// Names the user in every request, and shows a key.
#[derive(Clone, Default)]
pub(crate) struct User {
    name: Option<MetadataValue<Ascii>>,
    key: Option<MetadataValue<Ascii>>,
}

impl Interceptor for User {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(name) = &self.name {
            request.metadata_mut().insert("x-hyperspace-user-id", name.clone());
        }
        if let Some(key) = &self.key {
            request.metadata_mut().insert("x-api-key", key.clone());
        }
        Ok(request)
    }
}

type Service = InterceptedService<Channel, User>;

/// A connection, and whose requests it carries.
#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) channel: Channel,
    user: User,
}

/// What a server may answer with.
const LONGEST_ANSWER: usize = 64 << 20;

impl Client {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        let channel = Endpoint::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap();
        Self::over(channel)
    }

    /// A client on a connection that is there.
    pub(crate) fn over(channel: Channel) -> Self {
        Self { channel, user: User::default() }
    }

    /// The same connection for a named user.
    pub(crate) fn user(&self, name: &str) -> Self {
        let user = User { name: Some(name.parse().unwrap()), ..self.user.clone() };
        Self { channel: self.channel.clone(), user }
    }

    /// The same connection with a key or a token.
    pub(crate) fn key(&self, key: &str) -> Self {
        let user = User { key: Some(key.parse().unwrap()), ..self.user.clone() };
        Self { channel: self.channel.clone(), user }
    }

    /// Makes a key.
    pub(crate) async fn create_key(&self, request: CreateKeyRequest) -> (Key, String) {
        let made = self.admin().create_key(request).await.unwrap().into_inner();
        (made.key.unwrap(), made.api_key)
    }

    fn service(&self) -> Service {
        InterceptedService::new(self.channel.clone(), self.user.clone())
    }

    pub(crate) fn collections(&self) -> CollectionsClient<Service> {
        CollectionsClient::new(self.service())
    }

    pub(crate) fn points(&self) -> PointsClient<Service> {
        let longest = usize::MAX;
        PointsClient::new(self.service()).max_decoding_message_size(LONGEST_ANSWER).max_encoding_message_size(longest)
    }

    pub(crate) fn admin(&self) -> AdminClient<Service> {
        AdminClient::new(self.service())
    }

    pub(crate) fn sync(&self) -> SyncClient<Service> {
        SyncClient::new(self.service())
    }

    pub(crate) async fn create(&self, name: &str, dimension: u64, metric: Metric) -> Collection {
        let request = CreateCollectionRequest { config: Some(config(name, dimension, metric)) };
        self.collections().create(request).await.unwrap().into_inner()
    }

    pub(crate) async fn describe(&self, name: &str) -> Collection {
        let request = GetCollectionRequest { name: name.into() };
        self.collections().get(request).await.unwrap().into_inner()
    }

    pub(crate) async fn upsert(&self, request: UpsertRequest) -> UpsertResponse {
        self.points().upsert(request).await.unwrap().into_inner()
    }

    pub(crate) async fn search(&self, request: SearchRequest) -> SearchResponse {
        self.points().search(request).await.unwrap().into_inner()
    }

    /// Points by id with vector and metadata.
    pub(crate) async fn get(&self, collection: &str, ids: Vec<PointId>) -> Vec<Point> {
        let request = GetRequest { collection: collection.into(), ids, with_vector: true, with_metadata: None };
        self.points().get(request).await.unwrap().into_inner().points
    }

    pub(crate) async fn count(&self, collection: &str, filter: &str) -> u64 {
        let request = CountRequest { collection: collection.into(), filter: filter.into() };
        self.points().count(request).await.unwrap().into_inner().count
    }

    /// Deletes by id; answers how many there were.
    pub(crate) async fn delete(&self, collection: &str, ids: Vec<PointId>) -> u64 {
        self.points().delete(deletion(collection, ids)).await.unwrap().into_inner().deleted
    }

    /// All points, page by page, with vector and metadata.
    pub(crate) async fn scroll(&self, collection: &str, limit: u64) -> Vec<Point> {
        let mut request = ScrollRequest { limit, with_vector: true, ..scrolling(collection) };
        let mut points = Vec::new();
        loop {
            let page = self.points().scroll(request.clone()).await.unwrap().into_inner();
            points.extend(page.points);
            if page.next_cursor.is_empty() {
                return points;
            }
            request.cursor = page.next_cursor;
        }
    }

    /// Seals what waits and drops what is dead.
    pub(crate) async fn vacuum(&self, collection: &str) -> VacuumResponse {
        self.admin().vacuum(VacuumRequest { collection: collection.into() }).await.unwrap().into_inner()
    }

    /// The server's figures now.
    pub(crate) async fn stats(&self) -> Stats {
        let request = MonitorRequest { interval_ms: 100, count: 1 };
        let mut stream = self.admin().monitor(request).await.unwrap().into_inner();
        stream.message().await.unwrap().unwrap()
    }

    /// The figures of one collection now.
    pub(crate) async fn stats_of(&self, collection: &str) -> CollectionStats {
        self.stats().await.collections.into_iter().find(|stats| stats.name == collection).unwrap()
    }

    /// Waits until the collection has no work left for an indexer.
    pub(crate) async fn indexed(&self, collection: &str) {
        super::until("everything is indexed", async || !self.stats_of(collection).await.indexing).await;
    }
}

/// A configuration with every default.
pub(crate) fn config(name: &str, dimension: u64, metric: Metric) -> CollectionConfig {
    CollectionConfig { name: name.into(), dimension, metric: metric.into(), ..Default::default() }
}

/// A key of the administrator's.
pub(crate) fn admin_key() -> CreateKeyRequest {
    CreateKeyRequest { scopes: vec![Scope::Admin.into()], ..Default::default() }
}

/// A key of a tenant's.
pub(crate) fn key_of(tenant: &str, scopes: &[Scope]) -> CreateKeyRequest {
    let scopes = scopes.iter().map(|&scope| scope.into()).collect();
    CreateKeyRequest { tenant: tenant.into(), scopes, ..Default::default() }
}

pub(crate) fn number(id: u64) -> PointId {
    PointId { id: Some(point_id::Id::Number(id)) }
}

pub(crate) fn text(id: &str) -> PointId {
    PointId { id: Some(point_id::Id::Text(id.into())) }
}

/// The ids `from..to`.
pub(crate) fn numbers(ids: std::ops::Range<u64>) -> Vec<PointId> {
    ids.map(number).collect()
}

/// The number that an id is.
pub(crate) fn as_number(id: Option<&PointId>) -> u64 {
    match id {
        Some(PointId { id: Some(point_id::Id::Number(id)) }) => *id,
        other => panic!("{other:?} is no number"),
    }
}

pub(crate) fn f32s(rows: &[f32]) -> Vectors {
    Vectors { rows: Some(Rows::F32(rows.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<_>>().into())) }
}

pub(crate) fn f64s(rows: &[f64]) -> Vectors {
    Vectors { rows: Some(Rows::F64(rows.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<_>>().into())) }
}

/// Bytes that claim to be rows of f32.
pub(crate) fn raw_f32s(bytes: &'static [u8]) -> Vectors {
    Vectors { rows: Some(Rows::F32(Bytes::from_static(bytes))) }
}

/// The components of a row of an answer.
pub(crate) fn components(row: &[u8]) -> Vec<f32> {
    let (rows, rest) = row.as_chunks();
    assert!(rest.is_empty(), "{} bytes are no row", row.len());
    rows.iter().map(|&x| f32::from_le_bytes(x)).collect()
}

/// A batch without metadata.
pub(crate) fn batch(collection: &str, ids: Vec<PointId>, rows: &[f32]) -> UpsertRequest {
    UpsertRequest { collection: collection.into(), ids, vectors: Some(f32s(rows)), ..Default::default() }
}

pub(crate) fn deletion(collection: &str, ids: Vec<PointId>) -> DeleteRequest {
    let which = Some(delete_request::Which::Ids(PointIds { ids }));
    DeleteRequest { collection: collection.into(), which, ..Default::default() }
}

pub(crate) fn deletion_of(collection: &str, filter: &str) -> DeleteRequest {
    let which = Some(delete_request::Which::Filter(filter.into()));
    DeleteRequest { collection: collection.into(), which, ..Default::default() }
}

pub(crate) fn scrolling(collection: &str) -> ScrollRequest {
    ScrollRequest { collection: collection.into(), ..Default::default() }
}

/// A search for the nearest points.
pub(crate) fn nearest(collection: &str, vector: &[f32], top_k: u64) -> SearchRequest {
    SearchRequest { collection: collection.into(), vector: Some(f32s(vector)), top_k, ..Default::default() }
}

/// The ids of hits, which are numbers.
pub(crate) fn found(response: &SearchResponse) -> Vec<u64> {
    response.hits.iter().map(|hit| as_number(hit.id.as_ref())).collect()
}
