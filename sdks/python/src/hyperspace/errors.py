"""What can go wrong, by what a caller can do about it.

One class a kind of the engine, the same kinds in every language. Nothing but a subclass of `HyperspaceError` leaves the
client because of what a server or the network did.
"""

from __future__ import annotations

from typing import ClassVar


class HyperspaceError(Exception):
    """Base of all errors of this package; its text is for people.

    Attributes:
        code: The stable name of the kind, for programs and logs.
        retryable: Whether the same call may succeed later without any change.
    """

    code: ClassVar[str] = "internal"

    def __init__(self, message: str, *, retryable: bool | None = None) -> None:
        super().__init__(message)
        self.retryable = isinstance(self, UnavailableError) if retryable is None else retryable


class InvalidArgumentError(HyperspaceError, ValueError):
    """The request can never succeed as it is."""

    code = "invalid_argument"


class NotFoundError(HyperspaceError, LookupError):
    """The named thing does not exist."""

    code = "not_found"


class AlreadyExistsError(HyperspaceError):
    """The named thing exists."""

    code = "already_exists"


class UnauthenticatedError(HyperspaceError):
    """No valid credential came with the request."""

    code = "unauthenticated"


class PermissionDeniedError(HyperspaceError):
    """The credential does not allow this."""

    code = "permission_denied"


class ConflictError(HyperspaceError):
    """Somebody else changed the same thing."""

    code = "conflict"


class LimitExceededError(HyperspaceError):
    """A stated limit, a quota or the disk is exceeded; the text names it."""

    code = "limit_exceeded"


class UnavailableError(HyperspaceError, ConnectionError):
    """The server cannot be reached, did not answer in time, or is too busy: it may work later."""

    code = "unavailable"


class CorruptedError(HyperspaceError):
    """Stored bytes fail their checks."""

    code = "corrupted"


class UnsupportedError(HyperspaceError, NotImplementedError):
    """This server cannot do it."""

    code = "unsupported"


class ClosedError(HyperspaceError):
    """The client or the server was closed."""

    code = "closed"


class InternalError(HyperspaceError):
    """A bug of ours, on either side."""

    code = "internal"


BY_CODE: dict[str, type[HyperspaceError]] = {
    kind.code: kind
    for kind in (
        InvalidArgumentError,
        NotFoundError,
        AlreadyExistsError,
        UnauthenticatedError,
        PermissionDeniedError,
        ConflictError,
        LimitExceededError,
        UnavailableError,
        CorruptedError,
        UnsupportedError,
        ClosedError,
        InternalError,
    )
}
