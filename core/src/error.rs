//! The one error type: a kind that says what a caller can do, and a message that names the thing and the values.
//!
//! A kind maps to one gRPC status, one HTTP status, one JavaScript code and one Python class, in every host alike.

use alloc::string::String;
use core::fmt;

/// What went wrong, by what the caller can do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The request can never succeed as it is: mend it.
    InvalidArgument,
    /// The named thing does not exist.
    NotFound,
    /// The named thing exists and is not what was asked for.
    AlreadyExists,
    /// No valid credential came with the request.
    Unauthenticated,
    /// The credential does not allow this.
    PermissionDenied,
    /// Somebody else changed the same thing: read again and decide.
    Conflict,
    /// A stated limit, a quota or the disk is exceeded; the message names it.
    LimitExceeded,
    /// It may work later: retry.
    Unavailable,
    /// Stored bytes fail their checks.
    Corrupted,
    /// This build or version cannot do it.
    Unsupported,
    /// The handle was closed.
    Closed,
    /// A bug of ours.
    Internal,
}

impl ErrorKind {
    /// The stable name used by the JavaScript API and in logs.
    pub const fn code(self) -> &'static str {
        match self {
            Self::InvalidArgument => "invalid_argument",
            Self::NotFound => "not_found",
            Self::AlreadyExists => "already_exists",
            Self::Unauthenticated => "unauthenticated",
            Self::PermissionDenied => "permission_denied",
            Self::Conflict => "conflict",
            Self::LimitExceeded => "limit_exceeded",
            Self::Unavailable => "unavailable",
            Self::Corrupted => "corrupted",
            Self::Unsupported => "unsupported",
            Self::Closed => "closed",
            Self::Internal => "internal",
        }
    }
}

/// An error with its kind and a message meant for a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    kind: ErrorKind,
    message: String,
}

/// A result whose error is [`Error`].
pub type Result<T> = core::result::Result<T, Error>;

macro_rules! constructors {
    ($($name:ident => $kind:ident),* $(,)?) => {
        impl Error {
            $(
                #[doc = concat!("Creates an error of kind [`ErrorKind::", stringify!($kind), "`].")]
                pub fn $name(message: impl Into<String>) -> Self {
                    Self::new(ErrorKind::$kind, message)
                }
            )*
        }
    };
}

constructors! {
    invalid_argument => InvalidArgument,
    not_found => NotFound,
    already_exists => AlreadyExists,
    conflict => Conflict,
    limit_exceeded => LimitExceeded,
    unavailable => Unavailable,
    corrupted => Corrupted,
    unsupported => Unsupported,
    closed => Closed,
    internal => Internal,
}

impl Error {
    /// Creates an error of the given kind.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    /// What the caller can do about it.
    pub const fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The text for a person, without the kind.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Whether the same call may succeed later without any change.
    pub const fn is_retryable(&self) -> bool {
        matches!(self.kind, ErrorKind::Unavailable)
    }
}

/// The first 64 characters of a text from outside, so that a message that quotes it stays a message.
pub fn shortened(text: &str) -> &str {
    text.char_indices().nth(64).map_or(text, |(end, _)| &text[..end])
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind.code(), self.message)
    }
}

impl core::error::Error for Error {}
