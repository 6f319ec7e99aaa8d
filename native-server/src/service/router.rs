//! Every path of the one port, and what a request passes on its way there.
//!
//! ```text
//! panics ─► guard ─► CORS ─► bound ─┬─ application/grpc* ─► gRPC-web ─► mend ─┬─► access ─► admit ─► our services
//!                                   │                                         └─► health, reflection
//!                                   └─ anything else ─► HTTP ─┬─► access ─► figures, segments
//!                                                             └─► whether the server is ready, the demo
//! ```
//! The order matters: nothing is read before the guard has looked, no body before the caller is known and the message's
//! length has been admitted, and gRPC-web is translated before that length is looked for. A page may read every refusal
//! but the guard's, because CORS comes right behind it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::Response;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName, IF_NONE_MATCH, RANGE};
use http::{HeaderMap, HeaderValue, Method, Uri};
use hyperspace_core::error::{Error, Result};
use tonic::server::NamedService;
use tonic::service::Routes;
use tonic_health::pb::health_server::{Health, HealthServer};
use tonic_web::GrpcWebLayer;
use tower::ServiceExt as _;
use tower_http::cors::{AllowOrigin, CorsLayer};

use super::guard::{self, Guard};
use super::handlers::Handlers;
use super::limits::{self, Limits};
use super::status::{self, is_grpc, no_such_rpc, refusal};
use super::{access, http as plain};
use crate::proto;
use crate::proto::admin_server::AdminServer;
use crate::proto::collections_server::CollectionsServer;
use crate::proto::points_server::PointsServer;
use crate::proto::sync_server::SyncServer;
use crate::settings::Settings;
use crate::tenancy;

/// The longest message of health checks and reflection.
const SMALL_MESSAGE: usize = 64 << 10;

/// The names of our services, for health checks.
pub(super) const SERVICES: [&str; 4] = [
    <CollectionsServer<Handlers> as NamedService>::NAME,
    <PointsServer<Handlers> as NamedService>::NAME,
    <AdminServer<Handlers> as NamedService>::NAME,
    <SyncServer<Handlers> as NamedService>::NAME,
];

/// The two worlds behind one port.
#[derive(Clone)]
struct Worlds {
    grpc: Router,
    http: Router,
}

/// Puts all paths together.
pub(super) fn router(handlers: Handlers, health: HealthServer<impl Health>, settings: &Settings) -> Result<Router> {
    let limits = Limits::new(settings);
    let longest = settings.max_message_bytes.get();
    let (keyring, peers) = (Arc::clone(&handlers.keyring), Arc::clone(&handlers.peers));
    let gate = access::Gate { keyring, peers, limits: Arc::clone(&limits) };
    let ours = Routes::from(Router::new())
        .add_service(CollectionsServer::new(handlers.clone()).max_decoding_message_size(longest))
        .add_service(PointsServer::new(handlers.clone()).max_decoding_message_size(longest))
        .add_service(AdminServer::new(handlers.clone()).max_decoding_message_size(longest))
        .add_service(SyncServer::new(handlers.clone()).max_decoding_message_size(longest))
        .into_axum_router()
        .layer(from_fn_with_state(limits.clone(), limits::admit))
        .layer(from_fn_with_state(gate, access::rpc));
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(proto::DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()
        .map_err(|error| Error::internal(format!("reflection: {error}")))?;
    let standard = Routes::from(Router::new())
        .add_service(health.max_decoding_message_size(SMALL_MESSAGE))
        .add_service(reflection.max_decoding_message_size(SMALL_MESSAGE))
        .into_axum_router();
    let grpc = ours
        .merge(standard)
        .fallback(|headers: HeaderMap, uri: Uri| async move { refusal(&headers, no_such_rpc(uri.path())) })
        .layer(from_fn(status::mend))
        .layer(GrpcWebLayer::new());
    let worlds = Worlds { grpc, http: plain::routes(handlers, Arc::clone(&limits), settings) };
    Ok(Router::new()
        .fallback(choose)
        .with_state(worlds)
        .layer(from_fn_with_state(limits, limits::bound))
        .layer(cors(settings))
        .layer(from_fn_with_state(Guard::new(settings), guard::check))
        .layer(from_fn(survive)))
}

/// The content type decides: gRPC, or plain HTTP.
async fn choose(State(worlds): State<Worlds>, request: Request) -> Response {
    let world = if is_grpc(request.headers()) { worlds.grpc } else { worlds.http };
    let Ok(response) = world.oneshot(request).await;
    response
}

/// Lets pages of the configured origins read answers; others were refused by the guard already.
fn cors(settings: &Settings) -> CorsLayer {
    let origins = settings.allowed_origins.iter().filter_map(|origin| HeaderValue::from_str(origin.as_str()).ok());
    CorsLayer::new()
        .allow_origin(AllowOrigin::list(origins))
        .allow_methods([Method::GET, Method::HEAD, Method::POST])
        .allow_headers([
            CONTENT_TYPE,
            IF_NONE_MATCH,
            RANGE,
            HeaderName::from_static("grpc-timeout"),
            AUTHORIZATION,
            HeaderName::from_static(access::KEY_HEADER),
            HeaderName::from_static(tenancy::USER_HEADER),
            HeaderName::from_static("x-grpc-web"),
            HeaderName::from_static("x-user-agent"),
        ])
        .expose_headers(
            ["grpc-status", "grpc-message", status::ERROR, status::RETRYABLE, "etag", "content-range"]
                .map(HeaderName::from_static),
        )
}

/// Turns a panic into an answer: one request has failed, and nothing else.
async fn survive(request: Request, next: Next) -> Response {
    let headers = request.headers().clone();
    let mut answer = pin!(next.run(request));
    let poll = |context: &mut std::task::Context<'_>| {
        // The request is given up, so nobody sees what the panic left behind of it.
        match catch_unwind(AssertUnwindSafe(|| answer.as_mut().poll(context))) {
            Ok(poll) => poll.map(Some),
            Err(_) => Poll::Ready(None),
        }
    };
    let answered = std::future::poll_fn(poll).await;
    answered.unwrap_or_else(|| refusal(&headers, Error::internal("a bug: the handler of this request panicked")))
}

#[cfg(test)]
mod tests {
    use super::*;

    use axum::body::Body;

    #[tokio::test]
    async fn a_panic_is_an_answer() {
        async fn panic() -> Response {
            panic!("on purpose")
        }
        let router = Router::new().fallback(panic).layer(from_fn(survive));
        let plain = router.clone().oneshot(Request::new(Body::empty())).await.unwrap();
        assert_eq!(plain.status(), 500);
        let mut request = Request::new(Body::empty());
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        let spoken = router.oneshot(request).await.unwrap();
        assert_eq!(spoken.headers()["grpc-status"], "13");
    }
}
