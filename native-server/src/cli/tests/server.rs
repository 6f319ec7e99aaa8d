//! A server of the public contract over a map, which fails when it is told to.
//!
//! It runs on its own runtime, so that a test can take it away in the middle of a call and start it again at the same
//! address with the same points.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Code, Request, Response, Status};

use crate::proto;
use crate::proto::admin_server::{Admin, AdminServer};
use crate::proto::collections_server::{Collections, CollectionsServer};
use crate::proto::points_server::{Points, PointsServer};
use crate::proto::vectors::Rows;
use crate::remote::KIND_HEADER;

/// What goes wrong with one upsert.
pub(super) enum Fault {
    /// It is refused, and may be tried again.
    Unavailable,
    /// It is done, and said not to be.
    LostAnswer,
    /// It is refused for good.
    Refused,
    /// It is done, the test is told, and no answer ever comes.
    Silence(Sender<()>),
}

/// A point as the server was given it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Stored {
    pub(super) vector: Rows,
    pub(super) metadata: String,
}

/// One collection.
pub(super) struct Collection {
    pub(super) about: proto::Collection,
    /// By id, as `wire::id_to_json` shows it.
    pub(super) points: BTreeMap<String, Stored>,
}

/// Everything the server knows.
#[derive(Default)]
pub(super) struct State {
    pub(super) collections: BTreeMap<String, Collection>,
    /// By the number of the upsert, counted from 0.
    pub(super) faults: BTreeMap<usize, Fault>,
    /// The ids of every upsert, in order of arrival.
    pub(super) upserts: Vec<Vec<String>>,
    pub(super) durability: Option<proto::Durability>,
    /// The tenants that calls were made as.
    pub(super) users: BTreeSet<String>,
    /// The keys that came with calls.
    pub(super) api_keys: BTreeSet<String>,
    pub(super) last_create_key: Option<proto::CreateKeyRequest>,
    pub(super) last_create_token: Option<proto::CreateTokenRequest>,
    pub(super) last_search: Option<proto::SearchRequest>,
    pub(super) last_configure: Option<proto::ConfigureRequest>,
    /// What Monitor says, one message after the other.
    pub(super) monitor: Vec<proto::Stats>,
}

/// What the services share.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<State>>);

/// A running server.
pub(super) struct Server {
    shared: Shared,
    address: SocketAddr,
    runtime: Option<Runtime>,
}

impl Server {
    pub(super) fn start() -> Self {
        let mut server =
            Self { shared: Shared::default(), address: SocketAddr::from(([127, 0, 0, 1], 0)), runtime: None };
        server.restart();
        server
    }

    /// Starts it again at its address, with what it knows.
    pub(super) fn restart(&mut self) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(tokio::net::TcpListener::bind(self.address)).unwrap();
        self.address = listener.local_addr().unwrap();
        let services = tonic::transport::Server::builder()
            .add_service(PointsServer::new(self.shared.clone()))
            .add_service(CollectionsServer::new(self.shared.clone()))
            .add_service(AdminServer::new(self.shared.clone()));
        runtime.spawn(services.serve_with_incoming(TcpListenerStream::new(listener)));
        self.runtime = Some(runtime);
    }

    /// Takes it away at once, with every connection.
    pub(super) fn kill(&mut self) {
        self.runtime.take().unwrap().shutdown_timeout(Duration::from_secs(10));
    }

    pub(super) fn address(&self) -> String {
        self.address.to_string()
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.shared.lock()
    }

    /// Makes an empty collection.
    pub(super) fn create(&self, name: &str, dimension: u64, metric: proto::Metric) {
        self.state().create(proto::CollectionConfig {
            name: name.into(),
            dimension,
            metric: metric.into(),
            ..Default::default()
        });
    }

    /// The points of a collection.
    pub(super) fn points(&self, name: &str) -> BTreeMap<String, Stored> {
        self.state().collections[name].points.clone()
    }

    /// Lets one upsert be done and not answered; the test hears of it.
    pub(super) fn fall_silent_at(&self, upsert: usize) -> Receiver<()> {
        let (sender, receiver) = channel();
        self.state().faults.insert(upsert, Fault::Silence(sender));
        receiver
    }
}

impl State {
    fn create(&mut self, config: proto::CollectionConfig) -> proto::Collection {
        let id = format!("space-{}", self.collections.len());
        let name = config.name.clone();
        let about = proto::Collection { config: Some(config), id, ..Default::default() };
        self.collections.insert(name, Collection { about: about.clone(), points: BTreeMap::new() });
        about
    }

    fn find(&mut self, name: &str) -> Result<&mut Collection, Status> {
        let missing = || error(Code::NotFound, "not_found", &format!("there is no collection `{name}`"));
        self.collections.get_mut(name).ok_or_else(missing)
    }

    fn upsert(&mut self, request: &proto::UpsertRequest) -> Result<(), Status> {
        self.durability = Some(request.durability());
        let collection = self.find(&request.collection)?;
        let rows = request.vectors.as_ref().and_then(|vectors| vectors.rows.as_ref()).unwrap();
        let bytes = match rows {
            Rows::F32(bytes) | Rows::F64(bytes) => bytes,
        };
        let length = bytes.len() / request.ids.len();
        for (at, id) in request.ids.iter().enumerate() {
            let row = bytes.slice(at * length..(at + 1) * length);
            let vector = if matches!(rows, Rows::F32(_)) { Rows::F32(row) } else { Rows::F64(row) };
            let metadata = request.metadata.get(at).cloned().unwrap_or_default();
            collection.points.insert(shown(id), Stored { vector, metadata });
        }
        collection.about.points = collection.points.len() as u64;
        Ok(())
    }
}

fn shown(id: &proto::PointId) -> String {
    crate::cli::wire::id_to_json(Some(id)).to_string()
}

fn error(code: Code, kind: &'static str, message: &str) -> Status {
    let mut status = Status::new(code, message);
    status.metadata_mut().insert(KIND_HEADER, kind.parse().unwrap());
    status
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// Notes who calls.
    fn enter<T>(&self, request: Request<T>) -> (MutexGuard<'_, State>, T) {
        let mut state = self.lock();
        let header = |name| request.metadata().get(name).map(|value| value.to_str().unwrap().to_string());
        state.users.extend(header("x-hyperspace-user-id"));
        state.api_keys.extend(header("x-api-key"));
        (state, request.into_inner())
    }
}

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl Collections for Shared {
    async fn create(&self, request: Request<proto::CreateCollectionRequest>) -> Answer<proto::Collection> {
        let (mut state, request) = self.enter(request);
        let config = request.config.unwrap();
        if state.collections.contains_key(&config.name) {
            return Err(error(Code::AlreadyExists, "already_exists", "the name is taken"));
        }
        Ok(Response::new(state.create(config)))
    }

    async fn get(&self, request: Request<proto::GetCollectionRequest>) -> Answer<proto::Collection> {
        let (mut state, request) = self.enter(request);
        Ok(Response::new(state.find(&request.name)?.about.clone()))
    }

    async fn list(&self, request: Request<proto::ListCollectionsRequest>) -> Answer<proto::ListCollectionsResponse> {
        let (state, _) = self.enter(request);
        let collections = state.collections.values().map(|collection| collection.about.clone()).collect();
        Ok(Response::new(proto::ListCollectionsResponse { collections }))
    }

    async fn delete(
        &self,
        request: Request<proto::DeleteCollectionRequest>,
    ) -> Answer<proto::DeleteCollectionResponse> {
        let (mut state, request) = self.enter(request);
        state.find(&request.name)?;
        state.collections.remove(&request.name);
        Ok(Response::new(proto::DeleteCollectionResponse {}))
    }
}

#[tonic::async_trait]
impl Points for Shared {
    async fn upsert(&self, request: Request<proto::UpsertRequest>) -> Answer<proto::UpsertResponse> {
        let silence = {
            let (mut state, request) = self.enter(request);
            let number = state.upserts.len();
            state.upserts.push(request.ids.iter().map(shown).collect());
            let fault = state.faults.remove(&number);
            match fault {
                Some(Fault::Unavailable) => return Err(Status::unavailable("come again")),
                Some(Fault::Refused) => {
                    return Err(error(Code::ResourceExhausted, "limit_exceeded", "the disk is full"));
                }
                _ => state.upsert(&request)?,
            }
            match fault {
                Some(Fault::LostAnswer) => return Err(Status::unavailable("the answer was lost")),
                Some(Fault::Silence(heard)) => heard,
                _ => return Ok(Response::new(proto::UpsertResponse { ids: request.ids, sequence: 1 })),
            }
        };
        silence.send(()).unwrap();
        std::future::pending().await
    }

    async fn search(&self, request: Request<proto::SearchRequest>) -> Answer<proto::SearchResponse> {
        let hits = {
            let (mut state, request) = self.enter(request);
            let collection = state.find(&request.collection)?;
            let hits = collection.points.iter().take(request.top_k as usize).enumerate().map(|(at, (id, stored))| {
                let Rows::F32(vector) = &stored.vector else { panic!("these tests search floats") };
                proto::Hit {
                    id: Some(crate::cli::wire::id_to_wire(&crate::cli::wire::parse_id(id).unwrap())),
                    distance: at as f64 / 4.0,
                    metadata: stored.metadata.clone(),
                    vector: if request.with_vector { vector.to_vec() } else { Vec::new() },
                }
            });
            let hits: Vec<_> = hits.collect();
            state.last_search = Some(request);
            hits
        };
        if hits.is_empty() {
            // An empty collection never answers, for the test of time limits.
            std::future::pending::<()>().await;
        }
        Ok(Response::new(proto::SearchResponse { distances: 1234, hits }))
    }

    async fn get(&self, request: Request<proto::GetRequest>) -> Answer<proto::GetResponse> {
        let (mut state, request) = self.enter(request);
        let collection = state.find(&request.collection)?;
        let stored = |id: proto::PointId| Some((id.clone(), collection.points.get(&shown(&id))?));
        let points = request.ids.into_iter().filter_map(stored).map(|(id, stored)| {
            let Rows::F32(vector) = &stored.vector else { panic!("these tests read floats") };
            proto::Point { id: Some(id), vector: vector.to_vec(), ..Default::default() }
        });
        Ok(Response::new(proto::GetResponse { points: points.collect() }))
    }

    async fn delete(&self, _: Request<proto::DeleteRequest>) -> Answer<proto::DeleteResponse> {
        Err(unused())
    }

    async fn search_batch(&self, _: Request<proto::SearchBatchRequest>) -> Answer<proto::SearchBatchResponse> {
        Err(unused())
    }

    async fn scroll(&self, request: Request<proto::ScrollRequest>) -> Answer<proto::ScrollResponse> {
        let (mut state, request) = self.enter(request);
        let points = state.find(&request.collection)?.points.values().take(request.limit as usize).map(|stored| {
            let Rows::F32(vector) = &stored.vector else { panic!("these tests read floats") };
            proto::Point { vector: vector.to_vec(), ..Default::default() }
        });
        Ok(Response::new(proto::ScrollResponse { points: points.collect(), next_cursor: Vec::new() }))
    }

    async fn count(&self, _: Request<proto::CountRequest>) -> Answer<proto::CountResponse> {
        Err(unused())
    }

    async fn set_metadata(&self, _: Request<proto::SetMetadataRequest>) -> Answer<proto::SetMetadataResponse> {
        Err(unused())
    }
}

#[tonic::async_trait]
impl Admin for Shared {
    type MonitorStream = tokio_stream::Iter<std::vec::IntoIter<Result<proto::Stats, Status>>>;

    async fn monitor(&self, request: Request<proto::MonitorRequest>) -> Answer<Self::MonitorStream> {
        let (state, request) = self.enter(request);
        let most = if request.count == 0 { usize::MAX } else { request.count as usize };
        let messages: Vec<_> = state.monitor.iter().take(most).cloned().map(Ok).collect();
        Ok(Response::new(tokio_stream::iter(messages)))
    }

    type LogStream = tokio_stream::Iter<std::vec::IntoIter<Result<proto::LogLine, Status>>>;

    async fn log(&self, _: Request<proto::LogRequest>) -> Answer<Self::LogStream> {
        Err(unused())
    }

    async fn configure(&self, request: Request<proto::ConfigureRequest>) -> Answer<proto::Collection> {
        let (mut state, request) = self.enter(request);
        let about = state.find(&request.collection)?.about.clone();
        state.last_configure = Some(request);
        Ok(Response::new(about))
    }

    async fn snapshot(&self, _: Request<proto::SnapshotRequest>) -> Answer<proto::SnapshotResponse> {
        let (name, path) = ("s1".to_string(), "/data/snapshots/s1".to_string());
        Ok(Response::new(proto::SnapshotResponse { name, path, bytes: 3 << 20, files: 12 }))
    }

    async fn vacuum(&self, request: Request<proto::VacuumRequest>) -> Answer<proto::VacuumResponse> {
        let (mut state, request) = self.enter(request);
        if !request.collection.is_empty() {
            state.find(&request.collection)?;
        }
        Ok(Response::new(proto::VacuumResponse {
            segments_rewritten: 2,
            points_dropped: 1500,
            bytes_before: 4096,
            bytes_after: 1024,
        }))
    }

    async fn measure_recall(
        &self,
        request: Request<proto::MeasureRecallRequest>,
    ) -> Answer<proto::MeasureRecallResponse> {
        let (mut state, request) = self.enter(request);
        state.find(&request.collection)?;
        Ok(Response::new(proto::MeasureRecallResponse {
            queries: request.queries,
            top_k: request.top_k,
            recall: 0.9951,
            low: 0.96,
            high: 0.9994,
            distances: 1422.4,
        }))
    }

    async fn rebuild(&self, _: Request<proto::RebuildRequest>) -> Answer<proto::RebuildResponse> {
        Err(unused())
    }

    async fn usage(&self, _: Request<proto::UsageRequest>) -> Answer<proto::UsageResponse> {
        Err(unused())
    }

    async fn create_key(&self, request: Request<proto::CreateKeyRequest>) -> Answer<proto::CreateKeyResponse> {
        let (mut state, request) = self.enter(request);
        state.last_create_key = Some(request);
        Ok(Response::new(proto::CreateKeyResponse { key: Some(key()), api_key: "hs_secret".into() }))
    }

    async fn list_keys(&self, request: Request<proto::ListKeysRequest>) -> Answer<proto::ListKeysResponse> {
        drop(self.enter(request));
        let expired = proto::Key { expires_ms: Some(8), ..key() };
        let first = proto::Key { scopes: vec![proto::Scope::Admin.into()], id: "1".repeat(16), ..Default::default() };
        Ok(Response::new(proto::ListKeysResponse { keys: vec![first, expired] }))
    }

    async fn revoke_key(&self, request: Request<proto::RevokeKeyRequest>) -> Answer<proto::RevokeKeyResponse> {
        let (_state, request) = self.enter(request);
        Ok(Response::new(proto::RevokeKeyResponse { revoked: request.id == key().id }))
    }

    async fn create_token(&self, request: Request<proto::CreateTokenRequest>) -> Answer<proto::CreateTokenResponse> {
        let (mut state, request) = self.enter(request);
        state.last_create_token = Some(request);
        Ok(Response::new(proto::CreateTokenResponse { token: "hst_secret".into(), expires_ms: 9 }))
    }

    async fn promote(&self, request: Request<proto::PromoteRequest>) -> Answer<proto::PromoteResponse> {
        let _ = self.enter(request);
        Ok(Response::new(proto::PromoteResponse { term: 2, promoted: true }))
    }

    async fn remove_follower(
        &self,
        request: Request<proto::RemoveFollowerRequest>,
    ) -> Answer<proto::RemoveFollowerResponse> {
        let request = self.enter(request).1;
        Ok(Response::new(proto::RemoveFollowerResponse { removed: request.id == key().id }))
    }
}

/// The key that the server has.
fn key() -> proto::Key {
    proto::Key {
        id: "00000000000000ab".into(),
        name: "app".into(),
        tenant: "ada".into(),
        scopes: [proto::Scope::Read, proto::Scope::Write].map(i32::from).into(),
        collections: vec!["c".into()],
        created_ms: 7,
        expires_ms: None,
    }
}

fn unused() -> Status {
    Status::unimplemented("the command line does not call this")
}
