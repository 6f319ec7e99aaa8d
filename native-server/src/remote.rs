//! Another server: whether it is this machine, how it proves who it is, and what went wrong there, as its status tells it.
//!
//! An error that the server answered keeps the kind it gave. A status that has a source was made on this side of the
//! wire by whatever lost the connection: whether the call happened is unknown, and it may be made again.

use std::error::Error as _;
use std::net::IpAddr;
use std::path::Path;

use http::Uri;
use hyperspace_core::error::{Error, ErrorKind, Result};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint};
use tonic::{Code, Status};

/// The header in which a server names the kind of its error.
pub(crate) const KIND_HEADER: &str = "hyperspace-error";

const KINDS: [ErrorKind; 12] = [
    ErrorKind::InvalidArgument,
    ErrorKind::NotFound,
    ErrorKind::AlreadyExists,
    ErrorKind::Unauthenticated,
    ErrorKind::PermissionDenied,
    ErrorKind::Conflict,
    ErrorKind::LimitExceeded,
    ErrorKind::Unavailable,
    ErrorKind::Corrupted,
    ErrorKind::Unsupported,
    ErrorKind::Closed,
    ErrorKind::Internal,
];

/// Reads the error out of a call that failed.
pub(crate) fn of_status(status: &Status) -> Error {
    if status.source().is_some() {
        return Error::unavailable(format!("the call got no answer: {}", chain(status)));
    }
    let named = status.metadata().get(KIND_HEADER).and_then(|value| value.to_str().ok());
    let kind = named.and_then(|code| KINDS.into_iter().find(|kind| kind.code() == code));
    Error::new(kind.unwrap_or_else(|| kind_of_code(status.code())), status.message())
}

/// An error and what caused it, each once: libraries like to say `transport error` and mean the cause.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut parts: Vec<String> = Vec::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let text = error.to_string();
        if !parts.iter().any(|part| part.contains(&text)) {
            parts.push(text);
        }
        next = error.source();
    }
    parts.join(": ")
}

const fn kind_of_code(code: Code) -> ErrorKind {
    match code {
        Code::InvalidArgument | Code::OutOfRange => ErrorKind::InvalidArgument,
        Code::NotFound => ErrorKind::NotFound,
        Code::AlreadyExists => ErrorKind::AlreadyExists,
        Code::Unauthenticated => ErrorKind::Unauthenticated,
        Code::PermissionDenied => ErrorKind::PermissionDenied,
        Code::Aborted => ErrorKind::Conflict,
        Code::ResourceExhausted => ErrorKind::LimitExceeded,
        Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled => ErrorKind::Unavailable,
        Code::DataLoss => ErrorKind::Corrupted,
        Code::Unimplemented => ErrorKind::Unsupported,
        Code::FailedPrecondition => ErrorKind::Closed,
        Code::Ok | Code::Unknown | Code::Internal => ErrorKind::Internal,
    }
}

/// Whether an address is this machine's: what goes there is read by nobody on the way.
pub(crate) fn is_loopback(server: &Uri) -> bool {
    let host = server.host().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// The way to a server, in TLS for `https`: then it is known by an authority of the PEM file, or of the system without one.
///
/// # Errors
/// `InvalidArgument` for an address that is none, and for a file without certificates or beside `http`.
pub(crate) fn endpoint(server: &str, authorities: Option<&Path>) -> Result<Endpoint> {
    let wrong = |error: tonic::transport::Error| Error::invalid_argument(format!("{server}: {}", chain(&error)));
    let endpoint = Endpoint::from_shared(server.to_owned()).map_err(wrong)?;
    if endpoint.uri().scheme_str() != Some("https") {
        return match authorities {
            None => Ok(endpoint),
            Some(path) => Err(Error::invalid_argument(format!(
                "{} is given, but {server} is plain text: nothing would be checked",
                path.display()
            ))),
        };
    }
    let tls = match authorities {
        None => ClientTlsConfig::new().with_native_roots(),
        Some(path) => ClientTlsConfig::new().ca_certificate(certificates(path)?),
    };
    endpoint.tls_config(tls).map_err(wrong)
}

fn certificates(path: &Path) -> Result<Certificate> {
    let wrong = |why: &str| Error::invalid_argument(format!("{} {why}", path.display()));
    let pem = std::fs::read(path).map_err(|error| wrong(&format!("cannot be read: {error}")))?;
    let mut found = CertificateDer::pem_slice_iter(&pem).peekable();
    if found.peek().is_none() || !found.all(|certificate| certificate.is_ok()) {
        return Err(wrong("is no PEM file of certificates"));
    }
    Ok(Certificate::from_pem(pem))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::io;
    use std::sync::Arc;

    use super::*;

    #[test]
    fn an_error_keeps_the_kind_the_server_named() {
        for kind in KINDS {
            let mut status = Status::internal("why");
            status.metadata_mut().insert(KIND_HEADER, kind.code().parse().unwrap());
            assert_eq!(of_status(&status), Error::new(kind, "why"));
        }
    }

    #[test]
    fn a_kind_of_a_later_version_is_told_by_its_grpc_code() {
        let mut status = Status::data_loss("why");
        status.metadata_mut().insert(KIND_HEADER, "unheard_of".parse().unwrap());
        assert_eq!(of_status(&status).kind(), ErrorKind::Corrupted);
    }

    #[test]
    fn without_a_named_kind_the_grpc_code_tells_it() {
        let cases = [
            (Code::InvalidArgument, ErrorKind::InvalidArgument),
            (Code::NotFound, ErrorKind::NotFound),
            (Code::AlreadyExists, ErrorKind::AlreadyExists),
            (Code::Unauthenticated, ErrorKind::Unauthenticated),
            (Code::PermissionDenied, ErrorKind::PermissionDenied),
            (Code::Aborted, ErrorKind::Conflict),
            (Code::ResourceExhausted, ErrorKind::LimitExceeded),
            (Code::Unavailable, ErrorKind::Unavailable),
            (Code::DeadlineExceeded, ErrorKind::Unavailable),
            (Code::DataLoss, ErrorKind::Corrupted),
            (Code::Unimplemented, ErrorKind::Unsupported),
            (Code::FailedPrecondition, ErrorKind::Closed),
            (Code::Internal, ErrorKind::Internal),
        ];
        for (code, kind) in cases {
            assert_eq!(of_status(&Status::new(code, "why")).kind(), kind, "{code:?}");
        }
    }

    #[test]
    fn a_call_that_lost_its_connection_may_be_made_again() {
        let cause = io::Error::new(io::ErrorKind::ConnectionReset, "reset by peer");
        let mut status = Status::unknown("transport error");
        status.set_source(Arc::new(cause));
        let error = of_status(&status);
        assert!(error.is_retryable());
        assert!(error.message().contains("reset by peer"), "{error}");
    }
}
