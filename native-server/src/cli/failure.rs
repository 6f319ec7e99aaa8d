//! What went wrong, and what the process exits with. What a server says of it, `remote` reads.

use std::io;

use hyperspace_core::error::{Error, ErrorKind};
use tonic::Status;

pub(crate) use crate::remote::{chain, of_status};

/// The result of a command.
pub(crate) type Outcome<T> = Result<T, Failure>;

/// Why the program did not do what it was asked to.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The command line is wrong, or asks for what is not built.
    Usage(Error),
    /// The server or a file said no.
    Failed(Error),
    /// Nobody reads the output any more, so that there is nobody to tell.
    NobodyReads,
}

impl Failure {
    /// What the process exits with.
    pub(crate) const fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) => 2,
            Self::Failed(_) => 1,
            Self::NobodyReads => 0,
        }
    }

    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::Usage(Error::invalid_argument(message))
    }

    pub(crate) fn not_built(message: impl Into<String>) -> Self {
        Self::Usage(Error::unsupported(message))
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        Self::Failed(of_status(&status))
    }
}

/// For writing answers; a file that is read has its errors told by [`of_file`].
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::NobodyReads,
            _ => Self::Failed(Error::internal(format!("the output cannot be written: {error}"))),
        }
    }
}

/// Says that a file cannot be read or written, and why.
pub(crate) fn of_file(path: &std::path::Path, error: &io::Error) -> Error {
    let kind = match error.kind() {
        io::ErrorKind::NotFound => ErrorKind::NotFound,
        io::ErrorKind::PermissionDenied => ErrorKind::PermissionDenied,
        _ => ErrorKind::InvalidArgument,
    };
    Error::new(kind, format!("{}: {error}", path.display()))
}

/// The same error, about a place.
pub(crate) fn at(place: impl std::fmt::Display, error: &Error) -> Error {
    Error::new(error.kind(), format!("{place}: {}", error.message()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_output_that_nobody_reads_is_no_failure() {
        assert_eq!(Failure::from(io::Error::from(io::ErrorKind::BrokenPipe)).exit_code(), 0);
        assert_eq!(Failure::from(io::Error::from(io::ErrorKind::StorageFull)).exit_code(), 1);
    }
}
