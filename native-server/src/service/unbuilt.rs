//! What the contract names and nobody built yet: known, so that a client is told what to expect, and never pretended.

use axum::Router;
use axum::response::Response;
use axum::routing::any;
use http::HeaderMap;
use hyperspace_core::error::Error;

use super::status::refusal;

/// Services, and those of their rpcs that are not in the contract's files yet.
const RPCS: [(&str, &[&str]); 1] = [("Sync", &["GetManifest"])];

/// Answers `Unsupported` for each of the rpcs.
pub(super) fn rpcs() -> Router {
    let each = RPCS.into_iter().flat_map(|(service, rpcs)| rpcs.iter().map(move |rpc| (service, *rpc)));
    each.fold(Router::new(), |router, (service, rpc)| {
        let answer = move |headers: HeaderMap| async move { unbuilt(&headers, &format!("{service}.{rpc}")) };
        router.route(&format!("/hyperspace.v1.{service}/{rpc}"), any(answer))
    })
}

/// Answers `Unsupported` for segments over HTTP.
pub(super) fn segments() -> Router {
    let answer = |headers: HeaderMap| async move { unbuilt(&headers, "downloading segments") };
    Router::new().route("/v1/segments/{space}/{segment}", any(answer))
}

fn unbuilt(headers: &HeaderMap, what: &str) -> Response {
    refusal(headers, Error::unsupported(format!("{what} is not built yet")))
}

/// The paths of these rpcs.
#[cfg(test)]
pub(super) fn paths() -> impl Iterator<Item = String> {
    RPCS.into_iter().flat_map(|(service, rpcs)| rpcs.iter().map(move |rpc| format!("/hyperspace.v1.{service}/{rpc}")))
}
