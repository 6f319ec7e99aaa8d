"""One channel to one server: credentials, deadlines, retries, and gRPC's failures as errors of ours.

A call is sent again only when the failure is retryable and either the server itself said so (then it did nothing) or
the call is repeatable (then a second time does no harm), and only within the call's time. Knows messages only as things
that are sent and answered.
"""

from __future__ import annotations

import ipaddress
import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from importlib.metadata import version
from itertools import chain, repeat
from typing import Generic, NamedTuple, TypeVar, cast
from urllib.parse import urlsplit

import grpc

from hyperspace._rpc import Request, Response, Rpc
from hyperspace.errors import (
    BY_CODE,
    ClosedError,
    HyperspaceError,
    InternalError,
    InvalidArgumentError,
    UnavailableError,
)

Sent = TypeVar("Sent")

MAX_MESSAGE_BYTES = 64 * 1024 * 1024

_DEFAULT_PORT = 50051
_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 2.0

# What a status means when the server did not name the kind: it came from gRPC itself, or from something in between.
_BY_STATUS = {
    grpc.StatusCode.INVALID_ARGUMENT: "invalid_argument",
    grpc.StatusCode.NOT_FOUND: "not_found",
    grpc.StatusCode.ALREADY_EXISTS: "already_exists",
    grpc.StatusCode.UNAUTHENTICATED: "unauthenticated",
    grpc.StatusCode.PERMISSION_DENIED: "permission_denied",
    grpc.StatusCode.ABORTED: "conflict",
    grpc.StatusCode.RESOURCE_EXHAUSTED: "limit_exceeded",
    grpc.StatusCode.UNAVAILABLE: "unavailable",
    grpc.StatusCode.DATA_LOSS: "corrupted",
    grpc.StatusCode.UNIMPLEMENTED: "unsupported",
    grpc.StatusCode.FAILED_PRECONDITION: "closed",
    grpc.StatusCode.CANCELLED: "closed",
}


class Target(NamedTuple):
    """A server's address."""

    address: str
    is_loopback: bool

    @classmethod
    def parse(cls, text: str) -> Target:
        """Reads `host` or `host:port`; an IPv6 host stands in brackets."""
        try:
            parts = urlsplit(f"//{text}")
            host, port = parts.hostname, _DEFAULT_PORT if parts.port is None else parts.port
        except ValueError:
            host = None
        if host is None or parts.netloc != text or "@" in text:
            raise InvalidArgumentError(f"target is {text!r}, expected host:port such as 'localhost:{_DEFAULT_PORT}'")
        try:
            is_loopback = ipaddress.ip_address(host).is_loopback
        except ValueError:
            is_loopback = host == "localhost"
        return cls(f"[{host}]:{port}" if ":" in host else f"{host}:{port}", is_loopback)


class Pending(Generic[Response]):
    """A call whose first attempt is under way."""

    def __init__(self, result: Callable[[], Response], cancel: Callable[[], object]) -> None:
        self.result = result
        self.cancel = cancel


class Transport:
    """A channel that all threads may use. Nothing is connected before the first call."""

    def __init__(
        self,
        target: str,
        *,
        api_key: str | None,
        user_id: str | None,
        timeout: float,
        tls: bool,
        root_certificates: bytes | None,
        retries: int,
    ) -> None:
        self.target = Target.parse(target)
        if retries < 0:
            raise InvalidArgumentError(f"retries is {retries}, expected 0 or more")
        if root_certificates is not None and not tls:
            raise InvalidArgumentError("root_certificates are given, but tls is False: nothing would check them")
        if api_key is not None and not (tls or self.target.is_loopback):
            raise InvalidArgumentError(
                f"an API key does not go to {self.target.address} in plain text: pass tls=True, or use loopback"
            )
        self._retries = retries
        self._timeout = _checked_timeout(timeout)
        credentials = {"x-api-key": api_key, "x-hyperspace-user-id": user_id}
        self._metadata = tuple(
            (name, _checked_header(name, text)) for name, text in credentials.items() if text is not None
        )
        self._closed = threading.Event()
        options = _channel_options(self.target)
        self._channel = (
            grpc.secure_channel(self.target.address, grpc.ssl_channel_credentials(root_certificates), options)
            if tls
            else grpc.insecure_channel(self.target.address, options)
        )

    def close(self) -> None:
        """Ends the calls under way and refuses new ones."""
        self._closed.set()
        self._channel.close()

    def call(self, rpc: Rpc[Request, Response], request: Request, *, timeout: float | None = None) -> Response:
        """Sends a request and waits for the answer: at most `timeout` seconds, retries included."""
        seconds = self._timeout if timeout is None else _checked_timeout(timeout)
        return self._settle(rpc, repeat(partial(self._attempt, rpc, request)), seconds)

    def start(self, rpc: Rpc[Request, Response], request: Request) -> Pending[Response]:
        """Sends a request and does not wait; whoever asks for the result makes the retries, in a time of their own."""
        future = self._open(lambda: self._unary(rpc).future(request, self._timeout, self._metadata))

        def first(_: float) -> Response:
            return future.result()

        attempts: Iterator[Callable[[float], Response]] = chain([first], repeat(partial(self._attempt, rpc, request)))
        return Pending(lambda: self._settle(rpc, attempts, self._timeout), future.cancel)

    def _settle(
        self, rpc: Rpc[Request, Response], attempts: Iterable[Callable[[float], Response]], timeout: float
    ) -> Response:
        """Makes attempts until one succeeds, one fails for good, or the time is over."""
        deadline = time.monotonic() + timeout
        pauses = _pauses(self._retries)
        for attempt in attempts:
            try:
                return attempt(deadline - time.monotonic())
            except grpc.RpcError as failure:
                error, answered = self._translate(cast("grpc.Call", failure), timeout)
            pause = next(pauses, None)
            may_repeat = error.retryable and (answered or rpc.repeatable)
            if pause is None or not may_repeat or time.monotonic() + pause >= deadline:
                raise error
            if self._closed.wait(pause):
                break
        raise self._closed_error()

    def _attempt(self, rpc: Rpc[Request, Response], request: Request, timeout: float) -> Response:
        if not rpc.streams:
            return self._open(lambda: self._unary(rpc)(request, timeout, self._metadata))
        method = self._channel.unary_stream(rpc.path, rpc.request.SerializeToString, rpc.response.FromString)
        answers = self._open(lambda: method(request, timeout, self._metadata))
        for answer in answers:
            answers.cancel()
            return answer
        raise InternalError(f"{self.target.address} ended {rpc.name} without an answer")

    def _unary(self, rpc: Rpc[Request, Response]) -> grpc.UnaryUnaryMultiCallable[Request, Response]:
        return self._channel.unary_unary(rpc.path, rpc.request.SerializeToString, rpc.response.FromString)

    def _open(self, send: Callable[[], Sent]) -> Sent:
        """Sends on a channel that another thread may close at any moment; gRPC reports that as a ValueError."""
        try:
            return send()
        except ValueError:
            if not self._closed.is_set():
                raise
            raise self._closed_error() from None

    def _closed_error(self) -> ClosedError:
        return ClosedError(f"the client of {self.target.address} was closed")

    def _translate(self, failure: grpc.Call, timeout: float) -> tuple[HyperspaceError, bool]:
        """Returns the error, and whether the server itself answered it."""
        trailers = dict(failure.trailing_metadata() or ())
        status, text = failure.code(), failure.details() or "no details"
        kind = BY_CODE.get(str(trailers.get("hyperspace-error")))
        if kind is not None:
            said = trailers.get("hyperspace-retryable")
            return kind(text, retryable=None if said is None else said == "true"), True
        if self._closed.is_set():
            return self._closed_error(), False
        if status is grpc.StatusCode.DEADLINE_EXCEEDED:
            return UnavailableError(f"no answer from {self.target.address} within {timeout:g} s"), False
        return BY_CODE[_BY_STATUS.get(status, "internal")](f"{self.target.address}: {text}"), False


def _pauses(count: int) -> Iterator[float]:
    """Yields growing pauses, each shortened by up to a half at random so that clients do not come back all at once."""
    pause = _FIRST_PAUSE_S
    for _ in range(count):
        yield pause * random.uniform(0.5, 1.0)  # noqa: S311
        pause = min(pause * 2, _LONGEST_PAUSE_S)


def _channel_options(target: Target) -> list[tuple[str, int | str]]:
    return [
        ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
        ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
        # A dead connection is noticed in half of the default timeout, which leaves the other half for a new one.
        ("grpc.keepalive_time_ms", 10_000),
        ("grpc.keepalive_timeout_ms", 5_000),
        # gRPC would wait a second, then ever longer, before it connects again; pauses are made by retries here.
        ("grpc.initial_reconnect_backoff_ms", int(_FIRST_PAUSE_S * 1000)),
        ("grpc.max_reconnect_backoff_ms", int(_LONGEST_PAUSE_S * 1000)),
        # What is said in plain text on this machine does not leave it through a proxy of the environment.
        ("grpc.enable_http_proxy", 0 if target.is_loopback else 1),
        ("grpc.primary_user_agent", f"hyperspace-python/{version('hyperspace-db')}"),
    ]


def _checked_timeout(seconds: float) -> float:
    if not 0 < seconds < float("inf"):
        raise InvalidArgumentError(f"timeout is {seconds} s, expected a positive number")
    return seconds


def _checked_header(name: str, text: str) -> str:
    if not (text and text.isascii() and text.isprintable()):
        raise InvalidArgumentError(f"{name} has {len(text)} characters, expected at least one and printable ASCII only")
    return text
