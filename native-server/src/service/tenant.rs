//! Whose data a request may touch.
//!
//! Runs before a body is read, and leaves the tenant in the request's extensions; handlers find it there and nowhere
//! else. There are no keys yet, so `x-hyperspace-user-id` is believed, but only from this very machine; and whoever
//! sends a key believes to be protected by it, so that is refused instead of being passed over.

use std::net::IpAddr;

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use http::{Extensions, HeaderMap};
use hyperspace_core::error::{Error, Result};
use hyperspace_core::types::Tenant;
use tonic::transport::server::TcpConnectInfo;
use tracing::debug;

use super::status::{refusal, single};
use crate::tenancy::{self, USER_HEADER};

/// Would identify a tenant.
const CREDENTIALS: [&str; 2] = ["authorization", "x-api-key"];

/// Puts the tenant into a request's extensions, or refuses the request.
pub(super) async fn resolve(mut request: Request, next: Next) -> Response {
    match tenant(request.headers(), peer(request.extensions())) {
        Ok(tenant) => {
            request.extensions_mut().insert(tenant);
            next.run(request).await
        }
        Err(error) => {
            debug!(%error, "a request was refused for whom it speaks");
            refusal(request.headers(), error)
        }
    }
}

pub(super) fn tenant(headers: &HeaderMap, peer: Option<IpAddr>) -> Result<Tenant> {
    if let Some(name) = CREDENTIALS.into_iter().find(|name| headers.contains_key(*name)) {
        return Err(Error::unsupported(format!("API keys are not built yet: leave header `{name}` out")));
    }
    let is_local = peer.is_some_and(|peer| peer.to_canonical().is_loopback());
    tenancy::of_caller(single(headers, USER_HEADER)?, is_local)
}

/// The address at the other end of the connection.
fn peer(extensions: &Extensions) -> Option<IpAddr> {
    Some(extensions.get::<TcpConnectInfo>()?.remote_addr()?.ip())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    use http::{HeaderName, HeaderValue};
    use hyperspace_core::error::ErrorKind;

    const HERE: Option<IpAddr> = Some(IpAddr::V4(Ipv4Addr::LOCALHOST));
    const ELSEWHERE: Option<IpAddr> = Some(IpAddr::V4(Ipv4Addr::new(192, 168, 1, 2)));

    fn headers(pairs: &[(&'static str, &[u8])]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(HeaderName::from_static(name), HeaderValue::from_bytes(value).unwrap());
        }
        headers
    }

    #[test]
    fn without_a_header_everybody_is_the_default_tenant() {
        for peer in [HERE, ELSEWHERE, None] {
            assert_eq!(tenant(&HeaderMap::new(), peer).unwrap().name(), "default");
        }
    }

    #[test]
    fn the_header_names_the_tenant_on_this_machine_only() {
        let named = headers(&[(USER_HEADER, b"alice")]);
        assert_eq!(tenant(&named, HERE).unwrap().name(), "alice");
        assert_eq!(tenant(&named, Some("::ffff:127.0.0.1".parse().unwrap())).unwrap().name(), "alice");
        for peer in [ELSEWHERE, None] {
            assert_eq!(tenant(&named, peer).unwrap_err().kind(), ErrorKind::PermissionDenied);
        }
    }

    #[test]
    fn a_name_that_is_none_is_refused() {
        for value in [&b""[..], b"../other", b"a b", "\u{e4}".as_bytes(), &[b'a'; 129]] {
            assert_eq!(tenant(&headers(&[(USER_HEADER, value)]), HERE).unwrap_err().kind(), ErrorKind::InvalidArgument);
        }
        let twice = headers(&[(USER_HEADER, b"alice"), (USER_HEADER, b"bob")]);
        assert_eq!(tenant(&twice, HERE).unwrap_err().kind(), ErrorKind::InvalidArgument);
    }

    #[test]
    fn a_key_that_protects_nothing_is_not_passed_over() {
        for name in CREDENTIALS {
            let error = tenant(&headers(&[(name, b"Bearer x")]), HERE).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unsupported);
            assert!(error.message().contains(name));
        }
    }
}
