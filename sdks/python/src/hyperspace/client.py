"""The client: one method a call of the server, in the caller's words."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from types import TracebackType
from typing import TypeAlias, TypeVar, overload

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from hyperspace import _rpc as rpc
from hyperspace._messages import (
    read_collection,
    read_hits,
    read_key,
    read_new_key,
    read_point,
    read_recall,
    read_snapshot,
    read_stats,
    read_token,
    read_vacuum,
)
from hyperspace._models import (
    Collection,
    Durability,
    Filter,
    Hit,
    Id,
    Key,
    Metadata,
    Metric,
    NewKey,
    Point,
    Quantization,
    Recall,
    Scope,
    Snapshot,
    Stats,
    Token,
    Tuned,
    VacuumReport,
)
from hyperspace._proto import admin_pb2 as admin
from hyperspace._proto import collections_pb2 as collections
from hyperspace._proto import points_pb2 as points
from hyperspace._transport import Transport
from hyperspace._upload import MAX_BATCH, MAX_BATCH_BYTES, Points, acknowledged
from hyperspace._values import (
    DURABILITIES,
    METRICS,
    QUANTIZATIONS,
    SCOPES,
    checked_id,
    json_object,
    milliseconds,
    new_id,
    number_of,
    tuned,
    unsigned,
    wire_id,
)
from hyperspace._vectors import components, one_row, pack, rows_of
from hyperspace.errors import AlreadyExistsError, InvalidArgumentError, NotFoundError

Vector: TypeAlias = Sequence[float] | npt.NDArray[np.generic]
Vectors: TypeAlias = Iterable[Vector] | npt.NDArray[np.generic]
Ids: TypeAlias = Id | Iterable[Id]

Item = TypeVar("Item")

# So many of the largest points there are (4 096 floats, 64 KiB of metadata) fit in a message.
_POINTS_A_MESSAGE = 500
_QUERIES_A_MESSAGE = 1_000
_ONE_ID = (str, int, np.integer)


class HyperspaceClient:
    """A connection to one server, for any number of threads.

    Nothing is sent before the first call. Calls that fail because the server cannot be reached or is busy are tried
    again with growing pauses, within their time; a retried write is the same write, because ids are made here.

    Every method raises a `HyperspaceError`: `InvalidArgumentError` for what can never succeed, `UnavailableError` when
    the server cannot be reached or does not answer in time, `ClosedError` after `close`, and so on.
    """

    def __init__(
        self,
        target: str = "localhost:50051",
        *,
        api_key: str | None = None,
        user_id: str | None = None,
        timeout: float = 30.0,
        tls: bool = False,
        root_certificates: bytes | None = None,
        retries: int = 5,
    ) -> None:
        """Prepares a connection.

        Args:
            target: The server, as `host:port`.
            api_key: A key or a token that says who is asking. Sent over TLS or to this machine only.
            user_id: The tenant to act for, where the server lets the caller choose: an administrator, or anybody on
                its machine as long as it has no keys.
            timeout: Seconds that a call may take, retries included. A long upload is many calls.
            tls: Whether to encrypt, and to check the server's certificate.
            root_certificates: PEM of the authorities to trust, instead of gRPC's own.
            retries: How often a call is tried again at most.
        """
        self._transport = Transport(
            target,
            api_key=api_key,
            user_id=user_id,
            timeout=timeout,
            tls=tls,
            root_certificates=root_certificates,
            retries=retries,
        )

    def __repr__(self) -> str:
        return f"HyperspaceClient({self._transport.target.address!r})"

    def __enter__(self) -> HyperspaceClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connection; calls under way end with `ClosedError`, and so does every later one."""
        self._transport.close()

    # Collections

    def create_collection(
        self,
        name: str,
        dimension: int,
        metric: Metric = "l2",
        *,
        quantization: Quantization = "none",
        m: int | None = None,
        ef_construction: int | None = None,
        ef_search: int | None = None,
    ) -> Collection:
        """Makes an empty collection. Its dimension and metric never change.

        Args:
            name: 1 to 64 of `a-z`, `0-9`, `_` and `-`.
            dimension: Components of every vector, 1 to 4096.
            metric: How distance is measured.
            quantization: How vectors are compressed for traversal.
            m: Links of a node above level 0, 2 to 64; chosen by metric and dimension when absent.
            ef_construction: Candidates kept while a graph is built, 1 to 4096; adapts when absent.
            ef_search: Candidates kept while searching, 1 to 4096; adapts when absent.

        Raises:
            AlreadyExistsError: The name is taken, whatever by.
        """
        config = collections.CollectionConfig(
            name=name,
            dimension=unsigned("dimension", dimension),
            metric=number_of("metric", metric, METRICS),
            quantization=number_of("quantization", quantization, QUANTIZATIONS),
            m=unsigned("m", m),
            ef_construction=unsigned("ef_construction", ef_construction),
            ef_search=unsigned("ef_search", ef_search),
        )
        request = collections.CreateCollectionRequest(config=config)
        return read_collection(self._transport.call(rpc.CREATE, request))

    def get_collection(self, name: str) -> Collection:
        """Describes one collection."""
        return read_collection(self._transport.call(rpc.DESCRIBE, collections.GetCollectionRequest(name=name)))

    def list_collections(self) -> list[Collection]:
        """Describes all collections, by name."""
        answer = self._transport.call(rpc.LIST, collections.ListCollectionsRequest())
        return [read_collection(message) for message in answer.collections]

    def delete_collection(self, name: str) -> None:
        """Deletes a collection with everything in it."""
        self._transport.call(rpc.DROP, collections.DeleteCollectionRequest(name=name))

    def configure(self, collection: str, *, ef_search: Tuned = None, ef_construction: Tuned = None) -> Collection:
        """Changes how a collection searches and builds graphs, from the next request on.

        Args:
            collection: Its name.
            ef_search: Candidates kept while searching, 1 to 4096; "auto" adapts again, None leaves it.
            ef_construction: The same for graphs that are built from now on.
        """
        request = admin.ConfigureRequest(
            collection=collection,
            ef_search=tuned("ef_search", ef_search),
            ef_construction=tuned("ef_construction", ef_construction),
        )
        return read_collection(self._transport.call(rpc.CONFIGURE, request))

    # Writing points

    def insert(
        self,
        vector: Vector,
        metadata: Metadata | None = None,
        id: Id | None = None,
        collection: str = "default",
        *,
        durability: Durability | None = None,
    ) -> Id:
        """Writes one point, replacing the one with its id. Makes the collection (`l2`) when there is none.

        Args:
            vector: The point's vector; on first insert it gives the collection its dimension.
            metadata: A JSON object of at most 64 KiB.
            id: A number from 0 to 2^64 - 1, or 1 to 128 bytes of text; a UUIDv7 when absent.
            collection: Where it goes.
            durability: What the write survives; the server's default when absent.

        Returns:
            The point's id.
        """
        row = one_row(vector)
        point_id = new_id() if id is None else checked_id(id)
        request = points.UpsertRequest(
            collection=collection,
            ids=[wire_id(point_id)],
            vectors=row,
            metadata=[] if metadata is None else [json_object("metadata", metadata)],
            durability=number_of("durability", durability, DURABILITIES),
        )
        try:
            self._transport.call(rpc.UPSERT, request)
        except NotFoundError:
            self._make_default(collection, dimension=components(row))
            self._transport.call(rpc.UPSERT, request)
        return point_id

    def upsert(
        self,
        collection: str,
        *,
        vectors: Vectors,
        ids: Iterable[Id] | None = None,
        metadata: Iterable[Metadata | None] | None = None,
        durability: Durability | None = None,
        progress: bool = False,
        batch_bytes: int = 8 * 1024 * 1024,
    ) -> list[Id]:
        """Writes many points, each replacing the one with its id; of equal ids the last one stays.

        Points go in batches, a few under way at once; everything may be a generator, which is read as batches are sent.
        A batch is written whole or not at all. When one fails those before it are written, and those sent together with
        it may be: give ids, so that calling again writes the same points. Doubles are rounded to floats once, except
        for `poincare`, where they travel as doubles.

        Args:
            collection: Where they go. It has to exist.
            vectors: An array with a row a point, or anything that yields rows.
            ids: One a row; UUIDv7 when absent.
            metadata: One JSON object a row, or None for a row that has none.
            durability: What each batch survives; the server's default when absent.
            progress: Whether a progress bar is shown on standard error.
            batch_bytes: Size of vectors and metadata after which a batch is sent, at most 60 MiB.

        Returns:
            The ids, in order.
        """
        if not 1 <= batch_bytes <= MAX_BATCH_BYTES:
            raise InvalidArgumentError(f"batch_bytes is {batch_bytes}, expected 1 to {MAX_BATCH_BYTES}")
        durable = number_of("durability", durability, DURABILITIES)
        given = Points(vectors, ids, metadata)
        wide = not given.rows.fits_f32 and self.get_collection(collection).metric == "poincare"
        written: list[Id] = []
        batches = given.batches(batch_bytes, wide=wide)
        # Even a disabled bar starts a thread.
        with tqdm(total=given.rows.total, unit=" points") if progress else nullcontext() as bar:
            for batch in acknowledged(self._transport, collection, batches, wide=wide, durability=durable):
                written += batch.ids
                if bar is not None:
                    bar.update(len(batch.ids))
        return written

    def set_metadata(
        self,
        collection: str,
        ids: Ids,
        metadata: Metadata | Iterable[Metadata],
        *,
        durability: Durability | None = None,
    ) -> int:
        """Replaces the metadata of points and leaves their vectors as they are.

        Args:
            collection: Where the points are.
            ids: One id, or several different ones.
            metadata: One JSON object for all of them, or one for each.
            durability: What the write survives; the server's default when absent.

        Returns:
            How many of the points exist.
        """
        wanted = _checked_ids(ids)
        objects = [metadata] * len(wanted) if isinstance(metadata, Mapping) else list(metadata)
        if len(objects) != len(wanted):
            raise InvalidArgumentError(f"metadata has {len(objects)} entries, ids has {len(wanted)}")
        durable = number_of("durability", durability, DURABILITIES)
        requests = [
            points.SetMetadataRequest(
                collection=collection,
                ids=map(wire_id, some_ids),
                metadata=[json_object("metadata", one) for one in some_objects],
                durability=durable,
            )
            for some_ids, some_objects in zip(
                _chunks(wanted, _POINTS_A_MESSAGE), _chunks(objects, _POINTS_A_MESSAGE), strict=True
            )
        ]
        return sum(self._transport.call(rpc.SET_METADATA, request).updated for request in requests)

    def delete(
        self,
        collection: str,
        *,
        ids: Ids | None = None,
        filter: Filter | None = None,
        durability: Durability | None = None,
    ) -> int:
        """Deletes points by id or by filter; ids that do not exist are passed over.

        Args:
            collection: Where the points are.
            ids: One id, or several.
            filter: The points that it matches; `{}` matches every point.
            durability: What the delete survives; the server's default when absent.

        Returns:
            How many points were there and are gone. When the call was retried it may be fewer.
        """
        durable = number_of("durability", durability, DURABILITIES)
        if ids is not None and filter is None:
            some = _chunks(_checked_ids(ids), MAX_BATCH)
            choices = [points.DeleteRequest(ids=points.PointIds(ids=map(wire_id, chunk))) for chunk in some]
        elif filter is not None and ids is None:
            choices = [points.DeleteRequest(filter=json_object("filter", filter))]
        else:
            raise InvalidArgumentError("delete takes either ids or filter, one of them")
        deleted = 0
        for request in choices:
            request.collection = collection
            request.durability = durable
            deleted += self._transport.call(rpc.DELETE, request).deleted
        return deleted

    # Reading points

    def search(
        self,
        vector: Vector,
        collection: str = "default",
        *,
        top_k: int = 10,
        filter: Filter | None = None,
        ef_search: int | None = None,
        exact: bool = False,
        with_vector: bool = False,
        with_metadata: bool = True,
    ) -> list[Hit]:
        """Finds the points nearest to a vector.

        Args:
            vector: Where to search.
            collection: What to search.
            top_k: How many points are wanted, 1 to 1000.
            filter: Only points whose metadata match.
            ef_search: Candidates kept, 1 to 4096, instead of the collection's number: more find more, and take longer.
            exact: Whether to compare with every point, which finds the true nearest.
            with_vector: Whether hits carry their vector.
            with_metadata: Whether hits carry their metadata.

        Returns:
            The hits, nearest first, equal distances by id.
        """
        request = points.SearchRequest(
            collection=collection,
            vector=one_row(vector),
            top_k=unsigned("top_k", top_k),
            filter=_filter(filter),
            ef_search=unsigned("ef_search", ef_search),
            exact=exact,
            with_vector=with_vector,
            with_metadata=with_metadata,
        )
        return read_hits(self._transport.call(rpc.SEARCH, request))

    def search_batch(
        self,
        vectors: Vectors,
        collection: str = "default",
        *,
        top_k: int = 10,
        filter: Filter | None = None,
        ef_search: int | None = None,
        exact: bool = False,
        with_vector: bool = False,
        with_metadata: bool = True,
    ) -> list[list[Hit]]:
        """Makes several searches that differ in their vector only, in fewer round trips.

        Args:
            vectors: An array with a row a search, or anything that yields rows.
            collection: As for `search`, and so are all others.
            top_k: Hits of each search.
            filter: Of each search.
            ef_search: Of each search.
            exact: Of each search.
            with_vector: Of each search.
            with_metadata: Of each search.

        Returns:
            The hits of each search, in order.
        """
        request = points.SearchBatchRequest(
            collection=collection,
            top_k=unsigned("top_k", top_k),
            filter=_filter(filter),
            ef_search=unsigned("ef_search", ef_search),
            exact=exact,
            with_vector=with_vector,
            with_metadata=with_metadata,
        )
        rows = rows_of(vectors)
        found: list[list[Hit]] = []
        while rows.claim(_QUERIES_A_MESSAGE):
            request.vectors.CopyFrom(pack(rows.take(), wide=not rows.fits_f32))
            found += map(read_hits, self._transport.call(rpc.SEARCH_BATCH, request).results)
        return found

    @overload
    def get(  # type: ignore[overload-overlap] # a str is an Iterable[str], and one id
        self, collection: str, ids: Id, *, with_vector: bool = False, with_metadata: bool = True
    ) -> Point | None: ...

    @overload
    def get(
        self, collection: str, ids: Iterable[Id], *, with_vector: bool = False, with_metadata: bool = True
    ) -> list[Point]: ...

    def get(
        self, collection: str, ids: Ids, *, with_vector: bool = False, with_metadata: bool = True
    ) -> Point | list[Point] | None:
        """Reads points by id.

        Args:
            collection: Where the points are.
            ids: One id, or several.
            with_vector: Whether points carry their vector.
            with_metadata: Whether points carry their metadata.

        Returns:
            For one id the point, or None when there is none. For several those that exist, in the order of the ids.
        """
        found: list[Point] = []
        for chunk in _chunks(_checked_ids(ids), _POINTS_A_MESSAGE):
            request = points.GetRequest(
                collection=collection, ids=map(wire_id, chunk), with_vector=with_vector, with_metadata=with_metadata
            )
            found += map(read_point, self._transport.call(rpc.GET, request).points)
        if isinstance(ids, _ONE_ID):
            return found[0] if found else None
        return found

    def count(self, collection: str, filter: Filter | None = None) -> int:
        """Counts the points of a collection, or those that a filter matches."""
        return self._transport.call(rpc.COUNT, points.CountRequest(collection=collection, filter=_filter(filter))).count

    def scroll(
        self,
        collection: str,
        filter: Filter | None = None,
        *,
        batch_size: int = 1_000,
        with_vector: bool = False,
        with_metadata: bool = True,
    ) -> Iterator[Point]:
        """Reads all points, in an order of the server's. A point that is live all the while is seen exactly once.

        Args:
            collection: Where the points are.
            filter: Only points whose metadata match.
            batch_size: Points read at once, 1 to 10 000; fewer when they are large.
            with_vector: Whether points carry their vector.
            with_metadata: Whether points carry their metadata.

        Returns:
            An iterator that asks for a page when it needs one.
        """
        if batch_size < 1:
            raise InvalidArgumentError(f"batch_size is {batch_size}, expected 1 to {MAX_BATCH}")
        request = points.ScrollRequest(
            collection=collection,
            filter=_filter(filter),
            limit=unsigned("batch_size", batch_size),
            with_vector=with_vector,
            with_metadata=with_metadata,
        )
        return self._pages(request)

    # Keeping a server

    def stats(self) -> Stats:
        """Reads figures of the server and of the caller's collections."""
        return read_stats(self._transport.call(rpc.MONITOR, admin.MonitorRequest(count=1)))

    def snapshot(self, *, timeout: float | None = None) -> Snapshot:
        """Writes a consistent copy of the whole database beside it, on the server's disk.

        Args:
            timeout: Seconds, instead of the client's.
        """
        return read_snapshot(self._transport.call(rpc.SNAPSHOT, admin.SnapshotRequest(), timeout=timeout))

    def vacuum(self, collection: str | None = None, *, timeout: float | None = None) -> VacuumReport:
        """Rewrites the segments that hold dead points and returns their space.

        Args:
            collection: Which one; all of the caller when absent.
            timeout: Seconds, instead of the client's.
        """
        request = admin.VacuumRequest(collection=collection or "")
        return read_vacuum(self._transport.call(rpc.VACUUM, request, timeout=timeout))

    def measure_recall(
        self,
        collection: str = "default",
        *,
        queries: int = 100,
        top_k: int = 10,
        ef_search: int | None = None,
        timeout: float | None = None,
    ) -> Recall:
        """Measures how many of the nearest points searches find: the collection's own points against exact searches.

        Args:
            collection: Which one.
            queries: How many of its points to ask about, 100 to 1 000, evenly spread.
            top_k: How many nearest of each, 1 to 100.
            ef_search: Candidates kept while searching, instead of the collection's.
            timeout: Seconds, instead of the client's.
        """
        request = admin.MeasureRecallRequest(collection=collection, queries=queries, top_k=top_k, ef_search=ef_search)
        return read_recall(self._transport.call(rpc.MEASURE_RECALL, request, timeout=timeout))

    def usage(self) -> None:
        """Asks what the tenant used.

        Raises:
            UnsupportedError: Always, until servers can tell.
        """
        self._transport.call(rpc.USAGE, admin.UsageRequest())

    # Who may use a server

    def create_key(
        self,
        scopes: Iterable[Scope],
        *,
        tenant: str | None = None,
        name: str = "",
        collections: Iterable[str] = (),
        expires_in: float | None = None,
    ) -> NewKey:
        """Makes an API key. From the first one on, every call needs one.

        Args:
            scopes: What it allows. The first key has "admin" and does not expire.
            tenant: Whose it is; needed without "admin", and not allowed with it.
            name: What people call it.
            collections: The collections that it is for; all of the tenant when there are none.
            expires_in: Seconds from now; None for never.

        Returns:
            The key with its secret, which nobody can ask for again.
        """
        request = admin.CreateKeyRequest(
            name=name,
            tenant=tenant or "",
            scopes=_scopes(scopes),
            collections=collections,
            expires_in_ms=milliseconds("expires_in", expires_in),
        )
        return read_new_key(self._transport.call(rpc.CREATE_KEY, request))

    def list_keys(self) -> list[Key]:
        """Lists all keys of the server, without their secrets."""
        return [read_key(key) for key in self._transport.call(rpc.LIST_KEYS, admin.ListKeysRequest()).keys]

    def revoke_key(self, id: str) -> bool:
        """Ends a key at once, with the tokens that it made; says whether there was one.

        Args:
            id: What `list_keys` calls it.
        """
        return self._transport.call(rpc.REVOKE_KEY, admin.RevokeKeyRequest(id=id)).revoked

    def create_token(
        self,
        scopes: Iterable[Scope],
        *,
        collections: Iterable[str] = (),
        origin: str | None = None,
        ttl: float | None = None,
    ) -> Token:
        """Makes a token for a browser: a part of what this client's key allows, for minutes.

        Args:
            scopes: The key's own or fewer, and never "admin".
            collections: The key's own or fewer; those of the key when there are none.
            origin: The only pages that may use it, such as "https://app.example"; None for whoever has it.
            ttl: Seconds, 900 at most, which None stands for.
        """
        request = admin.CreateTokenRequest(
            scopes=_scopes(scopes), collections=collections, origin=origin or "", ttl_ms=milliseconds("ttl", ttl) or 0
        )
        return read_token(self._transport.call(rpc.CREATE_TOKEN, request))

    def _make_default(self, name: str, *, dimension: int) -> None:
        try:
            self.create_collection(name, dimension)
        except AlreadyExistsError:
            return  # somebody else was faster

    def _pages(self, request: points.ScrollRequest) -> Iterator[Point]:
        while True:
            page = self._transport.call(rpc.SCROLL, request)
            yield from map(read_point, page.points)
            if not page.next_cursor:
                return
            request.cursor = page.next_cursor


def _scopes(scopes: Iterable[Scope]) -> list[admin.Scope]:
    return [number_of("scope", scope, SCOPES) for scope in scopes]


def _checked_ids(ids: Ids) -> list[Id]:
    return [checked_id(ids)] if isinstance(ids, _ONE_ID) else [checked_id(one) for one in ids]


def _chunks(items: Sequence[Item], size: int) -> Iterator[Sequence[Item]]:
    for first in range(0, len(items), size):
        yield items[first : first + size]


def _filter(filter: Filter | None) -> str:
    return "" if filter is None else json_object("filter", filter)
