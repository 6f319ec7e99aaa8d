//! For whom a request speaks, and whether it may ask for what it asks for.
//!
//! Runs before a body is read, and leaves the [`Caller`] in the request's extensions; handlers find it there and nowhere
//! else. What an rpc needs is said by its whole path: one that is not in [`NEEDS`] is refused whoever asks for it.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::{Extensions, HeaderMap};
use hyperspace_core::error::{Error, Result};
use tonic::transport::server::TcpConnectInfo;
use tracing::debug;

use super::limits::Limits;
use super::peers::Peers;
use super::status::{no_such_rpc, refusal, single};
use crate::auth::{Caller, Claims, Keyring, Scope};
use crate::tenancy::USER_HEADER;

/// The header for a key or a token alone.
pub(super) const KEY_HEADER: &str = "x-api-key";
/// The header for a key or a token behind `Bearer`.
const AUTHORIZATION: &str = "authorization";

/// What the caller of an rpc needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Need {
    Scope(Scope),
    /// A key of any kind, and no token.
    Key,
}

/// What begins the path of every rpc of ours.
const PACKAGE: &str = "/hyperspace.v1.";

/// What every rpc needs.
const NEEDS: [(Need, &[&str]); 5] = [
    (
        Need::Scope(Scope::Read),
        &[
            "Collections/Get",
            "Collections/List",
            "Points/Get",
            "Points/Search",
            "Points/SearchBatch",
            "Points/Scroll",
            "Points/Count",
            "Admin/Monitor",
            "Admin/MeasureRecall",
            "Admin/Usage",
        ],
    ),
    (
        Need::Scope(Scope::Write),
        &[
            "Collections/Create",
            "Collections/Delete",
            "Points/Upsert",
            "Points/Delete",
            "Points/SetMetadata",
            "Admin/Configure",
            "Admin/Vacuum",
            "Admin/Rebuild",
        ],
    ),
    (
        Need::Scope(Scope::Sync),
        &["Sync/Hello", "Sync/Pull", "Sync/Push", "Sync/Reconcile", "Sync/Fetch", "Sync/GetManifest"],
    ),
    (
        Need::Scope(Scope::Admin),
        &[
            "Admin/Snapshot",
            "Admin/Log",
            "Admin/CreateKey",
            "Admin/ListKeys",
            "Admin/RevokeKey",
            "Admin/Promote",
            "Admin/RemoveFollower",
            "Sync/Replicate",
            "Sync/Acknowledge",
        ],
    ),
    (Need::Key, &["Admin/CreateToken"]),
];

/// What only a server that leads does: what changes collections or keys, and what would tell a replica where it stands.
const LEADERS_ONLY: &[&str] = &[
    "Collections/Create",
    "Collections/Delete",
    "Points/Upsert",
    "Points/Delete",
    "Points/SetMetadata",
    "Admin/Configure",
    "Admin/Rebuild",
    "Admin/CreateKey",
    "Admin/RevokeKey",
    "Admin/CreateToken",
    "Sync/Hello",
    "Sync/Pull",
    "Sync/Push",
    "Sync/Reconcile",
    "Sync/Fetch",
    "Sync/GetManifest",
];

/// What is asked before an rpc is handled.
#[derive(Clone)]
pub(super) struct Gate {
    pub(super) keyring: Arc<Keyring>,
    pub(super) peers: Arc<Peers>,
    pub(super) limits: Arc<Limits>,
}

fn need(path: &str) -> Option<Need> {
    let rpc = path.strip_prefix(PACKAGE)?;
    NEEDS.iter().find(|(_, rpcs)| rpcs.contains(&rpc)).map(|(need, _)| *need)
}

fn is_for_leaders(path: &str) -> bool {
    path.strip_prefix(PACKAGE).is_some_and(|rpc| LEADERS_ONLY.contains(&rpc))
}

/// Puts the caller of an rpc into its extensions, or refuses the request.
pub(super) async fn rpc(State(gate): State<Gate>, mut request: Request, next: Next) -> Response {
    let admitted = caller(&gate.keyring, &request).and_then(|caller| {
        let path = request.uri().path();
        match need(path).ok_or_else(|| no_such_rpc(path))? {
            Need::Scope(scope) => caller.require(scope)?,
            Need::Key => caller.require_key()?,
        }
        if is_for_leaders(path) {
            gate.peers.check_leads()?;
        }
        gate.limits.share(&request, caller.tenant())?;
        Ok(caller)
    });
    match admitted {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(error) => refuse(&request, error),
    }
}

/// What plain HTTP needs, path by path.
#[derive(Clone)]
pub(super) struct Door {
    pub(super) keyring: Arc<Keyring>,
    pub(super) limits: Arc<Limits>,
    pub(super) needs: Scope,
}

/// Lets a plain request pass whose caller has the scope, with who that is in its extensions.
pub(super) async fn http(State(door): State<Door>, mut request: Request, next: Next) -> Response {
    let admitted = caller(&door.keyring, &request).and_then(|caller| {
        caller.require(door.needs)?;
        door.limits.share(&request, caller.tenant())?;
        Ok(caller)
    });
    match admitted {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(error) => refuse(&request, error),
    }
}

fn refuse(request: &Request, error: Error) -> Response {
    debug!(%error, path = request.uri().path(), "a request was refused for whom it speaks");
    refusal(request.headers(), error)
}

fn caller(keyring: &Keyring, request: &Request) -> Result<Caller> {
    keyring.caller(&claims(request.headers(), peer(request.extensions()))?)
}

/// What headers say of a caller.
///
/// # Errors
/// `InvalidArgument` when they say something twice, in one way or in two.
pub(super) fn claims(headers: &HeaderMap, peer: Option<IpAddr>) -> Result<Claims<'_>> {
    let credential = match (single(headers, KEY_HEADER)?, single(headers, AUTHORIZATION)?) {
        (Some(_), Some(_)) => {
            return Err(Error::invalid_argument(format!(
                "a request has one credential: leave header `{KEY_HEADER}` or `{AUTHORIZATION}` out"
            )));
        }
        (None, Some(text)) => Some(bearer(text)),
        (key, None) => key,
    };
    Ok(Claims {
        credential,
        user: single(headers, USER_HEADER)?,
        origin: single(headers, "origin")?,
        is_local: peer.is_some_and(|peer| peer.to_canonical().is_loopback()),
    })
}

/// The credential behind `Bearer`; of any other scheme an empty one, which is not valid.
fn bearer(text: &str) -> &str {
    let (scheme, credential) = text.split_once(' ').unwrap_or_default();
    if scheme.eq_ignore_ascii_case("bearer") { credential.trim_matches(' ') } else { "" }
}

/// The address at the other end of the connection.
fn peer(extensions: &Extensions) -> Option<IpAddr> {
    Some(extensions.get::<TcpConnectInfo>()?.remote_addr()?.ip())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::net::Ipv4Addr;

    use http::{HeaderName, HeaderValue};
    use hyperspace_core::error::ErrorKind;
    use prost::Message as _;
    use prost_types::FileDescriptorSet;

    const HERE: Option<IpAddr> = Some(IpAddr::V4(Ipv4Addr::LOCALHOST));

    fn headers(pairs: &[(&'static str, &[u8])]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(HeaderName::from_static(name), HeaderValue::from_bytes(value).unwrap());
        }
        headers
    }

    #[test]
    fn every_rpc_there_is_needs_something_and_nothing_else_is_let_in() {
        let set = FileDescriptorSet::decode(crate::proto::DESCRIPTORS).unwrap();
        let mut paths = BTreeSet::new();
        for file in &set.file {
            for service in &file.service {
                let rpcs = service.method.iter();
                paths.extend(rpcs.map(|rpc| format!("/{}.{}/{}", file.package(), service.name(), rpc.name())));
            }
        }
        assert!(paths.len() >= 22, "{paths:?}");
        let known: BTreeSet<String> =
            NEEDS.iter().flat_map(|(_, rpcs)| rpcs.iter().map(|rpc| format!("{PACKAGE}{rpc}"))).collect();
        assert_eq!(known, paths, "what the table has, and what there is");
        let leaders: BTreeSet<String> = LEADERS_ONLY.iter().map(|rpc| format!("{PACKAGE}{rpc}")).collect();
        assert!(leaders.is_subset(&known), "{leaders:?}");
        for (need, rpcs) in &NEEDS {
            for rpc in rpcs.iter().filter(|_| matches!(need, Need::Scope(Scope::Write))) {
                // A follower keeps its own files as it likes.
                assert!(leaders.contains(&format!("{PACKAGE}{rpc}")) || *rpc == "Admin/Vacuum", "{rpc}");
            }
        }
        let snapshot = Some(Need::Scope(Scope::Admin));
        assert_eq!(need("/hyperspace.v1.Admin/Snapshot"), snapshot);
        for other in [
            "/hyperspace.v1.Admin/snapshot",
            "/hyperspace.v1.Admin/Snapshot/",
            "/hyperspace.v1.Admin//Snapshot",
            "/hyperspace.v1.Points/../Admin/Snapshot",
            "/hyperspace.v1.Admin%2fSnapshot",
            "/hyperspace.v2.Admin/Snapshot",
            "hyperspace.v1.Admin/Snapshot",
            "",
        ] {
            assert_eq!(need(other), None, "{other}");
        }
    }

    #[test]
    fn a_credential_is_taken_from_either_header_and_from_one() {
        let given = |pairs: &[(&'static str, &[u8])]| {
            claims(&headers(pairs), HERE).map(|claims| claims.credential.map(str::to_owned))
        };
        assert_eq!(given(&[]), Ok(None));
        assert_eq!(given(&[("x-api-key", b"hs_1")]), Ok(Some("hs_1".into())));
        for bearer in [&b"Bearer hs_1"[..], b"bearer hs_1", b"BEARER  hs_1 "] {
            assert_eq!(given(&[("authorization", bearer)]), Ok(Some("hs_1".into())));
        }
        // Who sends something believes to be known by it.
        for other in [&b""[..], b"hs_1", b"Basic aHNfMQ==", b"Bearer", b"Bearer "] {
            assert_eq!(given(&[("authorization", other)]), Ok(Some(String::new())));
        }
        assert_eq!(given(&[("x-api-key", b"")]), Ok(Some(String::new())));
        let twice: [&[(&'static str, &[u8])]; 5] = [
            &[("x-api-key", b"hs_1"), ("x-api-key", b"hs_1")],
            &[("authorization", b"Bearer hs_1"), ("authorization", b"Bearer hs_1")],
            &[("x-api-key", b"hs_1"), ("authorization", b"Bearer hs_1")],
            &[("x-api-key", b""), ("authorization", b"")],
            &[("x-hyperspace-user-id", b"ada"), ("x-hyperspace-user-id", b"ada")],
        ];
        for pairs in twice {
            assert_eq!(given(pairs).unwrap_err().kind(), ErrorKind::InvalidArgument, "{pairs:?}");
        }
        let error = given(&[("x-api-key", "hs_s\u{e4}cret".as_bytes())]).unwrap_err();
        assert!(error.kind() == ErrorKind::InvalidArgument && !error.message().contains("cret"), "{error}");
    }

    #[test]
    fn this_machine_is_told_from_others() {
        let is_local = |peer| claims(&HeaderMap::new(), peer).unwrap().is_local;
        assert!(is_local(HERE) && is_local(Some("::1".parse().unwrap())));
        assert!(is_local(Some("::ffff:127.0.0.1".parse().unwrap())));
        assert!(!is_local(None) && !is_local(Some("192.168.1.2".parse().unwrap())));
    }
}
