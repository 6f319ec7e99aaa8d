//! What a refusal looks like: the table of errors, as the documents have it.

use std::fmt::Debug;

use hyperspace_core::error::ErrorKind;
use tonic::{Code, Status};

/// Kind, name on the wire, gRPC code, and whether the same call may succeed later.
const TABLE: [(ErrorKind, &str, Code, bool); 12] = [
    (ErrorKind::InvalidArgument, "invalid_argument", Code::InvalidArgument, false),
    (ErrorKind::NotFound, "not_found", Code::NotFound, false),
    (ErrorKind::AlreadyExists, "already_exists", Code::AlreadyExists, false),
    (ErrorKind::Unauthenticated, "unauthenticated", Code::Unauthenticated, false),
    (ErrorKind::PermissionDenied, "permission_denied", Code::PermissionDenied, false),
    (ErrorKind::Conflict, "conflict", Code::Aborted, false),
    (ErrorKind::LimitExceeded, "limit_exceeded", Code::ResourceExhausted, false),
    (ErrorKind::Unavailable, "unavailable", Code::Unavailable, true),
    (ErrorKind::Corrupted, "corrupted", Code::DataLoss, false),
    (ErrorKind::Unsupported, "unsupported", Code::Unimplemented, false),
    (ErrorKind::Closed, "closed", Code::FailedPrecondition, false),
    (ErrorKind::Internal, "internal", Code::Internal, false),
];

/// Checks that code, kind and whether to retry agree, and answers the kind.
pub(crate) fn kind_of(status: &Status) -> ErrorKind {
    let said = |name: &str| status.metadata().get(name).map(|value| value.to_str().unwrap().to_owned());
    let kind = said("hyperspace-error").unwrap_or_else(|| panic!("this error has no kind: {status:?}"));
    let row = TABLE.iter().find(|row| row.1 == kind).unwrap_or_else(|| panic!("there is no kind {kind}"));
    assert_eq!(status.code(), row.2, "{kind}: {status:?}");
    assert_eq!(said("hyperspace-retryable"), Some(row.3.to_string()), "{kind}: {status:?}");
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
