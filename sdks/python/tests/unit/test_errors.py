"""Every kind of failure, from the server, from gRPC, and from something in between."""

from __future__ import annotations

import pickle
from collections.abc import Iterator

import grpc
import pytest

import hyperspace
from hyperspace import HyperspaceClient, HyperspaceError
from hyperspace import _rpc as rpc
from hyperspace.errors import BY_CODE
from tests.unit.fake import STATUS_OF_CODE, Failure, FakeServer

# The table of the design: kind, and the class of the language that it also is.
TABLE = {
    "invalid_argument": (hyperspace.InvalidArgumentError, ValueError),
    "not_found": (hyperspace.NotFoundError, LookupError),
    "already_exists": (hyperspace.AlreadyExistsError, Exception),
    "unauthenticated": (hyperspace.UnauthenticatedError, Exception),
    "permission_denied": (hyperspace.PermissionDeniedError, Exception),
    "conflict": (hyperspace.ConflictError, Exception),
    "limit_exceeded": (hyperspace.LimitExceededError, Exception),
    "unavailable": (hyperspace.UnavailableError, ConnectionError),
    "corrupted": (hyperspace.CorruptedError, Exception),
    "unsupported": (hyperspace.UnsupportedError, NotImplementedError),
    "closed": (hyperspace.ClosedError, Exception),
    "internal": (hyperspace.InternalError, Exception),
}


@pytest.fixture
def once(server: FakeServer) -> Iterator[HyperspaceClient]:
    with HyperspaceClient(server.target, retries=0) as connected:
        yield connected


def test_the_table_of_kinds_is_complete() -> None:
    assert {code: kind for code, (kind, _) in TABLE.items()} == BY_CODE
    assert set(HyperspaceError.__subclasses__()) == set(BY_CODE.values())
    assert all(kind.__name__ in hyperspace.__all__ for kind in BY_CODE.values())


@pytest.mark.parametrize("code", TABLE)
@pytest.mark.parametrize("named", [True, False], ids=["named by the server", "by status alone"])
def test_each_kind_has_its_class(server: FakeServer, once: HyperspaceClient, code: str, named: bool) -> None:
    kind, also = TABLE[code]
    server.fail(rpc.LIST, Failure(STATUS_OF_CODE[code], code=code if named else None))
    with pytest.raises(HyperspaceError, match=f"told to fail with {STATUS_OF_CODE[code].name}") as raised:
        once.list_collections()
    assert type(raised.value) is kind
    assert isinstance(raised.value, also)
    assert raised.value.code == code
    assert raised.value.retryable is (code == "unavailable")
    assert raised.value.__cause__ is None


@pytest.mark.parametrize("status", [status for status in grpc.StatusCode if status is not grpc.StatusCode.OK])
def test_every_status_of_grpc_is_an_error_of_ours(
    server: FakeServer, once: HyperspaceClient, status: grpc.StatusCode
) -> None:
    server.fail(rpc.LIST, Failure(status))
    with pytest.raises(HyperspaceError):
        once.list_collections()


def test_the_server_s_word_on_kind_and_retries_wins_over_the_status(server: FakeServer, once: HyperspaceClient) -> None:
    server.fail(rpc.LIST, Failure(grpc.StatusCode.INTERNAL, code="corrupted", retryable=True))
    with pytest.raises(hyperspace.CorruptedError) as raised:
        once.list_collections()
    assert raised.value.retryable


def test_a_kind_of_a_newer_server_is_read_by_its_status(server: FakeServer, once: HyperspaceClient) -> None:
    server.fail(rpc.LIST, Failure(grpc.StatusCode.ABORTED, code="not_invented_yet"))
    with pytest.raises(hyperspace.ConflictError):
        once.list_collections()


def test_what_the_server_says_reaches_the_caller_as_it_is(server: FakeServer, client: HyperspaceClient) -> None:
    server.make("notes", 2)
    with pytest.raises(hyperspace.NotFoundError, match=r"^there is no collection `nötes`$"):
        client.get_collection("nötes")


@pytest.mark.parametrize("kind", BY_CODE.values())
def test_errors_survive_pickling(kind: type[HyperspaceError]) -> None:
    error = pickle.loads(pickle.dumps(kind("what happened", retryable=True)))  # noqa: S301
    assert (type(error), str(error), error.retryable) == (kind, "what happened", True)
