"""Messages that came back, as what callers get."""

from __future__ import annotations

import dataclasses
import json
from typing import Any, TypeVar

from google.protobuf.message import Message

from hyperspace._models import (
    Collection,
    CollectionStats,
    Follower,
    Hit,
    Key,
    NewKey,
    Point,
    Recall,
    Replication,
    SegmentStats,
    Snapshot,
    Stats,
    TenantStats,
    Token,
    VacuumReport,
)
from hyperspace._proto import admin_pb2 as admin
from hyperspace._proto import collections_pb2 as collections
from hyperspace._proto import points_pb2 as points
from hyperspace._proto import types_pb2 as types
from hyperspace._values import METRICS, QUANTIZATIONS, SCOPES, read_id, word_of
from hyperspace._vectors import unpack

Model = TypeVar("Model")


def read_point(message: types.Point) -> Point:
    """Reads a stored point."""
    vector = unpack(message.vector)
    term = None if vector is None else message.term
    return Point(read_id(message.id), _metadata(message.metadata), vector, term)


def read_hits(message: points.SearchResponse) -> list[Hit]:
    """Reads what a search found, nearest first."""
    return [Hit(read_id(hit.id), hit.distance, _metadata(hit.metadata), unpack(hit.vector)) for hit in message.hits]


def read_collection(message: collections.Collection) -> Collection:
    """Reads what a collection is and holds."""
    config = message.config
    return Collection(
        name=config.name,
        dimension=config.dimension,
        metric=word_of(config.metric, METRICS),
        quantization=word_of(config.quantization, QUANTIZATIONS),
        m=_optional(config, "m"),
        ef_construction=_optional(config, "ef_construction"),
        ef_search=_optional(config, "ef_search"),
        id=message.id,
        points=message.points,
        pending=message.pending,
        segments=message.segments,
    )


def read_stats(message: admin.Stats) -> Stats:
    """Reads a moment of the server."""
    return _same_fields(
        Stats,
        message,
        collections={one.name: read_collection_stats(one) for one in message.collections},
        replication=read_replication(message.replication),
        tenants={one.name: _same_fields(TenantStats, one) for one in message.tenants},
    )


def read_collection_stats(message: admin.CollectionStats) -> CollectionStats:
    """Reads the figures of a collection."""
    sealed = tuple(_same_fields(SegmentStats, segment) for segment in message.sealed)
    return _same_fields(CollectionStats, message, sealed=sealed)


def read_replication(message: admin.Replication) -> Replication:
    """Reads what a server is among others."""
    followers = tuple(_same_fields(Follower, follower) for follower in message.followers)
    return _same_fields(Replication, message, stale_ms=_optional(message, "stale_ms"), followers=followers)


def read_snapshot(message: admin.SnapshotResponse) -> Snapshot:
    """Reads where a snapshot is."""
    return _same_fields(Snapshot, message)


def read_vacuum(message: admin.VacuumResponse) -> VacuumReport:
    """Reads what a vacuum did."""
    return _same_fields(VacuumReport, message)


def read_recall(message: admin.MeasureRecallResponse) -> Recall:
    """Reads how many of the nearest points were found."""
    return _same_fields(Recall, message)


def read_key(message: admin.Key) -> Key:
    """Reads what is known of a key."""
    return _same_fields(
        Key,
        message,
        scopes=tuple(word_of(scope, SCOPES) for scope in message.scopes),
        collections=tuple(message.collections),
        expires_ms=_optional(message, "expires_ms"),
    )


def read_new_key(message: admin.CreateKeyResponse) -> NewKey:
    """Reads a key with its secret."""
    return NewKey(read_key(message.key), message.api_key)


def read_token(message: admin.CreateTokenResponse) -> Token:
    """Reads a token."""
    return _same_fields(Token, message)


def _same_fields(model: type[Model], message: Message, **read: Any) -> Model:  # noqa: ANN401
    """Makes a model whose fields are named as those of the message; `read` holds the ones that are not alike."""
    names = [field.name for field in dataclasses.fields(model) if field.name not in read]  # type: ignore[arg-type]
    return model(**{name: getattr(message, name) for name in names}, **read)


def _metadata(text: str) -> dict[str, Any]:
    return dict(json.loads(text)) if text else {}


def _optional(message: Message, field: str) -> int | None:
    return getattr(message, field) if message.HasField(field) else None
