//! Requests that web pages of others could make a browser send: by another name, or from another origin.

use std::net::SocketAddr;

use hyperspace_core::error::ErrorKind::PermissionDenied;
use hyperspace_server::proto::Metric;
use tonic::transport::Endpoint;

use super::assert_alive;
use crate::support::contract::cases;
use crate::support::frames::{call, framed};
use crate::support::http1::{Answer, exchange, request};
use crate::support::refusal::refused;
use crate::support::server::Running;

const PATHS: [&str; 8] =
    ["/", "/healthz", "/livez", "/readyz", "/metrics", "/assets/x.js", "/v1/segments/a/b", "/none"];
const STANDARD: [&str; 2] =
    ["/grpc.health.v1.Health/Check", "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"];

async fn ask(address: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
    exchange(address, &request(method, path, headers, b"")).await
}

#[tokio::test(flavor = "multi_thread")]
async fn by_a_name_that_is_not_its_own_the_server_answers_nobody() {
    let server = Running::new().await;
    let address = server.address;
    let own = address.to_string();
    let port = address.port();
    let names = [
        "evil.example".to_owned(),
        format!("evil.example:{port}"),
        format!("127.0.0.1.evil.example:{port}"),
        format!("localhost.evil.example:{port}"),
        format!("127.0.0.1@evil.example:{port}"),
        format!("evil.example@127.0.0.1:{port}"),
        format!("127.0.0.2:{port}"),
        "0.0.0.0".to_owned(),
        "a b".to_owned(),
        String::new(),
    ];
    for path in PATHS {
        for method in ["GET", "HEAD", "POST", "OPTIONS"] {
            for name in &names {
                let answer = ask(address, method, path, &[("host", name)]).await;
                assert!([400, 403].contains(&answer.code), "{method} {path} for {name:?}: {answer:?}");
            }
            let nameless = ask(address, method, path, &[]).await;
            assert!([400, 403].contains(&nameless.code), "{method} {path} without a host: {nameless:?}");
            let two = ask(address, method, path, &[("host", &own), ("host", "evil.example")]).await;
            assert!([400, 403].contains(&two.code), "{method} {path} with two hosts: {two:?}");
        }
    }
    for name in ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example:50051"] {
        let endpoint = Endpoint::from_shared(format!("http://{own}")).unwrap();
        let channel = endpoint.origin(format!("http://{name}").parse().unwrap()).connect().await.unwrap();
        for path in cases().into_iter().map(|(path, _)| path).chain(STANDARD.map(String::from)) {
            refused(
                &path,
                call(&channel, &path, &[], framed(&[])).await,
                PermissionDenied,
                "this server is not called",
            );
        }
    }
    for name in [&own, "localhost", "LOCALHOST:1", "127.0.0.1", "[::1]:50051"] {
        assert_eq!(ask(address, "GET", "/healthz", &[("host", name)]).await.code, 200, "{name}");
    }
    assert_alive(&server.client().await).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_another_origin_get_nothing_whatever_they_ask() {
    let server = Running::new().await;
    let address = server.address;
    let own = address.to_string();
    let origins = [
        "http://evil.example".to_owned(),
        "https://evil.example:443".to_owned(),
        "null".to_owned(),
        "http://localhost".to_owned(),
        format!("http://{own}.evil.example"),
        format!("http://{own}@evil.example"),
        format!("http://evil.example/{own}"),
        format!("http://127.0.0.1:{}", address.port().wrapping_add(1)),
        own.clone(),
        String::new(),
    ];
    for path in PATHS {
        for method in ["GET", "HEAD", "POST", "OPTIONS"] {
            for origin in &origins {
                let headers = [("host", own.as_str()), ("origin", origin), ("access-control-request-method", "POST")];
                let answer = ask(address, method, path, &headers).await;
                assert_eq!(answer.code, 403, "{method} {path} from {origin:?}");
                assert!(!answer.headers.contains_key("access-control-allow-origin"), "{answer:?}");
            }
        }
    }
    let channel = server.client().await.channel;
    for path in cases().into_iter().map(|(path, _)| path).chain(STANDARD.map(String::from)) {
        let outcome = call(&channel, &path, &[("origin", b"http://evil.example")], framed(&[])).await;
        refused(&path, outcome, PermissionDenied, "allowed_origins");
    }
    let same = format!("http://{own}");
    assert_eq!(ask(address, "GET", "/healthz", &[("host", &own), ("origin", &same)]).await.code, 200);
    assert_alive(&server.client().await).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn names_and_origins_that_were_configured_are_welcome_and_no_others() {
    let config = "allowed_hosts = [\"db.example\"]\nallowed_origins = [\"https://app.example\"]";
    let server = Running::with(|settings| crate::support::server::configure(settings, config)).await;
    let address = server.address;
    let own = address.to_string();
    assert_eq!(ask(address, "GET", "/healthz", &[("host", "db.example")]).await.code, 200);
    assert_eq!(ask(address, "GET", "/healthz", &[("host", "DB.example:1234")]).await.code, 200);
    assert_eq!(ask(address, "GET", "/healthz", &[("host", "other.db.example")]).await.code, 403);
    let asking = |origin| [("host", own.as_str()), ("origin", origin)];
    let answer = ask(address, "GET", "/healthz", &asking("https://app.example")).await;
    assert_eq!((answer.code, answer.header("access-control-allow-origin")), (200, "https://app.example"));
    assert!(!answer.headers.contains_key("access-control-allow-credentials"), "{answer:?}");
    for other in ["http://app.example", "https://app.example:8443", "https://app.example.evil"] {
        assert_eq!(ask(address, "GET", "/healthz", &asking(other)).await.code, 403, "{other}");
    }
    server.client().await.create("c", 1, Metric::L2).await;
    server.stop().await;
}
