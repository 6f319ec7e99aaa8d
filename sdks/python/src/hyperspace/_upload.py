"""Many points as a few requests: batches by size, some of them under way at once.

Points are read at most one batch ahead of those under way. Batches that share an id are never under way together: of
equal ids the last one stays, as within one batch.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sized
from dataclasses import dataclass
from functools import cached_property
from itertools import repeat
from typing import TypeVar

from hyperspace._models import Id, Metadata
from hyperspace._proto import points_pb2 as points
from hyperspace._proto import types_pb2 as types
from hyperspace._rpc import UPSERT
from hyperspace._transport import MAX_MESSAGE_BYTES, Pending, Transport
from hyperspace._values import checked_id, json_object, new_id, wire_id
from hyperspace._vectors import Array, pack, rows_of
from hyperspace.errors import HyperspaceError, InvalidArgumentError

MAX_BATCH = 10_000
# Of a message, 4 MiB are left for ids, for the point that fills the batch, and for what surrounds points.
MAX_BATCH_BYTES = MAX_MESSAGE_BYTES - 4 * 1024 * 1024

_IN_FLIGHT = 4

Item = TypeVar("Item")


@dataclass
class Batch:
    """Consecutive points that go in one request; `first` is the number of the first one."""

    first: int
    ids: list[Id]
    vectors: Array
    metadata: list[str]

    def shares_an_id_with(self, other: Batch) -> bool:
        """Whether a point of one would replace a point of the other."""
        return not self._distinct.isdisjoint(other.ids)

    @cached_property
    def _distinct(self) -> set[Id]:
        return set(self.ids)


class Points:
    """The points of a caller: rows, with an id and perhaps metadata for each."""

    def __init__(self, vectors: object, ids: Iterable[Id] | None, metadata: Iterable[Metadata | None] | None) -> None:
        if isinstance(ids, str | bytes):
            raise InvalidArgumentError(f"ids is a {type(ids).__name__}, expected one id a row")
        if isinstance(metadata, Mapping):
            raise InvalidArgumentError("metadata is one mapping, expected one a row")
        self.rows = rows_of(vectors)
        for what, column in (("ids", ids), ("metadata", metadata)):
            if isinstance(column, Sized) and self.rows.total not in (None, len(column)):
                raise InvalidArgumentError(f"{what} has {len(column)} entries, vectors has {self.rows.total} rows")
        self._ids = iter(new_id, None) if ids is None else map(checked_id, ids)
        self._metadata = repeat("") if metadata is None else map(_text, metadata)
        self._given = [("ids", self._ids)] * (ids is not None) + [("metadata", self._metadata)] * (metadata is not None)
        self._has_metadata = metadata is not None

    def batches(self, most_bytes: int, *, wide: bool) -> Iterator[Batch]:
        """Yields batches that end with the point that brings them to `most_bytes`, or with the most points allowed."""
        row_bytes = self.rows.dimension * (8 if wide else 4)
        first = 0
        while True:
            ids: list[Id] = []
            texts: list[str] = []
            size = 0
            while size < most_bytes and len(ids) < MAX_BATCH and self.rows.claim():
                row = first + len(ids)
                ids.append(_next("ids", self._ids, row))
                texts.append(_next("metadata", self._metadata, row))
                size += row_bytes + len(texts[-1].encode())
            if not ids:
                break
            yield Batch(first, ids, self.rows.take(), texts if self._has_metadata else [])
            first += len(ids)
        for what, column in self._given:
            for _ in column:
                raise InvalidArgumentError(f"{what} has more than {first} entries, vectors has {first} rows")


def acknowledged(
    transport: Transport, collection: str, batches: Iterable[Batch], *, wide: bool, durability: types.Durability
) -> Iterator[Batch]:
    """Sends batches, and yields each one, in order, when it is acknowledged. The first failure ends it."""
    under_way: deque[tuple[Batch, Pending[points.UpsertResponse]]] = deque()
    try:
        for batch in batches:
            while len(under_way) == _IN_FLIGHT or any(batch.shares_an_id_with(other) for other, _ in under_way):
                yield _settled(*under_way.popleft())
            request = points.UpsertRequest(
                collection=collection,
                ids=map(wire_id, batch.ids),
                vectors=pack(batch.vectors, wide=wide),
                metadata=batch.metadata,
                durability=durability,
            )
            under_way.append((batch, transport.start(UPSERT, request)))
        while under_way:
            yield _settled(*under_way.popleft())
    finally:
        for _, pending in under_way:
            pending.cancel()


def _settled(batch: Batch, pending: Pending[points.UpsertResponse]) -> Batch:
    try:
        pending.result()
    except HyperspaceError as error:
        if batch.first == 0:
            raise
        # The server counts within its request.
        rows = f"rows {batch.first} to {batch.first + len(batch.ids) - 1}"
        raise type(error)(f"in the batch of {rows}: {error}", retryable=error.retryable) from None
    return batch


def _next(what: str, column: Iterator[Item], row: int) -> Item:
    for item in column:
        return item
    raise InvalidArgumentError(f"{what} has {row} entries, vectors has more rows")


def _text(metadata: Metadata | None) -> str:
    return "" if metadata is None else json_object("metadata", metadata)
