"""Vectors of every origin against numpy's own bytes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from hyperspace import HyperspaceClient, InvalidArgumentError
from hyperspace._proto import collections_pb2 as collections
from hyperspace._proto import points_pb2 as points
from hyperspace._proto import types_pb2 as types
from hyperspace._vectors import one_row, pack, rows_of, unpack
from tests.unit.fake import FakeServer

ROWS = np.random.default_rng(7).standard_normal((5, 3))
ROWS_F32 = ROWS.astype("<f4")


class Tensor:
    """What other libraries' arrays look like."""

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> npt.NDArray[Any]:
        assert (dtype, copy) == (None, None)
        return ROWS_F32


def sent_rows(server: FakeServer) -> types.Vectors:
    (request,) = server.sent(points.UpsertRequest)
    return request.vectors


ORIGINS = {
    "floats": ROWS_F32,
    "doubles": ROWS,
    "big-endian floats": ROWS_F32.astype(">f4"),
    "every other column": np.repeat(ROWS_F32, 2, axis=1)[:, ::2],
    "Fortran's order": np.asfortranarray(ROWS_F32),
    "backwards": ROWS_F32[::-1][::-1],
    "lists": ROWS.tolist(),
    "tuples": tuple(map(tuple, ROWS.tolist())),
    "arrays in a list": list(ROWS_F32),
    "another library's": Tensor(),
}


@pytest.mark.parametrize("vectors", ORIGINS.values(), ids=ORIGINS.keys())
def test_rows_of_any_origin_travel_as_little_endian_floats(
    server: FakeServer, client: HyperspaceClient, vectors: Any
) -> None:
    server.make("notes", 3)
    client.upsert("notes", vectors=vectors)
    assert sent_rows(server) == types.Vectors(f32=ROWS_F32.tobytes())


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.int64, np.float16])
def test_other_numbers_travel_as_floats(server: FakeServer, client: HyperspaceClient, kind: Any) -> None:
    rows = np.arange(6).reshape(2, 3).astype(kind)
    server.make("notes", 3)
    client.upsert("notes", vectors=rows)
    assert sent_rows(server) == types.Vectors(f32=rows.astype("<f4").tobytes())


@pytest.mark.parametrize("vectors", [ROWS, ROWS.tolist(), ROWS.astype(">f8")], ids=["array", "lists", "big-endian"])
def test_doubles_stay_doubles_for_poincare(server: FakeServer, client: HyperspaceClient, vectors: Any) -> None:
    server.make("ball", 3, types.METRIC_POINCARE)
    client.upsert("ball", vectors=vectors)
    assert sent_rows(server) == types.Vectors(f64=ROWS.astype("<f8").tobytes())


def test_an_array_of_floats_is_sent_without_asking_for_the_metric(server: FakeServer, client: HyperspaceClient) -> None:
    server.make("ball", 3, types.METRIC_POINCARE)
    client.upsert("ball", vectors=ROWS_F32)
    assert sent_rows(server) == types.Vectors(f32=ROWS_F32.tobytes())
    assert server.sent(collections.GetCollectionRequest) == []


def test_a_single_vector_travels_in_the_caller_s_precision() -> None:
    assert one_row(ROWS_F32[0]) == types.Vectors(f32=ROWS_F32[0].tobytes())
    assert one_row(ROWS[0]) == types.Vectors(f64=ROWS[0].tobytes())
    assert one_row(ROWS[0].tolist()) == types.Vectors(f64=ROWS[0].tobytes())
    assert one_row([1, 2]) == types.Vectors(f64=np.array([1.0, 2.0]).tobytes())
    assert one_row(np.array([1, 2], np.uint8)) == types.Vectors(f32=np.array([1, 2], "<f4").tobytes())


def test_a_double_beyond_the_largest_float_is_left_to_the_server() -> None:
    assert pack(np.array([1e300]), wide=False) == types.Vectors(f32=np.array([np.inf], "<f4").tobytes())


def test_rows_that_come_back_are_the_bytes_of_the_row_and_read_only() -> None:
    row = unpack(ROWS_F32[1].tobytes())
    assert row is not None
    assert row.tobytes() == ROWS_F32[1].tobytes()
    assert not row.flags.writeable
    assert unpack(b"") is None


@pytest.mark.parametrize(
    ("vectors", "message"),
    [
        ([0.1, 0.2], "row 0 has 0 axes, expected 1"),
        (np.zeros(3), "vectors has 1 axes, expected 2"),
        (np.zeros((2, 2, 2)), "vectors has 3 axes, expected 2"),
        ([[1.0, 2.0], [1.0]], "row 1 has 1 components, row 0 has 2"),
        ([["a", "b"]], "row 0 holds <U1, expected real numbers"),
        (np.zeros((1, 2), bool), "vectors holds bool"),
        (np.zeros((1, 2), complex), "vectors holds complex128"),
        ([[1.0, [2.0]]], "row 0 is not made of numbers"),
        ([[1.0, None]], "row 0 holds object"),
        ("text", "vectors is a str, expected an array or rows"),
        ({"a": [1.0]}, "vectors is a dict"),
        (7, "vectors is a int"),
    ],
)
def test_what_are_no_rows_is_refused_with_the_row(
    server: FakeServer, client: HyperspaceClient, vectors: Any, message: str
) -> None:
    server.make("notes", 2)
    with pytest.raises(InvalidArgumentError, match=message):
        client.upsert("notes", vectors=vectors)
    assert server.sent(points.UpsertRequest) == []


def test_rows_are_claimed_one_by_one_and_taken_together() -> None:
    def generated() -> Iterator[list[float]]:
        yield from ROWS_F32.tolist()

    for rows in (rows_of(ROWS_F32), rows_of(generated())):
        assert [rows.claim() for _ in range(2)] == [True, True]
        assert rows.take().tolist() == ROWS_F32[:2].tolist()
        assert rows.claim(10)
        assert not rows.claim()
        assert rows.take().tolist() == ROWS_F32[2:].tolist()


def test_an_array_is_not_copied_before_it_is_sent() -> None:
    rows = rows_of(ROWS_F32)
    rows.claim(3)
    assert np.shares_memory(rows.take(), ROWS_F32)
