//! From the engine's errors to what a client sees: one gRPC code and one HTTP code for every kind, and the kind itself.
//!
//! Invariant: every status that this server makes carries [`ERROR`] and [`RETRYABLE`]; one without them was made by the
//! transport, and [`mend`] gives it words.

use axum::body::Body;
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, HeaderName};
use http::{HeaderMap, HeaderValue, StatusCode};
use hyperspace_core::error::{Error, ErrorKind};
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::{Code, Status};

/// Metadata that carries the code of the error's kind, such as `not_found`.
pub(super) use crate::remote::KIND_HEADER as ERROR;
/// Metadata that says whether the same call may succeed later: `true` or `false`.
pub(super) const RETRYABLE: &str = "hyperspace-retryable";

/// The gRPC code of a kind.
const fn code(kind: ErrorKind) -> Code {
    match kind {
        ErrorKind::InvalidArgument => Code::InvalidArgument,
        ErrorKind::NotFound => Code::NotFound,
        ErrorKind::AlreadyExists => Code::AlreadyExists,
        ErrorKind::Unauthenticated => Code::Unauthenticated,
        ErrorKind::PermissionDenied => Code::PermissionDenied,
        ErrorKind::Conflict => Code::Aborted,
        ErrorKind::LimitExceeded => Code::ResourceExhausted,
        ErrorKind::Unavailable => Code::Unavailable,
        ErrorKind::Corrupted => Code::DataLoss,
        ErrorKind::Unsupported => Code::Unimplemented,
        ErrorKind::Closed => Code::FailedPrecondition,
        _ => Code::Internal,
    }
}

/// The HTTP code of a kind.
const fn http_code(kind: ErrorKind) -> StatusCode {
    match kind {
        ErrorKind::InvalidArgument => StatusCode::BAD_REQUEST,
        ErrorKind::NotFound => StatusCode::NOT_FOUND,
        ErrorKind::AlreadyExists | ErrorKind::Conflict | ErrorKind::Closed => StatusCode::CONFLICT,
        ErrorKind::Unauthenticated => StatusCode::UNAUTHORIZED,
        ErrorKind::PermissionDenied => StatusCode::FORBIDDEN,
        ErrorKind::LimitExceeded => StatusCode::PAYLOAD_TOO_LARGE,
        ErrorKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        ErrorKind::Unsupported => StatusCode::NOT_IMPLEMENTED,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// The longest message that travels, in bytes. It may quote what somebody sent, and a header takes three bytes for
/// many a byte of it.
const LONGEST: usize = 1 << 10;

/// What is told of an error.
fn told(error: &Error) -> &str {
    let message = error.message();
    &message[..message.floor_char_boundary(LONGEST)]
}

/// The status that a gRPC client gets for an error.
#[expect(clippy::needless_pass_by_value, reason = "the last thing that is done with an error; reads well in map_err")]
pub(super) fn status(error: Error) -> Status {
    let mut metadata = MetadataMap::new();
    metadata.insert(ERROR, MetadataValue::from_static(error.kind().code()));
    metadata.insert(RETRYABLE, MetadataValue::from_static(if error.is_retryable() { "true" } else { "false" }));
    Status::with_metadata(code(error.kind()), told(&error), metadata)
}

/// Whether a request speaks gRPC or gRPC-web.
pub(super) fn is_grpc(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"))
}

/// The whole answer to a request that is refused before anybody handles it, in the protocol that it speaks.
pub(super) fn refusal(headers: &HeaderMap, error: Error) -> Response {
    match headers.get(CONTENT_TYPE) {
        Some(spoken) if is_grpc(headers) => {
            let mut response = status(error).into_http::<Body>();
            response.headers_mut().insert(CONTENT_TYPE, spoken.clone());
            response
        }
        _ => (http_code(error.kind()), format!("{}\n", told(&error))).into_response(),
    }
}

/// Gives words and a kind to what the transport answered by itself: it names no unknown rpc, and calls a message that
/// it cannot read an error of ours. What it says of a compression that it does not know is fine.
pub(super) async fn mend(request: Request, next: Next) -> Response {
    const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
    let path = request.uri().path().to_owned();
    let response = next.run(request).await;
    let headers = response.headers();
    if headers.contains_key(ERROR) || !headers.contains_key(GRPC_STATUS) {
        return response;
    }
    let Some(told) = Status::from_header_map(headers) else { return response };
    let error = match told.code() {
        Code::Unimplemented if told.message().is_empty() => no_such_rpc(&path),
        Code::Unimplemented => Error::unsupported(told.message()),
        Code::Internal => Error::invalid_argument(format!("the message of {path}: {}", told.message())),
        _ => return response,
    };
    status(error).into_http()
}

/// The error for a path that is no rpc.
pub(super) fn no_such_rpc(path: &str) -> Error {
    let shown: String = path.chars().take(100).collect();
    Error::unsupported(format!("no such rpc: {shown}"))
}

/// The value of a header that is there at most once, as text.
///
/// # Errors
/// `InvalidArgument` when it is there twice or is not visible ASCII.
pub(super) fn single<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, Error> {
    let mut values = headers.get_all(name).iter();
    let (value, another) = (values.next(), values.next());
    if another.is_some() {
        return Err(Error::invalid_argument(format!("header `{name}` is given more than once")));
    }
    let text = value.map(HeaderValue::to_str).transpose();
    text.map_err(|_| Error::invalid_argument(format!("header `{name}` is not visible ASCII")))
}

#[cfg(test)]
mod tests {
    use super::*;

    use http_body_util::BodyExt as _;

    /// The table of errors: kind, gRPC, HTTP.
    const TABLE: [(ErrorKind, Code, u16); 12] = [
        (ErrorKind::InvalidArgument, Code::InvalidArgument, 400),
        (ErrorKind::NotFound, Code::NotFound, 404),
        (ErrorKind::AlreadyExists, Code::AlreadyExists, 409),
        (ErrorKind::Unauthenticated, Code::Unauthenticated, 401),
        (ErrorKind::PermissionDenied, Code::PermissionDenied, 403),
        (ErrorKind::Conflict, Code::Aborted, 409),
        (ErrorKind::LimitExceeded, Code::ResourceExhausted, 413),
        (ErrorKind::Unavailable, Code::Unavailable, 503),
        (ErrorKind::Corrupted, Code::DataLoss, 500),
        (ErrorKind::Unsupported, Code::Unimplemented, 501),
        (ErrorKind::Closed, Code::FailedPrecondition, 409),
        (ErrorKind::Internal, Code::Internal, 500),
    ];

    #[test]
    fn every_kind_has_its_codes_and_travels_with_them() {
        for (kind, grpc, http) in TABLE {
            let told = status(Error::new(kind, "what happened"));
            assert_eq!((told.code(), told.message()), (grpc, "what happened"), "{kind:?}");
            assert_eq!(told.metadata().get(ERROR).unwrap(), kind.code());
            let retryable = Error::new(kind, "").is_retryable().to_string();
            assert_eq!(told.metadata().get(RETRYABLE).unwrap().to_str().unwrap(), retryable);
            assert_eq!(http_code(kind).as_u16(), http, "{kind:?}");
        }
    }

    #[test]
    fn a_refusal_speaks_the_protocol_of_the_request() {
        let error = || Error::new(ErrorKind::PermissionDenied, "no");
        let plain = refusal(&HeaderMap::new(), error());
        assert_eq!(plain.status(), StatusCode::FORBIDDEN);
        for spoken in ["application/grpc", "application/grpc-web+proto", "application/grpc-web-text"] {
            let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(spoken))]);
            let response = refusal(&headers, error());
            assert_eq!(response.status(), StatusCode::OK);
            assert_eq!(response.headers()[CONTENT_TYPE], spoken);
            assert_eq!(Status::from_header_map(response.headers()).unwrap().code(), Code::PermissionDenied);
            assert_eq!(response.headers()[ERROR], "permission_denied");
        }
    }

    #[tokio::test]
    async fn a_message_is_cut_between_two_characters() {
        for (message, kept) in [("x".repeat(1024), 1024), ("x".repeat(1 << 20), 1024), ("\u{20ac}".repeat(400), 1023)] {
            let error = Error::invalid_argument(message.clone());
            assert_eq!(status(error.clone()).message(), &message[..kept]);
            let plain = refusal(&HeaderMap::new(), error).into_body().collect().await.unwrap().to_bytes();
            assert_eq!(plain, format!("{}\n", &message[..kept]));
        }
    }

    #[test]
    fn a_header_that_is_given_twice_is_refused() {
        let mut headers = HeaderMap::new();
        assert_eq!(single(&headers, "x").unwrap(), None);
        headers.append("x", HeaderValue::from_static("a"));
        assert_eq!(single(&headers, "x").unwrap(), Some("a"));
        headers.append("x", HeaderValue::from_static("a"));
        assert!(single(&headers, "x").is_err());
        let bytes =
            HeaderMap::from_iter([(HeaderName::from_static("x"), HeaderValue::from_bytes(b"\xc3\xa4").unwrap())]);
        assert!(single(&bytes, "x").is_err());
    }
}
