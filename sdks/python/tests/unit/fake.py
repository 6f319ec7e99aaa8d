"""A server over dictionaries, in this process, that fails on demand. It knows as much as the client's tests need."""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, NoReturn, TypeVar

import grpc
import numpy as np
import numpy.typing as npt
from google.protobuf.message import Message

from hyperspace import _rpc as rpc
from hyperspace._models import Id
from hyperspace._proto import admin_pb2 as admin
from hyperspace._proto import collections_pb2 as collections
from hyperspace._proto import points_pb2 as points
from hyperspace._proto import types_pb2 as types
from hyperspace._values import read_id, wire_id

Sent = TypeVar("Sent", bound=Message)

MAX_BATCH = 10_000
MAX_QUERIES = 1_000
TOKEN: dict[str, Any] = {"token": "hst_secret", "expires_ms": 9}

STATUS_OF_CODE = {
    "invalid_argument": grpc.StatusCode.INVALID_ARGUMENT,
    "not_found": grpc.StatusCode.NOT_FOUND,
    "already_exists": grpc.StatusCode.ALREADY_EXISTS,
    "unauthenticated": grpc.StatusCode.UNAUTHENTICATED,
    "permission_denied": grpc.StatusCode.PERMISSION_DENIED,
    "conflict": grpc.StatusCode.ABORTED,
    "limit_exceeded": grpc.StatusCode.RESOURCE_EXHAUSTED,
    "unavailable": grpc.StatusCode.UNAVAILABLE,
    "corrupted": grpc.StatusCode.DATA_LOSS,
    "unsupported": grpc.StatusCode.UNIMPLEMENTED,
    "closed": grpc.StatusCode.FAILED_PRECONDITION,
    "internal": grpc.StatusCode.INTERNAL,
}


@dataclass
class Failure:
    """What a call gets instead of its answer.

    A server names the kind and says whether to try again; what comes from gRPC or a proxy has a status only. A lost
    answer is one whose call was carried out.
    """

    status: grpc.StatusCode
    code: str | None = None
    retryable: bool | None = None
    lost: bool = False


@dataclass
class Stored:
    row: npt.NDArray[np.float32]
    metadata: dict[str, Any]


@dataclass
class Space:
    config: collections.CollectionConfig
    stored: dict[Id, Stored] = field(default_factory=dict)
    sequence: int = 0


class FakeServer:
    """Everything that was asked of it is in `seen` and `headers`, in order."""

    def __init__(self, credentials: grpc.ServerCredentials | None = None) -> None:
        self.seen: list[Message] = []
        self.headers: list[dict[str, str | bytes]] = []
        self.spaces: dict[str, Space] = {}
        self.gate: Callable[[], object] = lambda: None
        """Called when an upsert has arrived; it may wait."""
        self._failures: dict[str, deque[Failure]] = {}
        self._lock = threading.Lock()
        self._threads = ThreadPoolExecutor(max_workers=8)
        self._server = grpc.server(self._threads, options=[("grpc.max_receive_message_length", 64 << 20)])
        calls: dict[rpc.Rpc[Any, Any], Callable[..., Any]] = {
            rpc.CREATE: self._create,
            rpc.DESCRIBE: lambda request, context: self._describe(self._space(request.name, context)),
            rpc.LIST: self._list,
            rpc.DROP: self._drop,
            rpc.UPSERT: self._upsert,
            rpc.DELETE: self._delete,
            rpc.GET: self._get,
            rpc.SEARCH: self._search,
            rpc.SEARCH_BATCH: self._search_batch,
            rpc.SCROLL: self._scroll,
            rpc.COUNT: self._count,
            rpc.SET_METADATA: self._set_metadata,
            rpc.CONFIGURE: self._configure,
            rpc.MONITOR: self._monitor,
            rpc.SNAPSHOT: lambda _request, _context: admin.SnapshotResponse(name="s1", path="/d/s1", bytes=7, files=2),
            rpc.MEASURE_RECALL: lambda request, _context: admin.MeasureRecallResponse(
                queries=request.queries, top_k=request.top_k, recall=0.5, low=0.25, high=0.75, distances=9
            ),
            rpc.VACUUM: lambda _request, _context: admin.VacuumResponse(segments_rewritten=1, bytes_before=9),
            rpc.CREATE_KEY: lambda request, _context: admin.CreateKeyResponse(key=key_of(request), api_key="hs_secret"),
            rpc.LIST_KEYS: lambda _request, _context: admin.ListKeysResponse(keys=[admin.Key(id="1", expires_ms=9)]),
            rpc.REVOKE_KEY: lambda request, _context: admin.RevokeKeyResponse(revoked=request.id == "1"),
            rpc.CREATE_TOKEN: lambda _request, _context: admin.CreateTokenResponse(**TOKEN),
            rpc.USAGE: lambda _request, context: refuse(context, "unsupported", "usage is not built yet"),
        }
        for call, answer in calls.items():
            self._server.add_generic_rpc_handlers([self._handler(call, answer)])
        if credentials is None:
            self.port = self._server.add_insecure_port("127.0.0.1:0")
        else:
            self.port = self._server.add_secure_port("127.0.0.1:0", credentials)

    @property
    def target(self) -> str:
        return f"127.0.0.1:{self.port}"

    def __enter__(self) -> FakeServer:
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop(grace=None).wait()
        self._threads.shutdown()

    def fail(self, call: rpc.Rpc[Any, Any], *failures: Failure) -> None:
        """Makes the next calls fail, one failure each."""
        self._failures.setdefault(call.name, deque()).extend(failures)

    def sent(self, kind: type[Sent]) -> list[Sent]:
        """The requests of one kind, in the order in which they came."""
        return [message for message in self.seen if isinstance(message, kind)]

    def make(self, name: str, dimension: int, metric: types.Metric = types.METRIC_L2) -> Space:
        """Puts an empty collection there without a request."""
        config = collections.CollectionConfig(name=name, dimension=dimension, metric=metric)
        return self.spaces.setdefault(name, Space(config))

    def _handler(self, call: rpc.Rpc[Any, Any], answer: Callable[..., Any]) -> grpc.GenericRpcHandler:
        def serve(request: Any, context: grpc.ServicerContext) -> Any:
            with self._lock:
                self.seen.append(request)
                self.headers.append(dict(context.invocation_metadata()))
                failures = self._failures.get(call.name)
                failure = failures.popleft() if failures else None
            if isinstance(request, points.UpsertRequest):
                self.gate()
            if failure is not None and not failure.lost:
                fail(context, failure)
            with self._lock:
                answered = answer(request, context)
            if failure is not None:
                fail(context, failure)
            return answered

        make = grpc.unary_stream_rpc_method_handler if call.streams else grpc.unary_unary_rpc_method_handler
        service, method = call.name.split("/")
        handler = make(serve, call.request.FromString, call.response.SerializeToString)
        return grpc.method_handlers_generic_handler(f"hyperspace.v1.{service}", {method: handler})

    def _space(self, name: str, context: grpc.ServicerContext) -> Space:
        if name not in self.spaces:
            refuse(context, "not_found", f"there is no collection `{name}`")
        return self.spaces[name]

    def _describe(self, space: Space) -> collections.Collection:
        return collections.Collection(config=space.config, id=f"id of {space.config.name}", points=len(space.stored))

    def _create(
        self, request: collections.CreateCollectionRequest, context: grpc.ServicerContext
    ) -> collections.Collection:
        name = request.config.name
        if name in self.spaces:
            refuse(context, "already_exists", f"collection `{name}` exists")
        self.spaces[name] = Space(request.config)
        return self._describe(self.spaces[name])

    def _list(self, _request: Message, _context: grpc.ServicerContext) -> collections.ListCollectionsResponse:
        return collections.ListCollectionsResponse(
            collections=[self._describe(space) for _, space in sorted(self.spaces.items())]
        )

    def _drop(self, request: collections.DeleteCollectionRequest, context: grpc.ServicerContext) -> Message:
        self._space(request.name, context)
        del self.spaces[request.name]
        return collections.DeleteCollectionResponse()

    def _upsert(self, request: points.UpsertRequest, context: grpc.ServicerContext) -> points.UpsertResponse:
        space = self._space(request.collection, context)
        rows = read_rows(request.vectors)
        if rows.size != len(request.ids) * space.config.dimension:
            refuse(context, "invalid_argument", f"{rows.size} components for {len(request.ids)} points")
        if len(request.ids) > MAX_BATCH:
            refuse(context, "limit_exceeded", f"{len(request.ids)} points, at most {MAX_BATCH}")
        rows = rows.reshape(len(request.ids), -1).astype(np.float32)
        texts = list(request.metadata) or [""] * len(rows)
        for point_id, row, text in zip(request.ids, rows, texts, strict=True):
            space.stored[read_id(point_id)] = Stored(row, json.loads(text) if text else {})
        space.sequence += 1
        return points.UpsertResponse(ids=request.ids, sequence=space.sequence)

    def _delete(self, request: points.DeleteRequest, context: grpc.ServicerContext) -> points.DeleteResponse:
        space = self._space(request.collection, context)
        if request.HasField("filter"):
            doomed = [point_id for point_id, _ in matching(space, request.filter)]
        else:
            doomed = [read_id(point_id) for point_id in request.ids.ids]
        gone = [space.stored.pop(point_id, None) for point_id in doomed]
        return points.DeleteResponse(deleted=sum(stored is not None for stored in gone))

    def _get(self, request: points.GetRequest, context: grpc.ServicerContext) -> points.GetResponse:
        space = self._space(request.collection, context)
        wanted = [read_id(point_id) for point_id in request.ids]
        return points.GetResponse(
            points=[point_of(one, space.stored[one], request) for one in wanted if one in space.stored]
        )

    def _search(self, request: points.SearchRequest, context: grpc.ServicerContext) -> points.SearchResponse:
        return self._nearest(request, read_rows(request.vector), context)

    def _search_batch(
        self, request: points.SearchBatchRequest, context: grpc.ServicerContext
    ) -> points.SearchBatchResponse:
        rows = read_rows(request.vectors).reshape(-1, self._space(request.collection, context).config.dimension)
        if len(rows) > MAX_QUERIES:
            refuse(context, "limit_exceeded", f"{len(rows)} queries, at most {MAX_QUERIES}")
        return points.SearchBatchResponse(results=[self._nearest(request, row, context) for row in rows])

    def _nearest(
        self,
        request: points.SearchRequest | points.SearchBatchRequest,
        query: npt.NDArray[Any],
        context: grpc.ServicerContext,
    ) -> points.SearchResponse:
        space = self._space(request.collection, context)
        found = [
            (float(np.linalg.norm(stored.row.astype(np.float64) - query.astype(np.float32))), point_id, stored)
            for point_id, stored in matching(space, request.filter)
        ]
        found.sort(key=lambda one: (one[0], isinstance(one[1], str), one[1]))
        hits = []
        for distance, point_id, stored in found[: request.top_k]:
            point = point_of(point_id, stored, request)
            hits.append(points.Hit(id=point.id, distance=distance, metadata=point.metadata, vector=point.vector))
        return points.SearchResponse(hits=hits, distances=len(found))

    def _scroll(self, request: points.ScrollRequest, context: grpc.ServicerContext) -> points.ScrollResponse:
        found = matching(self._space(request.collection, context), request.filter)
        first = int(request.cursor or b"0")
        end = first + request.limit
        return points.ScrollResponse(
            points=[point_of(point_id, stored, request) for point_id, stored in found[first:end]],
            next_cursor=str(end).encode() if end < len(found) else b"",
        )

    def _count(self, request: points.CountRequest, context: grpc.ServicerContext) -> points.CountResponse:
        return points.CountResponse(count=len(matching(self._space(request.collection, context), request.filter)))

    def _set_metadata(
        self, request: points.SetMetadataRequest, context: grpc.ServicerContext
    ) -> points.SetMetadataResponse:
        space = self._space(request.collection, context)
        updated = 0
        for point_id, text in zip(request.ids, request.metadata, strict=True):
            stored = space.stored.get(read_id(point_id))
            if stored is not None:
                stored.metadata = json.loads(text)
                updated += 1
        return points.SetMetadataResponse(updated=updated)

    def _configure(self, request: admin.ConfigureRequest, context: grpc.ServicerContext) -> collections.Collection:
        config = self._space(request.collection, context).config
        for name in ("ef_search", "ef_construction"):
            if request.HasField(name):
                config.ClearField(name)
                if getattr(request, name) != 0:
                    setattr(config, name, getattr(request, name))
        return self._describe(self.spaces[request.collection])

    def _monitor(self, request: admin.MonitorRequest, _context: grpc.ServicerContext) -> Iterator[admin.Stats]:
        each = [
            admin.CollectionStats(name=name, points=len(space.stored), indexing=True)
            for name, space in self.spaces.items()
        ]
        return iter([admin.Stats(version="9.9.9", writable=True, collections=each)] * request.count)


def fail(context: grpc.ServicerContext, failure: Failure) -> NoReturn:
    said = {"hyperspace-error": failure.code, "hyperspace-retryable": failure.retryable}
    context.set_trailing_metadata(
        tuple((name, str(value).lower()) for name, value in said.items() if value is not None)
    )
    context.abort(failure.status, f"told to fail with {failure.status.name}")


def refuse(context: grpc.ServicerContext, code: str, message: str) -> NoReturn:
    retryable = "true" if code == "unavailable" else "false"
    context.set_trailing_metadata((("hyperspace-error", code), ("hyperspace-retryable", retryable)))
    context.abort(STATUS_OF_CODE[code], message)


def key_of(request: admin.CreateKeyRequest) -> admin.Key:
    return admin.Key(
        id="00000000000000ab",
        name=request.name,
        tenant=request.tenant,
        scopes=request.scopes,
        collections=request.collections,
        created_ms=7,
    )


def read_rows(vectors: types.Vectors) -> npt.NDArray[Any]:
    """The components of all rows, one after another."""
    if vectors.HasField("f64"):
        return np.frombuffer(vectors.f64, dtype="<f8")
    return np.frombuffer(vectors.f32, dtype="<f4")


def matching(space: Space, filter_text: str) -> list[tuple[Id, Stored]]:
    """Knows equality and `$gte` of top-level fields only."""
    wanted = json.loads(filter_text) if filter_text else {}

    def agrees(metadata: dict[str, Any], name: str, condition: Any) -> bool:
        if name not in metadata:
            return False
        value = metadata[name]
        return bool(value >= condition["$gte"] if isinstance(condition, dict) else value == condition)

    return [
        (point_id, stored)
        for point_id, stored in space.stored.items()
        if all(agrees(stored.metadata, name, condition) for name, condition in wanted.items())
    ]


def point_of(point_id: Id, stored: Stored, request: Any) -> types.Point:
    with_metadata = request.with_metadata if request.HasField("with_metadata") else True
    return types.Point(
        id=wire_id(point_id),
        vector=stored.row.tobytes() if request.with_vector else b"",
        metadata=json.dumps(stored.metadata) if with_metadata else "",
    )
