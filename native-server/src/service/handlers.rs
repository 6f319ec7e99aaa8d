//! What all rpcs have in common, written once: whose request it is, where its work is done, and how it is answered.

use std::sync::Arc;
use std::time::Instant;

use http::Extensions;
use hyperspace_core::error::{Error, Result};
use hyperspace_core::types::Tenant;
use tokio::sync::{Semaphore, watch};
use tonic::{Request, Response, Status};

use super::convert::name_from;
use super::latency::Latencies;
use super::status::status;
use super::work::{Workers, block};
use crate::database::{Database, OpenCollection, Ticket, Written};

/// Streams of figures at once.
const MOST_WATCHERS: usize = 16;

/// What an rpc is answered with.
pub(super) type Answer<T> = std::result::Result<Response<T>, Status>;

/// Everything that requests are handled with.
#[derive(Clone)]
pub(super) struct Handlers {
    pub(super) database: Arc<Database>,
    pub(super) workers: Workers,
    pub(super) latencies: Arc<Latencies>,
    pub(super) watchers: Arc<Semaphore>,
    pub(super) started: Instant,
    /// Turns true when the server is going to stop.
    pub(super) stopping: watch::Receiver<bool>,
}

/// A request on its way to be handled, with whose it is.
pub(super) struct Call<M> {
    pub(super) database: Arc<Database>,
    pub(super) tenant: Tenant,
    pub(super) message: M,
    /// What the request holds (its place among the bounded) until its work is done.
    _held: Extensions,
}

impl<M> Call<M> {
    /// A collection of the caller.
    pub(super) fn collection(&self, name: &str) -> Result<Arc<OpenCollection>> {
        self.database.collection(&self.tenant, name_from(name)?.as_str())
    }
}

impl Handlers {
    pub(super) fn new(database: Arc<Database>, stopping: watch::Receiver<bool>) -> Self {
        Self {
            database,
            workers: Workers::new(),
            latencies: Arc::default(),
            watchers: Arc::new(Semaphore::new(MOST_WATCHERS)),
            started: Instant::now(),
            stopping,
        }
    }

    pub(super) fn call<M>(&self, request: Request<M>) -> Result<Call<M>> {
        let (_, extensions, message) = request.into_parts();
        let tenant = extensions.get::<Tenant>().cloned();
        let tenant = tenant.ok_or_else(|| Error::internal("a bug: a request came here without a tenant"))?;
        Ok(Call { database: Arc::clone(&self.database), tenant, message, _held: extensions })
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
        let turn = self.workers.queue().map_err(status)?;
        turn.compute(move || work(call)).await.map(Response::new).map_err(status)
    }

    /// Answers once the write that the work queued is durable and visible; the work also returns what its answer needs
    /// beside what was written.
    pub(super) async fn write<M: Send + 'static, N: Send + 'static, A>(
        &self,
        request: Request<M>,
        work: impl FnOnce(Call<M>) -> Result<(Ticket, N)> + Send + 'static,
        answer: impl FnOnce(Written, N) -> A,
    ) -> Answer<A> {
        let call = self.call(request).map_err(status)?;
        let (ticket, noted) = block(move || work(call)).await.map_err(status)?;
        let written = ticket.wait().await.map_err(status)?;
        Ok(Response::new(answer(written, noted)))
    }
}
