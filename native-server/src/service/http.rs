//! What is plain HTTP: whether the server lives and is ready, and the demo page, for everybody; its figures, for the
//! administrator once there are keys.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::StatusCode;
use http::header::CONTENT_TYPE;

use super::handlers::Handlers;
use super::limits::Limits;
use super::monitor::{Figures, reason};
use super::status::refusal;
use super::work::block;
use super::{access, demo, metrics, segments};
use crate::auth::Scope;
use crate::settings::Settings;

/// All paths that are not gRPC.
pub(super) fn routes(handlers: Handlers, limits: Arc<Limits>, settings: &Settings) -> Router {
    let keyring = Arc::clone(&handlers.keyring);
    let for_those_with = move |needs| {
        let door = access::Door { keyring: Arc::clone(&keyring), limits: Arc::clone(&limits), needs };
        from_fn_with_state(door, access::http)
    };
    Router::new()
        .route("/livez", get("alive\n"))
        .route("/healthz", get("alive\n"))
        .route("/readyz", get(ready))
        .route("/metrics", get(figures).layer(for_those_with(Scope::Admin)))
        .route("/v1/segments/{space}/{segment}", get(segments::get).layer(for_those_with(Scope::Sync)))
        .with_state(handlers)
        .merge(demo::files(&settings.demo_dir))
}

/// 200 when writes are accepted; otherwise 503 and why not.
async fn ready(State(handlers): State<Handlers>) -> Response {
    let state = handlers.keeper.database().state();
    let reason = if *handlers.stopping.borrow() { Some("the server is stopping") } else { reason(&state) };
    match reason {
        None => "ready\n".into_response(),
        Some(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")).into_response(),
    }
}

async fn figures(State(handlers): State<Handlers>) -> Response {
    match block(move || metrics::text(Figures::read(&handlers))).await {
        Ok(text) => ([(CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response(),
        Err(error) => refusal(&http::HeaderMap::new(), error),
    }
}
