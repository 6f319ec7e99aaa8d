//! Tokens, as a page uses them: over gRPC-web, from its own origin, for a while.

use hyperspace_core::error::ErrorKind::{PermissionDenied, Unauthenticated};
use hyperspace_server::proto::{
    CreateTokenRequest, ListCollectionsRequest, Metric, RevokeKeyRequest, Scope, SearchResponse,
};
use prost::Message as _;

use crate::support::client::{Client, admin_key, batch, found, key_of, nearest, numbers};
use crate::support::frames::{framed, web_frames};
use crate::support::http1::{exchange, request};
use crate::support::refusal::refused;
use crate::support::server::{Running, configure};
use crate::support::until;

const APP: &str = "https://app.example";
const OTHER: &str = "https://other.example";

/// A server that pages of two origins may use, with ada's collection `c`; its administrator.
async fn server() -> (Running, Client) {
    let file = format!("allowed_origins = [\"{APP}\", \"{OTHER}\"]");
    let server = Running::with(|settings| configure(settings, &file)).await;
    let nobody = server.client().await;
    let (_, key) = nobody.create_key(admin_key()).await;
    let admin = nobody.key(&key);
    let ada = admin.user("ada");
    ada.create("c", 1, Metric::L2).await;
    ada.upsert(batch("c", numbers(0..3), &[0.0, 1.0, 2.0])).await;
    (server, admin)
}

async fn mint(client: &Client, origin: &str, ttl_ms: u64) -> String {
    let scopes = vec![Scope::Read.into()];
    let wanted = CreateTokenRequest { scopes, origin: origin.into(), ttl_ms, ..Default::default() };
    client.admin().create_token(wanted).await.unwrap().into_inner().token
}

/// Calls an rpc as a page does; answers the kind of the error, or the first message.
async fn page(
    server: &Running,
    origin: Option<&str>,
    token: &str,
    rpc: &str,
    message: &[u8],
) -> Result<Vec<u8>, String> {
    let (own, bearer) = (server.address.to_string(), format!("Bearer {token}"));
    let mut headers =
        vec![("host", own.as_str()), ("content-type", "application/grpc-web+proto"), ("authorization", &bearer)];
    headers.extend(origin.map(|origin| ("origin", origin)));
    let path = format!("/hyperspace.v1.{rpc}");
    let answer = exchange(server.address, &request("POST", &path, &headers, &framed(message))).await;
    let (mut messages, trailers) = web_frames(&answer.body);
    let told = trailers.unwrap_or(answer.headers);
    match told["grpc-status"].to_str().unwrap() {
        "0" => Ok(messages.swap_remove(0)),
        _ => Err(told["hyperspace-error"].to_str().unwrap().to_owned()),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_the_origin_finds_points_and_a_page_of_another_one_does_not() {
    let (server, admin) = server().await;
    let (key, shown) = admin.create_key(key_of("ada", &[Scope::Read, Scope::Write])).await;
    let token = mint(&admin.key(&shown), APP, 0).await;
    let search = nearest("c", &[2.0], 2).encode_to_vec();
    let ask = async |origin| page(&server, origin, &token, "Points/Search", &search).await;
    let answer = ask(Some(APP)).await.unwrap();
    assert_eq!(found(&SearchResponse::decode(&answer[..]).unwrap()), [2, 1]);
    for origin in [Some(OTHER), None] {
        assert_eq!(ask(origin).await, Err("permission_denied".into()), "{origin:?}");
    }
    for (rpc, message) in
        [("Points/Delete", &b"\x0a\x01c"[..]), ("Admin/CreateToken", b"\x0a\x01\x01"), ("Admin/ListKeys", b"")]
    {
        assert_eq!(page(&server, Some(APP), &token, rpc, message).await, Err("permission_denied".into()), "{rpc}");
    }
    admin.admin().revoke_key(RevokeKeyRequest { id: key.id }).await.unwrap();
    assert_eq!(ask(Some(APP)).await, Err("unauthenticated".into()), "it dies with its key");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_expires_outlives_a_restart_and_is_the_tenants_that_the_administrator_acts_for() {
    let (server, admin) = server().await;
    let (_, shown) = admin.create_key(key_of("ada", &[Scope::Read])).await;
    let short = mint(&admin.key(&shown), "", 1).await;
    let list = async |token: &str| admin.key(token).collections().list(ListCollectionsRequest {}).await;
    until("the token has expired", async || list(&short).await.is_err_and(|e| e.message().contains("expired"))).await;
    refused("expired", list(&short).await, Unauthenticated, "expired");

    let adas = mint(&admin.key(&shown), "", 60_000).await;
    let acting = mint(&admin.user("ada"), "", 60_000).await;
    let own = mint(&admin, "", 60_000).await;
    let server = server.restart().await;
    let client = server.client().await;
    for (token, is_adas) in [(&adas, true), (&acting, true), (&own, false)] {
        let seen = client.key(token).collections().list(ListCollectionsRequest {}).await.unwrap().into_inner();
        assert_eq!(seen.collections.len(), usize::from(is_adas));
        let forged = client.key(token).user("ada").collections().list(ListCollectionsRequest {}).await;
        refused("beside a token", forged, PermissionDenied, "x-hyperspace-user-id");
    }
    server.stop().await;
}
