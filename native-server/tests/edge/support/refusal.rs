//! What a refusal looks like: the table of errors, as the documents have it.

use std::fmt::Debug;

use hyperspace_core::error::ErrorKind;
use tonic::{Code, Status};

/// Kind, name on the wire, gRPC code, HTTP code, and whether the same call may succeed later.
const TABLE: [(ErrorKind, &str, Code, u16, bool); 12] = [
    (ErrorKind::InvalidArgument, "invalid_argument", Code::InvalidArgument, 400, false),
    (ErrorKind::NotFound, "not_found", Code::NotFound, 404, false),
    (ErrorKind::AlreadyExists, "already_exists", Code::AlreadyExists, 409, false),
    (ErrorKind::Unauthenticated, "unauthenticated", Code::Unauthenticated, 401, false),
    (ErrorKind::PermissionDenied, "permission_denied", Code::PermissionDenied, 403, false),
    (ErrorKind::Conflict, "conflict", Code::Aborted, 409, false),
    (ErrorKind::LimitExceeded, "limit_exceeded", Code::ResourceExhausted, 413, false),
    (ErrorKind::Unavailable, "unavailable", Code::Unavailable, 503, true),
    (ErrorKind::Corrupted, "corrupted", Code::DataLoss, 500, false),
    (ErrorKind::Unsupported, "unsupported", Code::Unimplemented, 501, false),
    (ErrorKind::Closed, "closed", Code::FailedPrecondition, 409, false),
    (ErrorKind::Internal, "internal", Code::Internal, 500, false),
];

/// The HTTP code of a kind.
pub(crate) fn http_code(kind: ErrorKind) -> u16 {
    TABLE.iter().find(|row| row.0 == kind).unwrap().3
}

/// Checks that code, kind and whether to retry agree, and answers the kind.
pub(crate) fn kind_of(status: &Status) -> ErrorKind {
    let said = |name: &str| status.metadata().get(name).map(|value| value.to_str().unwrap().to_owned());
    let kind = said("hyperspace-error").unwrap_or_else(|| panic!("this error has no kind: {status:?}"));
    let row = TABLE.iter().find(|row| row.1 == kind).unwrap_or_else(|| panic!("there is no kind {kind}"));
    assert_eq!(status.code(), row.2, "{kind}: {status:?}");
    assert_eq!(said("hyperspace-retryable"), Some(row.4.to_string()), "{kind}: {status:?}");
    assert!(!status.message().is_empty(), "{kind} without a word");
    row.0
}

/// Checks that a call was refused with an error of a kind, whose words name something.
pub(crate) fn refused<T: Debug>(what: &str, outcome: Result<T, Status>, kind: ErrorKind, named: &str) {
    match outcome {
        Ok(answer) => panic!("{what}: was answered with {answer:?}"),
        Err(status) => {
            assert_eq!(kind_of(&status), kind, "{what}: {status:?}");
            let message = status.message();
            assert!(message.contains(named), "{what}: {named:?} is not in {message:?}");
        }
    }
}
