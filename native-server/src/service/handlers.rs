//! What all rpcs have in common, written once: whose request it is, where its work is done, and how it is answered.

use std::sync::Arc;
use std::time::Instant;

use http::Extensions;
use hyperspace_core::error::{Error, Result};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tonic::{Request, Response, Status};

use super::convert::name_from;
use super::latency::Latencies;
use super::peers::Peers;
use super::pull::Streams;
use super::status::status;
use super::work::{Workers, block};
use crate::auth::{Caller, Keyring};
use crate::database::{Database, Keeper, OpenCollection, Ticket, Written};

/// Streams of figures and of log lines at once.
const MOST_WATCHERS: usize = 16;

/// What an rpc is answered with.
pub(super) type Answer<T> = std::result::Result<Response<T>, Status>;

/// A write that is on its way, to which collection, and what its answer needs.
pub(super) type Queued<N> = (Ticket, Arc<OpenCollection>, N);

/// Everything that requests are handled with.
#[derive(Clone)]
pub(super) struct Handlers {
    pub(super) keeper: Arc<Keeper>,
    pub(super) keyring: Arc<Keyring>,
    pub(super) peers: Arc<Peers>,
    pub(super) workers: Workers,
    pub(super) latencies: Arc<Latencies>,
    pub(super) watchers: Arc<Semaphore>,
    pub(super) streams: Streams,
    pub(super) started: Instant,
    /// Turns true when the server is going to stop.
    pub(super) stopping: watch::Receiver<bool>,
}

/// A request on its way to be handled, with whose it is.
pub(super) struct Call<M> {
    /// The one that was served when the request came.
    pub(super) database: Arc<Database>,
    pub(super) caller: Caller,
    pub(super) message: M,
    /// What the request holds (its place among the bounded) until its work is done.
    held: Extensions,
}

impl<M> Call<M> {
    /// A collection of the caller.
    pub(super) fn collection(&self, name: &str) -> Result<Arc<OpenCollection>> {
        let name = name_from(name)?;
        self.caller.require_collection(&name)?;
        self.database.collection(self.caller.tenant(), name.as_str())
    }

    /// All collections of the caller.
    pub(super) fn collections(&self) -> Vec<Arc<OpenCollection>> {
        collections_of(&self.caller, &self.database)
    }
}

/// The collections of a caller: those of the tenant, unless the credential is for fewer.
pub(super) fn collections_of(caller: &Caller, database: &Database) -> Vec<Arc<OpenCollection>> {
    let mut collections = database.collections(caller.tenant());
    collections.retain(|collection| caller.sees(collection.name()));
    collections
}

impl Handlers {
    pub(super) fn new(
        keeper: Arc<Keeper>,
        keyring: Arc<Keyring>,
        peers: Arc<Peers>,
        stopping: watch::Receiver<bool>,
    ) -> Self {
        Self {
            keeper,
            keyring,
            peers,
            workers: Workers::new(),
            latencies: Arc::default(),
            watchers: Arc::new(Semaphore::new(MOST_WATCHERS)),
            streams: Streams::new(),
            started: Instant::now(),
            stopping,
        }
    }

    /// A place among those who watch the server, as long as it is held.
    ///
    /// # Errors
    /// `Unavailable` when all are taken.
    pub(super) fn watching(&self) -> Result<OwnedSemaphorePermit> {
        let place = Arc::clone(&self.watchers).try_acquire_owned();
        place.map_err(|_| Error::unavailable("too many streams of figures or lines are open: close one"))
    }

    pub(super) fn call<M>(&self, request: Request<M>) -> Result<Call<M>> {
        let (_, extensions, message) = request.into_parts();
        let caller = extensions.get::<Caller>().cloned();
        let caller = caller.ok_or_else(|| Error::internal("a bug: a request came here without a caller"))?;
        Ok(Call { database: self.keeper.database(), caller, message, held: extensions })
    }

    /// Answers with what the work returns, which may wait for the disk.
    pub(super) async fn answer<M: Send + 'static, A: Send + 'static>(
        &self,
        request: Request<M>,
        work: impl FnOnce(Call<M>) -> Result<A> + Send + 'static,
    ) -> Answer<A> {
        let call = self.call(request).map_err(status)?;
        block(move || work(call)).await.map(Response::new).map_err(status)
    }

    /// Answers with what the work returns, which computes.
    pub(super) async fn compute<M: Send + 'static, A: Send + 'static>(
        &self,
        request: Request<M>,
        work: impl FnOnce(Call<M>) -> Result<A> + Send + 'static,
    ) -> Answer<A> {
        let call = self.call(request).map_err(status)?;
        let turn = self.workers.queue(call.caller.tenant()).map_err(status)?;
        turn.compute(move || work(call)).await.map(Response::new).map_err(status)
    }

    /// Answers once the write that the work queued is durable and visible, and on as many servers as was chosen; the work
    /// also returns the collection, and what its answer needs beside what was written.
    pub(super) async fn write<M: Send + 'static, N: Send + 'static, A>(
        &self,
        request: Request<M>,
        work: impl FnOnce(&Call<M>) -> Result<Queued<N>> + Send + 'static,
        answer: impl FnOnce(Written, N) -> A,
    ) -> Answer<A> {
        let call = self.call(request).map_err(status)?;
        let peers = Arc::clone(&self.peers);
        // What is queued is in memory until it is written, and holds its place so long, though nobody waits any more.
        let writing = tokio::spawn(async move {
            let queued = block(move || work(&call).map(|queued| (queued, call.held)));
            let ((ticket, collection, noted), _held) = queued.await?;
            let written = ticket.wait().await?;
            peers.confirm(&collection).await?;
            Ok((written, noted))
        });
        let written = writing.await.unwrap_or_else(|error| Err(Error::internal(format!("a bug: a write: {error}"))));
        let (written, noted) = written.map_err(status)?;
        Ok(Response::new(answer(written, noted)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::sync::{Condvar, Mutex};

    use hyperspace_core::collection::CollectionConfig;
    use hyperspace_core::metric::Metric;
    use hyperspace_core::types::Tenant;
    use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, error::TryRecvError, unbounded_channel};
    use tokio::sync::oneshot;

    use crate::auth::Claims;
    use crate::database::DatabaseOptions;
    use crate::disk::{Disk, LocalDisk};
    use crate::proto::points_server::Points as _;
    use crate::proto::vectors::Rows;
    use crate::proto::{UpsertRequest, UpsertResponse, Vectors};
    use crate::service::testing::HookedDisk;
    use crate::settings::Settings;

    /// Where syncs wait while it is shut; each of them tells that it has come.
    struct Gate {
        is_shut: Mutex<bool>,
        opened: Condvar,
        come: UnboundedSender<()>,
    }

    impl Gate {
        fn new() -> (Arc<Self>, UnboundedReceiver<()>) {
            let (come, comes) = unbounded_channel();
            (Arc::new(Self { is_shut: Mutex::new(false), opened: Condvar::new(), come }), comes)
        }

        fn shut(&self, shut: bool) {
            *self.is_shut.lock().unwrap() = shut;
            self.opened.notify_all();
        }

        fn pass(&self) {
            let is_shut = self.is_shut.lock().unwrap();
            // Nobody listens any more when the test is over.
            let _ = self.come.send(());
            drop(self.opened.wait_while(is_shut, |is_shut| *is_shut).unwrap());
        }
    }

    /// Writes a point; what holds the request's place goes along with it.
    async fn upsert(handlers: Handlers, place: oneshot::Sender<()>) -> Answer<UpsertResponse> {
        let vectors = Some(Vectors { rows: Some(Rows::F32(vec![0; 4].into())) });
        let message = UpsertRequest { collection: "c".into(), vectors, ..UpsertRequest::default() };
        let mut request = Request::new(message);
        request.extensions_mut().insert(handlers.keyring.caller(&Claims::default()).unwrap());
        request.extensions_mut().insert(Arc::new(place));
        handlers.upsert(request).await
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_write_holds_its_place_until_it_is_durable_though_its_client_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let (disk, _lock) = LocalDisk::open(folder.path()).unwrap();
        let (gate, mut comes) = Gate::new();
        let passing = Arc::clone(&gate);
        let disk: Arc<dyn Disk> = Arc::new(HookedDisk::new(disk, move |_| {
            passing.pass();
            Ok(())
        }));
        let keeper = Arc::new(Keeper::open_on(disk, DatabaseOptions::default()).unwrap());
        let config = CollectionConfig::new("c", 1, Metric::L2).unwrap();
        keeper.database().create(&Tenant::local(), config).unwrap();
        let (_stop, stopping) = watch::channel(false);
        let keyring = Arc::new(Keyring::open(Arc::clone(&keeper), None).unwrap());
        let peers = Arc::new(Peers::open(Arc::clone(&keeper), &Settings::default()).unwrap());
        let handlers = Handlers::new(Arc::clone(&keeper), keyring, peers, stopping);

        // The first write syncs more than the log.
        upsert(handlers.clone(), oneshot::channel().0).await.unwrap();
        while comes.try_recv() != Err(TryRecvError::Empty) {}

        let (place, mut is_free) = oneshot::channel::<()>();
        gate.shut(true);
        let call = tokio::spawn(upsert(handlers, place));
        comes.recv().await.unwrap();
        call.abort();
        assert!(call.await.unwrap_err().is_cancelled());
        assert_eq!(is_free.try_recv(), Err(oneshot::error::TryRecvError::Empty), "it is not written yet");
        gate.shut(false);
        assert!(is_free.await.is_err(), "the place is given back, and nothing is ever sent");
        tokio::task::spawn_blocking(move || keeper.close()).await.unwrap().unwrap();
    }
}
