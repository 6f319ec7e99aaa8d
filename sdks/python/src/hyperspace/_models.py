"""What callers give and get. Knows nothing of how it travels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

Id: TypeAlias = int | str
"""The identity of a point: an integer from 0 to 2^64 - 1, or 1 to 128 bytes of text."""

Metadata: TypeAlias = Mapping[str, Any]
"""What a point carries: a JSON object of at most 64 KiB."""

Filter: TypeAlias = Mapping[str, Any]
"""A condition on metadata, such as `{"lang": "en", "year": {"$gte": 2020}}`."""

Metric: TypeAlias = Literal["l2", "cosine", "dot", "poincare"]
"""How distance is measured; lower is nearer in all of them."""

Quantization: TypeAlias = Literal["none", "scalar_i8"]
"""How vectors are compressed for traversal."""

Durability: TypeAlias = Literal["strict", "relaxed"]
"""What an acknowledged write survives: a crash of the machine, or the death of the server's process only."""

Scope: TypeAlias = Literal["read", "write", "sync", "admin"]
"""What a key allows; `admin` contains all others."""

Tuned: TypeAlias = int | Literal["auto"] | None
"""A number to set, "auto" to go back to what adapts, or None to leave what is set."""

Row: TypeAlias = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Point:
    """A point as it was written.

    Attributes:
        id: Its identity.
        metadata: Its metadata; empty unless asked for.
        vector: Its row, bit for bit and read-only; None unless asked for. Not compared, not shown.
        term: With the vector, what the metric keeps beside it: 1/(1-|x|^2) for `poincare` and 1/|x| for `cosine`, of
            the values as they were given, else 1. Not compared, not shown.
    """

    id: Id
    metadata: dict[str, Any]
    vector: Row | None = field(default=None, repr=False, compare=False)
    term: float | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True)
class Hit:
    """A point that a search found.

    Attributes:
        id: Its identity.
        distance: From the query; lower is nearer.
        metadata: Its metadata; empty unless asked for.
        vector: Its row, bit for bit and read-only; None unless asked for. Not compared, not shown.
    """

    id: Id
    distance: float
    metadata: dict[str, Any]
    vector: Row | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True)
class Collection:
    """A collection and what is in it.

    Attributes:
        name: What requests call it.
        dimension: Components of every vector.
        metric: How distance is measured.
        quantization: How vectors are compressed for traversal.
        m: Links of a node above level 0; None when chosen by metric and dimension.
        ef_construction: Candidates kept while a graph is built; None when it adapts.
        ef_search: Candidates kept while searching; None when it adapts.
        id: Names this collection and none that is made later under the same name.
        points: Live points.
        pending: Of these, points that wait for a graph and are scanned by every search.
        segments: Sealed segments.
    """

    name: str
    dimension: int
    metric: Metric
    quantization: Quantization
    m: int | None
    ef_construction: int | None
    ef_search: int | None
    id: str
    points: int
    pending: int
    segments: int


@dataclass(frozen=True)
class SegmentStats:
    """Figures of one sealed segment.

    Attributes:
        id: Its name, 64 hexadecimal digits.
        points: Live points.
        dead: Points that are dead and still take space.
        bytes: Of its file.
        coded: Whether its graph is over codes.
        merging: Whether a merge that is being worked at reads it.
    """

    id: str
    points: int
    dead: int
    bytes: int
    coded: bool
    merging: bool


@dataclass(frozen=True)
class CollectionStats:
    """Figures of one collection.

    Attributes:
        name: What requests call it.
        points: Live points.
        pending: Of these, points that wait for a graph.
        segments: Sealed segments.
        dead: Points of sealed segments that are dead and still take space.
        tombstones: Deletes that are remembered.
        segment_bytes: Bytes of its sealed segments.
        memtable_bytes: About how many bytes what waits in memory takes.
        indexing: Whether a seal or a merge is being worked at, or due.
        graph_insertions: Points linked into graphs since the server started.
        searches: Searches since the server started.
        distances: Distances that these evaluated.
        sequence: The newest number in its log.
        digest: What its live points amount to: equal at servers that replicate each other and have equal points.
        coded: Live points whose graph is over codes.
        bytes_per_vector: What walks over graphs keep in memory for a vector: codes where there are any, else the row.
        sealed: Its sealed segments, oldest first.
    """

    name: str
    points: int
    pending: int
    segments: int
    dead: int
    tombstones: int
    segment_bytes: int
    memtable_bytes: int
    indexing: bool
    graph_insertions: int
    searches: int
    distances: int
    sequence: int
    digest: str
    coded: int
    bytes_per_vector: float
    sealed: tuple[SegmentStats, ...]


@dataclass(frozen=True)
class TenantStats:
    """The sums of a tenant's collections.

    Attributes:
        name: Of the tenant.
        collections: How many it has.
        points: Live points.
        segment_bytes: Bytes of its sealed segments.
        memtable_bytes: About how many bytes what waits in memory takes.
        searches: Searches since the server started, of collections that are there.
    """

    name: str
    collections: int
    points: int
    segment_bytes: int
    memtable_bytes: int
    searches: int


@dataclass(frozen=True)
class Follower:
    """A server that follows another one.

    Attributes:
        id: What names it in calls about it.
        connected: Whether it listens now.
        behind: How many numbers of writes it lacks, as far as it has said.
    """

    id: str
    connected: bool
    behind: int


@dataclass(frozen=True)
class Replication:
    """What a server is among those that replicate each other.

    Attributes:
        leads: Whether it accepts writes of others, or only those of its leader.
        term: How many promotions there were, and one more; 0 while no other server is known.
        leader: Of a follower: the leader's URL.
        connected: Of a follower: whether its leader answers.
        stale_ms: Of a follower: how long ago it was last equal to its leader; None when it never was.
        trouble: Of a follower: why it does not follow, if it knows.
        repaired: Of a follower: points that differed from its leader's and were mended.
        followers: Of a leader: those who follow.
    """

    leads: bool
    term: int
    leader: str
    connected: bool
    stale_ms: int | None
    trouble: str
    repaired: int
    followers: tuple[Follower, ...]


@dataclass(frozen=True)
class Stats:
    """A moment of the server. Rates and percentiles are over about the last second.

    Attributes:
        version: Of the server.
        uptime_ms: Since it started.
        writable: Whether writes are accepted.
        reason: When not, why.
        searches: Since it started; each of a batch counts.
        searches_per_second: How many there are now.
        search_p50_ms: Half of them take at most this, inside the server.
        search_p99_ms: All but one in a hundred take at most this.
        points_written: Since it started.
        points_written_per_second: How many there are now.
        points_deleted: Since it started.
        resident_bytes: Memory of the process; 0 where it cannot be told.
        disk_bytes: Everything in the data directory but snapshots.
        log_bytes: Of these, the log.
        log_syncs: How often the log was made durable.
        log_records: How many writes that covered.
        reopenings: How often the database was opened again after a failure, while the server went on.
        collections: The caller's collections, by name.
        replication: What it is among servers that replicate each other.
        disk_free_bytes: What is free beside the data directory; 0 where it cannot be told.
        tenants: For an administrator: what each tenant has, by name; for others nothing.
    """

    version: str
    uptime_ms: int
    writable: bool
    reason: str
    searches: int
    searches_per_second: float
    search_p50_ms: float
    search_p99_ms: float
    points_written: int
    points_written_per_second: float
    points_deleted: int
    resident_bytes: int
    disk_bytes: int
    log_bytes: int
    log_syncs: int
    log_records: int
    reopenings: int
    collections: dict[str, CollectionStats]
    replication: Replication
    disk_free_bytes: int
    tenants: dict[str, TenantStats]


@dataclass(frozen=True)
class Snapshot:
    """A consistent copy of the whole database, on the server's disk.

    Attributes:
        name: A folder below `snapshots` of the data directory.
        path: Where that is on the server.
        bytes: Its size.
        files: How many files it has.
    """

    name: str
    path: str
    bytes: int
    files: int


@dataclass(frozen=True)
class Recall:
    """How many of the nearest points searches find, measured on a collection's own points.

    Attributes:
        queries: Points that were asked about.
        top_k: How many nearest of each.
        recall: The share of the true nearest that was found.
        low: With 95 % confidence it is at least this for all points.
        high: And at most this.
        distances: The mean number of distances that a search evaluated.
    """

    queries: int
    top_k: int
    recall: float
    low: float
    high: float
    distances: float


@dataclass(frozen=True)
class VacuumReport:
    """What a vacuum did.

    Attributes:
        segments_rewritten: Segments that held dead points.
        points_dropped: Dead points that are gone.
        bytes_before: Size of these segments before.
        bytes_after: And after.
    """

    segments_rewritten: int
    points_dropped: int
    bytes_before: int
    bytes_after: int


@dataclass(frozen=True)
class Key:
    """An API key as the server lists it, without its secret.

    Attributes:
        id: Names it, and is no secret.
        name: What people call it.
        tenant: Whose it is; empty for the administrator's.
        scopes: What it allows.
        collections: The collections that it is for; empty for all of the tenant.
        created_ms: When it was made, in milliseconds since 1970.
        expires_ms: When it ends; None for never.
    """

    id: str
    name: str
    tenant: str
    scopes: tuple[Scope, ...]
    collections: tuple[str, ...]
    created_ms: int
    expires_ms: int | None


@dataclass(frozen=True)
class NewKey:
    """A key that was just made.

    Attributes:
        key: What the server lists from now on.
        api_key: What clients send. Nobody can ask for it again. Not shown.
    """

    key: Key
    api_key: str = field(repr=False)


@dataclass(frozen=True)
class Token:
    """A part of what a key allows, for a browser and for minutes.

    Attributes:
        token: What the browser sends, as `authorization: Bearer`. Not shown.
        expires_ms: When it ends, in milliseconds since 1970.
    """

    token: str = field(repr=False)
    expires_ms: int
