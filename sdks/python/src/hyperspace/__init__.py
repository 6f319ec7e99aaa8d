"""Client of HyperspaceDB, a vector database for Euclidean and hyperbolic spaces.

Example:
    from hyperspace import HyperspaceClient

    with HyperspaceClient("localhost:50051") as client:
        client.insert(vector=[0.1] * 8, metadata={"category": "tech"})
        hits = client.search(vector=[0.11] * 8, top_k=5)
"""

from hyperspace._models import (
    Collection,
    CollectionStats,
    Durability,
    Filter,
    Follower,
    Hit,
    Id,
    Key,
    Metadata,
    Metric,
    NewKey,
    Point,
    Quantization,
    Recall,
    Replication,
    Scope,
    SegmentStats,
    Snapshot,
    Stats,
    TenantStats,
    Token,
    VacuumReport,
)
from hyperspace.client import HyperspaceClient
from hyperspace.errors import (
    AlreadyExistsError,
    ClosedError,
    ConflictError,
    CorruptedError,
    HyperspaceError,
    InternalError,
    InvalidArgumentError,
    LimitExceededError,
    NotFoundError,
    PermissionDeniedError,
    UnauthenticatedError,
    UnavailableError,
    UnsupportedError,
)

__all__ = [
    "AlreadyExistsError",
    "ClosedError",
    "Collection",
    "CollectionStats",
    "ConflictError",
    "CorruptedError",
    "Durability",
    "Filter",
    "Follower",
    "Hit",
    "HyperspaceClient",
    "HyperspaceError",
    "Id",
    "InternalError",
    "InvalidArgumentError",
    "Key",
    "LimitExceededError",
    "Metadata",
    "Metric",
    "NewKey",
    "NotFoundError",
    "PermissionDeniedError",
    "Point",
    "Quantization",
    "Recall",
    "Replication",
    "Scope",
    "SegmentStats",
    "Snapshot",
    "Stats",
    "TenantStats",
    "Token",
    "UnauthenticatedError",
    "UnavailableError",
    "UnsupportedError",
    "VacuumReport",
]
