//! What is plain HTTP: whether the server lives and is ready, and the demo page, for everybody; its figures, for the
//! administrator once there are keys. One table has every path, for the router and for the tests that ask for each.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get};
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

/// A path, and whose requests it answers.
struct Route {
    path: &'static str,
    /// Nothing is for everybody.
    needs: Option<Scope>,
    answer: fn() -> MethodRouter<Handlers>,
}

/// Every path but those of the demo's files, which are for everybody.
const ROUTES: [Route; 5] = [
    Route { path: "/livez", needs: None, answer: || get("alive\n") },
    Route { path: "/healthz", needs: None, answer: || get("alive\n") },
    Route { path: "/readyz", needs: None, answer: || get(ready) },
    Route { path: "/metrics", needs: Some(Scope::Admin), answer: || get(figures) },
    Route { path: "/v1/segments/{space}/{segment}", needs: Some(Scope::Sync), answer: || get(segments::get) },
];

/// Every path of plain HTTP but those of the demo's files, and the name of the scope that its caller needs.
pub fn paths() -> impl Iterator<Item = (&'static str, Option<String>)> {
    ROUTES.iter().map(|route| (route.path, route.needs.map(|scope| scope.to_string())))
}

/// All paths that are not gRPC.
pub(super) fn routes(handlers: Handlers, limits: Arc<Limits>, settings: &Settings) -> Router {
    let keyring = Arc::clone(&handlers.keyring);
    let for_those_with = move |needs| {
        let door = access::Door { keyring: Arc::clone(&keyring), limits: Arc::clone(&limits), needs };
        from_fn_with_state(door, access::http)
    };
    let add = |router: Router<Handlers>, route: &Route| {
        let answer = (route.answer)();
        let answer = if let Some(scope) = route.needs { answer.layer(for_those_with(scope)) } else { answer };
        router.route(route.path, answer)
    };
    ROUTES.iter().fold(Router::new(), add).with_state(handlers).merge(demo::files(&settings.demo_dir))
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
