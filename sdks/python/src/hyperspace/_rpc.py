"""The calls of the wire contract, one typed constant each.

Only messages are generated: a call is a path and two message types, and a test compares this table with the contract's
descriptors.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from google.protobuf.message import Message

from hyperspace._proto import admin_pb2 as admin
from hyperspace._proto import collections_pb2 as collections
from hyperspace._proto import points_pb2 as points

Request = TypeVar("Request", bound=Message)
Response = TypeVar("Response", bound=Message)


@dataclass(frozen=True)
class Rpc(Generic[Request, Response]):
    """One call.

    Attributes:
        name: `Service/Method` within `hyperspace.v1`.
        request: What is sent.
        response: What is answered.
        repeatable: Whether sending it twice does the same as sending it once, so that it may be sent again when nobody
            knows whether it arrived.
        streams: Whether there are several answers. The first one is taken.
    """

    name: str
    request: type[Request]
    response: type[Response]
    repeatable: bool = True
    streams: bool = False

    @property
    def path(self) -> str:
        """The path of the HTTP/2 request."""
        return f"/hyperspace.v1.{self.name}"


CREATE = Rpc("Collections/Create", collections.CreateCollectionRequest, collections.Collection, repeatable=False)
DESCRIBE = Rpc("Collections/Get", collections.GetCollectionRequest, collections.Collection)
LIST = Rpc("Collections/List", collections.ListCollectionsRequest, collections.ListCollectionsResponse)
DROP = Rpc(
    "Collections/Delete", collections.DeleteCollectionRequest, collections.DeleteCollectionResponse, repeatable=False
)

UPSERT = Rpc("Points/Upsert", points.UpsertRequest, points.UpsertResponse)
DELETE = Rpc("Points/Delete", points.DeleteRequest, points.DeleteResponse)
GET = Rpc("Points/Get", points.GetRequest, points.GetResponse)
SEARCH = Rpc("Points/Search", points.SearchRequest, points.SearchResponse)
SEARCH_BATCH = Rpc("Points/SearchBatch", points.SearchBatchRequest, points.SearchBatchResponse)
SCROLL = Rpc("Points/Scroll", points.ScrollRequest, points.ScrollResponse)
COUNT = Rpc("Points/Count", points.CountRequest, points.CountResponse)
SET_METADATA = Rpc("Points/SetMetadata", points.SetMetadataRequest, points.SetMetadataResponse)

CONFIGURE = Rpc("Admin/Configure", admin.ConfigureRequest, collections.Collection)
MONITOR = Rpc("Admin/Monitor", admin.MonitorRequest, admin.Stats, streams=True)
SNAPSHOT = Rpc("Admin/Snapshot", admin.SnapshotRequest, admin.SnapshotResponse, repeatable=False)
VACUUM = Rpc("Admin/Vacuum", admin.VacuumRequest, admin.VacuumResponse)
MEASURE_RECALL = Rpc("Admin/MeasureRecall", admin.MeasureRecallRequest, admin.MeasureRecallResponse)
USAGE = Rpc("Admin/Usage", admin.UsageRequest, admin.UsageResponse)
CREATE_KEY = Rpc("Admin/CreateKey", admin.CreateKeyRequest, admin.CreateKeyResponse, repeatable=False)
LIST_KEYS = Rpc("Admin/ListKeys", admin.ListKeysRequest, admin.ListKeysResponse)
REVOKE_KEY = Rpc("Admin/RevokeKey", admin.RevokeKeyRequest, admin.RevokeKeyResponse)
CREATE_TOKEN = Rpc("Admin/CreateToken", admin.CreateTokenRequest, admin.CreateTokenResponse)
