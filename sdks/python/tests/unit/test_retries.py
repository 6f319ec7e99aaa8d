"""What is tried again, how often, and for how long."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import grpc
import pytest

from hyperspace import (
    AlreadyExistsError,
    ClosedError,
    HyperspaceClient,
    HyperspaceError,
    UnavailableError,
    _transport,
)
from hyperspace import _rpc as rpc
from hyperspace._proto import admin_pb2 as admin
from hyperspace._proto import collections_pb2 as collections
from hyperspace._proto import points_pb2 as points
from tests.unit.fake import STATUS_OF_CODE, Failure, FakeServer

LOST = Failure(grpc.StatusCode.UNAVAILABLE, lost=True)
BUSY = Failure(grpc.StatusCode.UNAVAILABLE, code="unavailable", retryable=True)


@pytest.mark.usefixtures("no_pauses")
def test_a_busy_server_is_asked_again(server: FakeServer, client: HyperspaceClient) -> None:
    server.fail(rpc.LIST, BUSY, BUSY)
    assert client.list_collections() == []
    assert len(server.seen) == 3


@pytest.mark.usefixtures("no_pauses")
def test_retries_end_after_the_number_given(server: FakeServer) -> None:
    server.fail(rpc.LIST, *[BUSY] * 10)
    with HyperspaceClient(server.target, retries=2) as client, pytest.raises(UnavailableError):
        client.list_collections()
    assert len(server.seen) == 3


@pytest.mark.parametrize("code", STATUS_OF_CODE.keys() - {"unavailable"})
def test_what_cannot_succeed_is_tried_once(server: FakeServer, client: HyperspaceClient, code: str) -> None:
    server.fail(rpc.LIST, Failure(STATUS_OF_CODE[code], code=code, retryable=False))
    with pytest.raises(HyperspaceError):
        client.list_collections()
    assert len(server.seen) == 1


@pytest.mark.usefixtures("no_pauses")
def test_the_server_decides_what_is_retryable(server: FakeServer, client: HyperspaceClient) -> None:
    server.fail(rpc.LIST, Failure(grpc.StatusCode.RESOURCE_EXHAUSTED, code="limit_exceeded", retryable=True))
    assert client.list_collections() == []
    server.fail(rpc.LIST, Failure(grpc.StatusCode.UNAVAILABLE, code="unavailable", retryable=False))
    with pytest.raises(UnavailableError) as raised:
        client.list_collections()
    assert not raised.value.retryable
    assert len(server.seen) == 3


@pytest.mark.usefixtures("no_pauses")
def test_a_lost_answer_does_not_write_twice(server: FakeServer, client: HyperspaceClient) -> None:
    server.make("default", 2)
    server.fail(rpc.UPSERT, LOST)
    point_id = client.insert([1.0, 2.0])
    first, second = server.sent(points.UpsertRequest)
    assert first == second
    assert list(server.spaces["default"].stored) == [point_id]


@pytest.mark.usefixtures("no_pauses")
def test_a_delete_whose_answer_was_lost_is_repeated(server: FakeServer, client: HyperspaceClient) -> None:
    server.make("notes", 1)
    client.upsert("notes", vectors=[[1.0], [2.0]], ids=[1, 2])
    server.fail(rpc.DELETE, LOST)
    client.delete("notes", ids=1)
    assert list(server.spaces["notes"].stored) == [2]
    assert len(server.sent(points.DeleteRequest)) == 2


CALLS_THAT_WOULD_HAPPEN_TWICE: list[tuple[rpc.Rpc, Callable[[HyperspaceClient], object]]] = [  # type: ignore[type-arg]
    (rpc.CREATE, lambda client: client.create_collection("new", 3)),
    (rpc.DROP, lambda client: client.delete_collection("notes")),
    (rpc.SNAPSHOT, lambda client: client.snapshot()),
]


@pytest.mark.parametrize(("call", "method"), CALLS_THAT_WOULD_HAPPEN_TWICE)
@pytest.mark.usefixtures("no_pauses")
def test_what_is_not_repeatable_is_repeated_only_when_the_server_did_nothing(
    server: FakeServer,
    client: HyperspaceClient,
    call: rpc.Rpc,  # type: ignore[type-arg]
    method: Callable[[HyperspaceClient], object],
) -> None:
    server.make("notes", 1)
    server.fail(call, BUSY)
    method(client)
    server.make("notes", 1)
    server.spaces.pop("new", None)
    server.fail(call, LOST)
    with pytest.raises(UnavailableError) as raised:
        method(client)
    assert raised.value.retryable
    assert len(server.seen) == 3


def test_the_first_insert_survives_a_rival_that_makes_the_collection(
    server: FakeServer, client: HyperspaceClient
) -> None:
    exists = Failure(grpc.StatusCode.ALREADY_EXISTS, code="already_exists", retryable=False, lost=True)
    server.fail(rpc.CREATE, exists)
    client.insert([1.0, 2.0], id=7)
    assert list(server.spaces["default"].stored) == [7]
    with pytest.raises(AlreadyExistsError):
        client.create_collection("default", 2)


def test_retries_stay_within_the_time_of_the_call(server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_transport, "_FIRST_PAUSE_S", 60.0)
    monkeypatch.setattr(_transport, "_LONGEST_PAUSE_S", 60.0)
    server.fail(rpc.LIST, BUSY)
    began = time.monotonic()
    with HyperspaceClient(server.target, timeout=20.0) as client, pytest.raises(UnavailableError, match="told to fail"):
        client.list_collections()
    assert time.monotonic() - began < 20.0
    assert len(server.seen) == 1


def test_a_call_without_an_answer_ends_with_its_time(server: FakeServer) -> None:
    server.make("default", 1)
    answer = threading.Event()
    server.gate = answer.wait
    try:
        with (
            HyperspaceClient(server.target, timeout=0.2) as client,
            pytest.raises(UnavailableError, match=rf"^no answer from {server.target} within 0\.2 s$") as raised,
        ):
            client.insert([1.0])
    finally:
        answer.set()
    assert raised.value.retryable
    assert len(server.sent(points.UpsertRequest)) == 1


def test_long_calls_take_a_time_of_their_own(server: FakeServer, client: HyperspaceClient) -> None:
    assert client.vacuum(timeout=120.0).segments_rewritten == 1
    assert client.snapshot(timeout=120.0).name == "s1"
    with pytest.raises(ValueError, match="timeout is -1"):
        client.vacuum(timeout=-1)
    assert len(server.sent(admin.VacuumRequest)) == 1


def test_pauses_grow_and_differ() -> None:
    many = [list(_transport._pauses(2000)) for _ in range(50)]  # noqa: SLF001
    for pauses in many:
        for retry, pause in enumerate(pauses):
            longest = 0.1 * 2**retry if retry < 5 else 2.0
            assert longest / 2 <= pause <= longest
    assert len({pauses[0] for pauses in many}) > 1


def test_a_server_that_nobody_started_is_unavailable() -> None:
    with FakeServer() as gone:
        target = gone.target
    with (
        HyperspaceClient(target, retries=1) as client,
        pytest.raises(UnavailableError, match=f"^{target}: ") as raised,
    ):
        client.list_collections()
    assert isinstance(raised.value, ConnectionError)


def test_closing_ends_a_pause(server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    pausing = threading.Event()

    def pauses(_count: int) -> object:
        pausing.set()
        yield 60.0

    monkeypatch.setattr(_transport, "_pauses", pauses)
    server.fail(rpc.LIST, BUSY)
    client = HyperspaceClient(server.target, timeout=100.0)

    def close() -> None:
        pausing.wait()
        client.close()

    closer = threading.Thread(target=close)
    closer.start()
    began = time.monotonic()
    with pytest.raises(ClosedError):
        client.list_collections()
    closer.join()
    assert time.monotonic() - began < 50.0
    assert len(server.sent(collections.ListCollectionsRequest)) == 1
