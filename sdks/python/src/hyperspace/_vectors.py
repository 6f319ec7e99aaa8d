"""Vectors of any origin as rows of little-endian floats.

Doubles stay doubles where the caller's last digits matter (poincare, near the rim) and are rounded once otherwise. At
most a batch is copied or converted at a time. Whether numbers are finite or inside the ball is the server's to judge.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sized
from itertools import chain, islice
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from hyperspace._models import Row
from hyperspace._proto import types_pb2 as types
from hyperspace.errors import InvalidArgumentError

Array: TypeAlias = npt.NDArray[Any]

_ROW_AXES = 1
_ROWS_AXES = 2


def one_row(vector: object) -> types.Vectors:
    """Packs a single vector. It is small, so doubles go as they are, and the server rounds them where it has to."""
    row = _numbers("vector", vector, _ROW_AXES)
    return pack(row, wide=not _fits_f32(row))


def pack(rows: Array, *, wide: bool) -> types.Vectors:
    """Packs rows as doubles, or as floats."""
    # A double beyond the largest float becomes infinite, which the server refuses by row; a warning would say less.
    with np.errstate(over="ignore"):
        data = np.ascontiguousarray(rows, dtype="<f8" if wide else "<f4").tobytes()
    return types.Vectors(f64=data) if wide else types.Vectors(f32=data)


def components(row: types.Vectors) -> int:
    """Returns the number of components of a packed row."""
    return len(row.f64) // 8 if row.HasField("f64") else len(row.f32) // 4


def unpack(data: bytes) -> Row | None:
    """Returns a row that came back, or None where none did."""
    return np.frombuffer(data, dtype="<f4") if data else None


class Rows(Protocol):
    """Rows in their order: claimed as long as there is room, then taken together.

    Attributes:
        total: How many there are, when it is known.
        dimension: Components of each; 0 when there is no row.
        fits_f32: Whether they are known to lose nothing as floats of four bytes.
    """

    total: int | None
    dimension: int
    fits_f32: bool

    def claim(self, most: int = 1) -> bool:
        """Adds the next rows to those that `take` returns; False when there are no more."""

    def take(self) -> Array:
        """Returns the rows claimed since the last time."""


def rows_of(vectors: object) -> Rows:
    """Returns the rows of an array, or of anything that yields one vector after another."""
    if hasattr(vectors, "__array__"):
        return _ArrayRows(vectors)
    if isinstance(vectors, Iterable) and not isinstance(vectors, str | bytes | dict):
        return _IteratedRows(vectors)
    raise InvalidArgumentError(f"vectors is a {type(vectors).__name__}, expected an array or rows of numbers")


class _ArrayRows:
    def __init__(self, vectors: object) -> None:
        self._array = _numbers("vectors", vectors, _ROWS_AXES)
        self.total: int | None = len(self._array)
        self.dimension: int = self._array.shape[1]
        self.fits_f32 = _fits_f32(self._array)
        self._taken = self._claimed = 0

    def claim(self, most: int = 1) -> bool:
        before, self._claimed = self._claimed, min(self._claimed + most, len(self._array))
        return self._claimed > before

    def take(self) -> Array:
        rows = self._array[self._taken : self._claimed]
        self._taken = self._claimed
        return rows


class _IteratedRows:
    fits_f32 = False  # nobody knows what comes

    def __init__(self, vectors: Iterable[object]) -> None:
        self.total = len(vectors) if isinstance(vectors, Sized) else None
        numbered = (_numbers(f"row {at}", vector, _ROW_AXES) for at, vector in enumerate(vectors))
        first = list(islice(numbered, 1))
        self.dimension = len(first[0]) if first else 0
        self._rows: Iterator[Array] = chain(first, numbered)
        self._claimed: list[Array] = []
        self._before = 0

    def claim(self, most: int = 1) -> bool:
        before = len(self._claimed)
        for row in islice(self._rows, most):
            if len(row) != self.dimension:
                at = self._before + len(self._claimed)
                raise InvalidArgumentError(f"row {at} has {len(row)} components, row 0 has {self.dimension}")
            self._claimed.append(row)
        return len(self._claimed) > before

    def take(self) -> Array:
        rows = np.stack(self._claimed)
        self._before += len(self._claimed)
        self._claimed = []
        return rows


def _fits_f32(array: Array) -> bool:
    return np.can_cast(array.dtype, np.float32)


def _numbers(what: str, value: object, axes: int) -> Array:
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise InvalidArgumentError(f"{what} is not made of numbers: {error}") from None
    if array.dtype.kind not in "fiu":
        raise InvalidArgumentError(f"{what} holds {array.dtype}, expected real numbers")
    if array.ndim != axes:
        raise InvalidArgumentError(f"{what} has {array.ndim} axes, expected {axes}")
    return array
