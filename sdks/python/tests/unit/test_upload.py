"""Long uploads: batches, what is under way at once, generators, progress."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import numpy as np
import pytest

from hyperspace import HyperspaceClient, InvalidArgumentError, LimitExceededError
from hyperspace import _rpc as rpc
from hyperspace._proto import points_pb2 as points
from hyperspace._proto import types_pb2 as types
from hyperspace._upload import MAX_BATCH_BYTES, Points, acknowledged
from hyperspace._values import read_id
from tests.unit.fake import Failure, FakeServer

PATIENCE_S = 20.0


class Recorder:
    """Stands for the transport: writes down when batches start and when they are waited for."""

    def __init__(self) -> None:
        self.log: list[tuple[str, Any]] = []

    def start(self, _call: Any, request: points.UpsertRequest) -> Recorder.Call:
        first = read_id(request.ids[0])
        self.log.append(("start", first))
        return Recorder.Call(lambda: self.log.append(("end", first)), lambda: self.log.append(("cancel", first)))

    class Call:
        def __init__(self, result: Callable[[], None], cancel: Callable[[], None]) -> None:
            self.result = result
            self.cancel = cancel


def send(recorder: Recorder, given: Points, most_bytes: int = 1) -> Iterator[Any]:
    batches = given.batches(most_bytes, wide=False)
    return acknowledged(
        recorder,  # type: ignore[arg-type]
        "notes",
        batches,
        wide=False,
        durability=types.DURABILITY_UNSPECIFIED,
    )


def sizes(server: FakeServer) -> list[int]:
    return [len(request.ids) for request in server.sent(points.UpsertRequest)]


def test_a_batch_ends_with_the_point_that_fills_it(server: FakeServer, client: HyperspaceClient) -> None:
    server.make("notes", 4)
    ids = client.upsert("notes", vectors=np.zeros((10, 4), np.float32), batch_bytes=40)
    assert sorted(sizes(server), reverse=True) == [3, 3, 3, 1]
    assert list(dict.fromkeys(ids)) == ids
    assert set(server.spaces["notes"].stored) == set(ids)


def test_metadata_count_as_bytes_of_utf8(server: FakeServer, client: HyperspaceClient) -> None:
    server.make("notes", 1)
    metadata = [{"t": "é" * 100}] * 4  # 208 bytes, 108 characters
    client.upsert("notes", vectors=np.zeros((4, 1), np.float32), metadata=metadata, batch_bytes=400)
    assert sizes(server) == [2, 2]


def test_no_batch_has_more_than_ten_thousand_points(server: FakeServer, client: HyperspaceClient) -> None:
    server.make("notes", 1)
    client.upsert("notes", vectors=np.zeros((20_001, 1), np.float32), ids=range(20_001))
    assert sorted(sizes(server), reverse=True) == [10_000, 10_000, 1]
    assert len(server.spaces["notes"].stored) == 20_001


def test_the_largest_batch_fits_a_message(server: FakeServer, client: HyperspaceClient) -> None:
    server.make("notes", 4096)
    vectors = np.zeros((3800, 4096), np.float32)
    ids = ["x" * 124 + f"{row:04}" for row in range(len(vectors))]
    client.upsert("notes", vectors=vectors, ids=ids, metadata=[None] * len(ids), batch_bytes=MAX_BATCH_BYTES)
    assert sizes(server) == [3800]


def test_four_batches_are_under_way_at_once(server: FakeServer, client: HyperspaceClient) -> None:
    server.make("notes", 1)
    together = threading.Barrier(4)
    server.gate = lambda: together.wait(PATIENCE_S)  # breaks unless four are there at once
    client.upsert("notes", vectors=np.zeros((8, 1), np.float32), batch_bytes=4)
    assert sizes(server) == [1] * 8


def test_batches_that_share_an_id_follow_one_another() -> None:
    recorder = Recorder()
    given = Points(np.zeros((6, 1)), ids=[1, 2, 3, 2, 4, 5], metadata=None)
    list(send(recorder, given))
    assert recorder.log.index(("end", 2)) < len(recorder.log) - recorder.log[::-1].index(("start", 2)) - 1
    assert recorder.log[:5] == [("start", 1), ("start", 2), ("start", 3), ("end", 1), ("end", 2)]
    assert [what for what in recorder.log if what[0] == "start"] == [("start", one) for one in (1, 2, 3, 2, 4, 5)]


def test_of_equal_ids_the_last_one_stays(server: FakeServer, client: HyperspaceClient) -> None:
    server.make("notes", 1)
    vectors = np.arange(300, dtype=np.float32).reshape(-1, 1)
    client.upsert("notes", vectors=vectors, ids=[row % 3 for row in range(300)], batch_bytes=16)
    assert {point_id: float(stored.row[0]) for point_id, stored in server.spaces["notes"].stored.items()} == {
        0: 297.0,
        1: 298.0,
        2: 299.0,
    }


def test_generators_are_read_one_batch_ahead_of_the_four_under_way() -> None:
    recorder = Recorder()

    def count(kind: str) -> int:
        return sum(what == kind for what, _ in recorder.log)

    def rows() -> Iterator[list[float]]:
        for row in range(12):
            recorder.log.append(("row", row))
            assert count("row") <= count("end") + 5
            yield [float(row)]

    for _ in send(recorder, Points(rows(), ids=range(12), metadata=None)):
        assert count("start") <= count("end") + 4
    assert count("end") == 12


def test_everything_may_be_a_generator(server: FakeServer, client: HyperspaceClient) -> None:
    server.make("notes", 2)
    written = client.upsert(
        "notes",
        vectors=([float(row), 1.0] for row in range(7)),
        ids=(f"p{row}" for row in range(7)),
        metadata=({"row": row} if row % 2 else None for row in range(7)),
        batch_bytes=24,
    )
    stored = server.spaces["notes"].stored
    assert written == [f"p{row}" for row in range(7)]
    assert {point_id: (one.row.tolist(), one.metadata) for point_id, one in stored.items()} == {
        f"p{row}": ([float(row), 1.0], {"row": row} if row % 2 else {}) for row in range(7)
    }


@pytest.mark.parametrize("vectors", [[], np.zeros((0, 3), np.float32), iter([])])
def test_nothing_to_write_sends_nothing(server: FakeServer, client: HyperspaceClient, vectors: Any) -> None:
    server.make("notes", 3)
    assert client.upsert("notes", vectors=vectors) == []
    assert sizes(server) == []


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"ids": [1]}, "ids has 1 entries, vectors has 2 rows"),
        ({"ids": iter([1])}, "ids has 1 entries, vectors has more rows"),
        ({"ids": iter([1, 2, 3])}, "ids has more than 2 entries, vectors has 2 rows"),
        ({"ids": "ab"}, "ids is a str, expected one id a row"),
        ({"ids": [1, True]}, r"id is True \(bool\)"),
        ({"metadata": [{}]}, "metadata has 1 entries, vectors has 2 rows"),
        ({"metadata": iter([{}])}, "metadata has 1 entries, vectors has more rows"),
        ({"metadata": iter([{}] * 3)}, "metadata has more than 2 entries"),
        ({"metadata": {"a": 1}}, "metadata is one mapping"),
        ({"metadata": [{}, 5]}, "metadata is a int, expected a mapping"),
        ({"durability": "maybe"}, "durability is 'maybe', expected one of None, 'strict', 'relaxed'"),
        ({"batch_bytes": 0}, "batch_bytes is 0, expected 1 to 62914560"),
        ({"batch_bytes": 64 << 20}, "batch_bytes is 67108864"),
    ],
)
def test_columns_that_do_not_fit_are_refused(
    server: FakeServer, client: HyperspaceClient, columns: dict[str, Any], message: str
) -> None:
    server.make("notes", 1)
    with pytest.raises(InvalidArgumentError, match=message):
        client.upsert("notes", vectors=np.zeros((2, 1), np.float32), **columns)


def test_a_failed_batch_names_its_rows_and_ends_the_upload(server: FakeServer, client: HyperspaceClient) -> None:
    server.make("notes", 1)
    failure = Failure(grpc.StatusCode.RESOURCE_EXHAUSTED, code="limit_exceeded", retryable=False)
    ids = [0, 0, 0, 0]  # one after another
    server.gate = lambda: server.fail(rpc.UPSERT, failure) if len(sizes(server)) == 1 else None
    with pytest.raises(LimitExceededError, match=r"^in the batch of rows 1 to 1: told to fail") as raised:
        client.upsert("notes", vectors=np.zeros((4, 1), np.float32), ids=ids, batch_bytes=4)
    assert not raised.value.retryable
    assert sizes(server) == [1, 1]


def test_what_is_under_way_is_cancelled_when_a_batch_fails() -> None:
    recorder = Recorder()
    given = Points([[0.0], [1.0], [2.0], ["not a number"]], ids=range(4), metadata=None)
    with pytest.raises(InvalidArgumentError, match="row 3 holds"):
        list(send(recorder, given))
    assert recorder.log == [(what, row) for what in ("start", "cancel") for row in range(3)]


@pytest.mark.usefixtures("no_pauses")
def test_a_retried_batch_keeps_its_ids(server: FakeServer, client: HyperspaceClient) -> None:
    server.make("notes", 1)
    server.fail(rpc.UPSERT, Failure(grpc.StatusCode.UNAVAILABLE, lost=True), Failure(grpc.StatusCode.UNAVAILABLE))
    ids = client.upsert("notes", vectors=np.zeros((3, 1), np.float32))
    assert sizes(server) == [3, 3, 3]
    assert list(server.spaces["notes"].stored) == ids


def test_progress_is_shown_when_asked_for(
    server: FakeServer, client: HyperspaceClient, capsys: pytest.CaptureFixture[str]
) -> None:
    server.make("notes", 1)
    client.upsert("notes", vectors=np.zeros((30, 1), np.float32), batch_bytes=40)
    assert capsys.readouterr() == ("", "")
    client.upsert("notes", vectors=np.zeros((30, 1), np.float32), batch_bytes=40, progress=True)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "30/30" in shown.err
    client.upsert("notes", vectors=iter(np.zeros((31, 1), np.float32)), progress=True)
    assert "31 points" in capsys.readouterr().err
