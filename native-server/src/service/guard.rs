//! Keeps web pages of others away from a server that trusts whoever reaches it.
//!
//! A page on any site can make the browser beside this server send it requests. Against DNS rebinding the name by which
//! the server is addressed must be one of its own (the page's name resolves here, but is not ours); against plain
//! cross-site requests an `Origin` must be the server's own or a configured one. Both hold for every path and method.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::uri::Authority;
use http::{HeaderMap, Uri};
use hyperspace_core::error::{Error, ErrorKind, Result};
use tonic::transport::server::TcpConnectInfo;
use tracing::debug;

use super::status::{refusal, single};
use crate::settings::{Host, Origin, Settings};

/// Names of this machine, whoever looks from it.
const LOCAL: [&str; 3] = ["localhost", "127.0.0.1", "[::1]"];

/// What requests may call this server, and where pages that use it may come from.
#[derive(Debug)]
pub(super) struct Guard {
    hosts: Vec<Host>,
    origins: Vec<Origin>,
}

impl Guard {
    pub(super) fn new(settings: &Settings) -> Arc<Self> {
        Arc::new(Self { hosts: settings.allowed_hosts.clone(), origins: settings.allowed_origins.clone() })
    }

    /// Checks a request that arrived at the address `arrived_at` of this machine.
    pub(super) fn check(&self, uri: &Uri, headers: &HeaderMap, arrived_at: Option<IpAddr>) -> Result<()> {
        let host = single(headers, "host")?;
        // HTTP/2 has `:authority`, HTTP/1 has `host`; who sends both has to mean the same by them.
        let named = match (uri.authority(), host) {
            (Some(authority), Some(host)) if !authority.as_str().eq_ignore_ascii_case(host) => {
                return Err(denied(format!("the request is for {authority}, its header `host` says {host:?}")));
            }
            (Some(authority), _) => authority.clone(),
            (None, Some(host)) => host.parse().map_err(|_| denied(format!("header `host` is no host: {host:?}")))?,
            (None, None) => return Err(denied("the request does not say for which host it is".into())),
        };
        if !self.is_ours(&named, arrived_at) {
            return Err(denied(format!("this server is not called {:?}; see the setting allowed_hosts", named.host())));
        }
        match single(headers, "origin")? {
            Some(origin) if !self.may_use(origin, &named) => {
                Err(denied(format!("pages of {origin:?} may not use this server; see the setting allowed_origins")))
            }
            _ => Ok(()),
        }
    }

    fn is_ours(&self, named: &Authority, arrived_at: Option<IpAddr>) -> bool {
        let host = named.host();
        if named.as_str().contains('@') {
            return false;
        }
        // An address is no name: nobody can point it elsewhere. So the one that was connected to is ours.
        let is_address = || {
            let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
            address.is_ok_and(|address| arrived_at.is_some_and(|at| at.to_canonical() == address.to_canonical()))
        };
        LOCAL.into_iter().chain(self.hosts.iter().map(Host::as_str)).any(|ours| ours.eq_ignore_ascii_case(host))
            || is_address()
    }

    /// Whether pages of an origin may use the server: its own, and the configured ones.
    fn may_use(&self, origin: &str, named: &Authority) -> bool {
        let own = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
        own.is_some_and(|own| own.eq_ignore_ascii_case(named.as_str()))
            || self.origins.iter().any(|allowed| allowed.as_str().eq_ignore_ascii_case(origin))
    }
}

/// Lets a request pass, or answers `PermissionDenied` (403).
pub(super) async fn check(State(guard): State<Arc<Guard>>, request: Request, next: Next) -> Response {
    let arrived_at = request.extensions().get::<TcpConnectInfo>().and_then(|info| Some(info.local_addr()?.ip()));
    match guard.check(request.uri(), request.headers(), arrived_at) {
        Ok(()) => next.run(request).await,
        Err(error) => {
            debug!(%error, "a request was refused at the door");
            refusal(request.headers(), error)
        }
    }
}

fn denied(message: String) -> Error {
    Error::new(ErrorKind::PermissionDenied, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    use http::{HeaderName, HeaderValue};

    /// A guard that was configured with a host and an origin.
    fn guard() -> Arc<Guard> {
        let arguments = ["", "--allowed-hosts", "db.example.org", "--allowed-origins", "http://app.example.org:5173"];
        match crate::settings::read(arguments.map(Into::into), []) {
            Ok(crate::settings::Invocation::Serve(settings)) => Guard::new(&settings),
            other => panic!("{other:?}"),
        }
    }

    fn passes(uri: &str, pairs: &[(&'static str, &str)]) -> bool {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
        }
        let arrived_at = Some("192.168.1.5".parse().unwrap());
        match guard().check(&uri.parse().unwrap(), &headers, arrived_at) {
            Ok(()) => true,
            Err(error) => {
                assert!([ErrorKind::PermissionDenied, ErrorKind::InvalidArgument].contains(&error.kind()));
                false
            }
        }
    }

    #[test]
    fn a_server_answers_to_its_own_names_only() {
        let ours =
            ["localhost", "LOCALHOST:50051", "127.0.0.1:1", "[::1]:50051", "db.example.org", "192.168.1.5:50051"];
        for host in ours {
            assert!(passes("/", &[("host", host)]), "{host}");
            assert!(passes(&format!("http://{host}/x"), &[]), "{host}");
            assert!(passes(&format!("http://{host}/x"), &[("host", host)]), "{host}");
        }
        let others = [
            "evil.example",
            "localhost.evil.example",
            "192.168.1.6",
            "x@localhost",
            "localhost@evil.example",
            "",
            "a b",
        ];
        for host in others {
            assert!(!passes("/", &[("host", host)]), "{host}");
        }
        assert!(!passes("/", &[]), "a request has to say whom it means");
        assert!(!passes("http://evil.example/x", &[("host", "localhost")]));
        assert!(!passes("http://localhost/x", &[("host", "127.0.0.1")]), "both names, and they differ");
        assert!(!passes("/", &[("host", "localhost"), ("host", "localhost")]));
    }

    #[test]
    fn pages_use_the_server_when_they_are_its_own_or_were_allowed() {
        let from = |origin: &str| passes("/", &[("host", "localhost:50051"), ("origin", origin)]);
        for origin in ["http://localhost:50051", "https://localhost:50051", "http://app.example.org:5173"] {
            assert!(from(origin), "{origin}");
        }
        let others = [
            "http://evil.example",
            "null",
            "",
            "http://localhost",
            "http://localhost:5173",
            "http://127.0.0.1:50051",
            "http://localhost:50051.evil.example",
            "ftp://localhost:50051",
            "http://app.example.org",
            "http://app.example.org:5173/",
        ];
        for origin in others {
            assert!(!from(origin), "{origin}");
        }
        let twice = [("host", "localhost:1"), ("origin", "http://localhost:1"), ("origin", "http://localhost:1")];
        assert!(!passes("/", &twice));
    }
}
