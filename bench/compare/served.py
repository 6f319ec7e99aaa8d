"""The rows that go over the server's own door: acknowledged inserts, queries beyond their search, and restarts.

The clients are Python and share the machine with the server, so rates are what both of them reach; CPU times are the
server's alone.
"""

from __future__ import annotations

import asyncio
import os
import re
import statistics
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import numpy as np
from hyperspace import HyperspaceClient
from hyperspace._proto import points_pb2 as points
from hyperspace._proto import types_pb2 as types

from measure import by_turns, ratio, say

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from data import DataSet

COLLECTION = "bench"
BATCH = 1_000
WRITERS = (1, 4, 16, 64, 256)
DURABILITIES = (types.DURABILITY_STRICT, types.DURABILITY_RELAXED)
# Long enough for several slices of a shared machine, short enough for three rounds of everything.
SECONDS = 2.0
# What another database claims to take, without making it durable.
SUSTAINED, SUSTAINED_WRITERS, SMALL_BATCH = 15_500, 8, 100


@dataclass
class Sustained:
    """What was seen while points came at a steady rate."""

    rate: float = 0.0
    slowest: float = 0.0
    backlog: int = 0
    segments: list[int] = field(default_factory=list)


class Server:
    """A server of ours, on a free port, with data of its own."""

    def __init__(self, program: Path, data: str) -> None:
        command = [program, "--listen", "127.0.0.1:0", "--data-dir", data, "--log", "warn"]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        line = self._process.stdout.readline() if self._process.stdout else ""
        listening = re.search(r" listening on http://(\S+) ", line)
        if listening is None:
            raise RuntimeError(f"{program} did not say where it listens: {line!r}")
        self.address = listening[1]
        # Linux's name of the clock that counts the CPU time of a process (`man 2 clock_getres`).
        self._clock = (~self._process.pid << 3) | 2

    def cpu(self) -> float:
        """CPU seconds so far."""
        return time.clock_gettime(self._clock)

    def peak_memory(self) -> int:
        """The most bytes of it that were in memory at once, mapped files included."""
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        found = re.search(r"VmHWM:\s+(\d+) kB", status)
        return int(found[1]) * 1024 if found else 0

    def stop(self) -> None:
        """Asks it to end, and waits."""
        self._process.terminate()
        self._process.wait()

    def settle(self, client: HyperspaceClient) -> None:
        """Waits until no seal or merge is due; the last few points stay in memory until more come."""
        while any(collection.indexing for collection in client.stats().collections.values()):
            time.sleep(0.2)


def upsert(rows: NDArray[np.float32], first: int, durability: types.Durability) -> points.UpsertRequest:
    """Rows as points with rising ids."""
    return points.UpsertRequest(
        collection=COLLECTION,
        ids=[types.PointId(number=first + i) for i in range(len(rows))],
        vectors=types.Vectors(f32=rows.tobytes()),
        durability=durability,
    )


def fsync_seconds(folder: str) -> float:
    """The mean time of appending a small record and making it durable, alone."""
    times = []
    with Path(folder, "fsync").open("wb", buffering=0) as file:
        for _ in range(200):
            file.write(b"x" * 128)
            began = time.perf_counter()
            os.fdatasync(file.fileno())
            times.append(time.perf_counter() - began)
    return statistics.fmean(times)


async def written(
    server: Server, rows: NDArray[np.float32], batch: int, writers: int, durability: types.Durability
) -> float:
    """Acknowledged points a second of so many writers in `SECONDS`, each one batch at a time."""
    began = time.perf_counter()
    batches = len(rows) // batch
    async with grpc.aio.insecure_channel(server.address) as channel:
        call = channel.unary_unary(
            "/hyperspace.v1.Points/Upsert",
            request_serializer=points.UpsertRequest.SerializeToString,
            response_deserializer=points.UpsertResponse.FromString,
        )

        async def write(number: int) -> int:
            done = 0
            while time.perf_counter() < began + SECONDS:
                at = (number + done * writers) % batches * batch
                await call(upsert(rows[at : at + batch], at, durability))
                done += 1
            return done * batch

        done = sum(await asyncio.gather(*(write(number) for number in range(writers))))
    return done / (time.perf_counter() - began)


def ingest(data: DataSet, program: Path, rounds: int) -> None:
    """Acknowledged inserts, durable before the answer and not."""
    with tempfile.TemporaryDirectory() as folder:
        server = Server(program, f"{folder}/data")
        client = HyperspaceClient(server.address)
        say(f"  {'batch':>5} {'writers':>7} {'fdatasync us':>12} {'strict/s':>9} {'relaxed/s':>9} {'share':>6}")
        for batch, writers in [(BATCH, 4), *((1, writers) for writers in WRITERS)]:

            def rate(durability: types.Durability, batch: int = batch, writers: int = writers) -> float:
                # A new collection each time: what the last one left to be indexed would slow this one.
                client.create_collection(COLLECTION, data.dimension, data.metric)
                points_a_second = asyncio.run(written(server, data.base, batch, writers, durability))
                client.delete_collection(COLLECTION)
                return points_a_second

            work = [partial(fsync_seconds, folder), *(partial(rate, durability) for durability in DURABILITIES)]
            fsync, strict, relaxed = (statistics.median(cost) for cost in by_turns(rounds, work))
            share = strict / min(writers * batch / fsync, relaxed)
            say(f"  {batch:>5} {writers:>7} {fsync * 1e6:>12.0f} {strict:>9.0f} {relaxed:>9.0f} {share:>6.2f}")
        say("  share: strict of what is possible, min(writers x batch / fdatasync, relaxed)")
        client.close()
        server.stop()
        ingest_edge(data, folder)


async def written_at(server: Server, client: HyperspaceClient, rows: NDArray[np.float32]) -> Sustained:
    """Writes all rows at `SUSTAINED` points a second, and looks every half second how far the indexers are behind."""
    outcome, batches, began = Sustained(), len(rows) // SMALL_BATCH, time.perf_counter()
    async with grpc.aio.insecure_channel(server.address) as channel:
        call = channel.unary_unary(
            "/hyperspace.v1.Points/Upsert",
            request_serializer=points.UpsertRequest.SerializeToString,
            response_deserializer=points.UpsertResponse.FromString,
        )

        async def write(number: int) -> None:
            for at in range(number, batches, SUSTAINED_WRITERS):
                await asyncio.sleep(max(0.0, began + at * SMALL_BATCH / SUSTAINED - time.perf_counter()))
                first, sent = at * SMALL_BATCH, time.perf_counter()
                batch = upsert(rows[first : first + SMALL_BATCH], first, types.DURABILITY_STRICT)
                await call(batch)
                outcome.slowest = max(outcome.slowest, time.perf_counter() - sent)

        async def look() -> None:
            while True:
                stats = (await asyncio.to_thread(client.stats)).collections[COLLECTION]
                outcome.backlog = max(outcome.backlog, stats.pending)
                outcome.segments.append(stats.segments)
                await asyncio.sleep(0.5)

        looking = asyncio.create_task(look())
        await asyncio.gather(*(write(number) for number in range(SUSTAINED_WRITERS)))
        outcome.rate = batches * SMALL_BATCH / (time.perf_counter() - began)
        looking.cancel()
    return outcome


def sustained(data: DataSet, program: Path) -> None:
    """Whether the indexers keep up with a steady stream of durable inserts."""
    with tempfile.TemporaryDirectory() as folder:
        server = Server(program, f"{folder}/data")
        with HyperspaceClient(server.address) as client:
            client.create_collection(COLLECTION, data.dimension, data.metric)
            outcome = asyncio.run(written_at(server, client, data.base))
            written = time.perf_counter()
            server.settle(client)
            settled = time.perf_counter() - written
        say(f"  {len(data.base)} points in batches of {SMALL_BATCH}, {SUSTAINED_WRITERS} writers, strict")
        say(f"  acknowledged: {outcome.rate:.0f}/s of {SUSTAINED}/s, slowest batch {outcome.slowest * 1e3:.0f} ms")
        parts = [max(part) for part in np.array_split(outcome.segments, 4) if len(part)]
        say(f"  segments at most in each quarter of the time: {', '.join(str(part) for part in parts)}")
        say(f"  largest backlog: {outcome.backlog} points; all indexed and merged {settled:.1f} s after the last")
        say(f"  peak memory: {server.peak_memory() / 2**20:.0f} MiB; CPU: {server.cpu():.1f} s")
        server.stop()


def ingest_edge(data: DataSet, folder: str) -> None:
    """The same batches into qdrant-edge, in this process and not durable."""
    try:
        import qdrant_edge as edge  # noqa: PLC0415
    except ImportError as error:
        say(f"  left out: qdrant-edge ({error})")
        return
    path = f"{folder}/edge"
    Path(path).mkdir()
    config = edge.EdgeConfig(vectors=edge.EdgeVectorParams(size=data.dimension, distance=edge.Distance.Euclid))
    shard = edge.EdgeShard.create(path, config)
    began, count = time.perf_counter(), 0
    while time.perf_counter() < began + SECONDS:
        at = count % (len(data.base) - BATCH)
        rows = data.base[at : at + BATCH].tolist()
        batch = [edge.Point(count + i, row, {}) for i, row in enumerate(rows)]
        shard.update(edge.UpdateOperation.upsert_points(batch))
        count += BATCH
    rate = count / (time.perf_counter() - began)
    say(f"  qdrant-edge, batches of {BATCH} in process, not durable: {rate:.0f} points/s")
    shard.close()


def memory(name: str, rows: NDArray[np.float32], program: Path) -> None:
    """The most memory a server has while it takes points in and builds their graphs, beside what it has in the end."""
    with tempfile.TemporaryDirectory() as folder:
        server = Server(program, folder)
        with HyperspaceClient(server.address) as client:
            client.create_collection(COLLECTION, rows.shape[1], "l2")
            for first in range(0, len(rows), BATCH):
                batch = rows[first : first + BATCH]
                client.upsert(COLLECTION, vectors=batch, ids=range(first, first + len(batch)))
            server.settle(client)
            seen = client.stats().collections[COLLECTION]
        peak, final = server.peak_memory(), seen.segment_bytes + seen.memtable_bytes
        size = f"{final / 2**20:7.0f} MiB in {seen.segments} segments"
        say(f"  {name:14} {size}, peak {peak / 2**20:7.0f} MiB: {peak / final:.2f} x")
        server.stop()


def overhead(data: DataSet, program: Path, rounds: int) -> None:
    """What the server spends on a query beyond its search: it has ten points, so a search is next to nothing."""
    with tempfile.TemporaryDirectory() as folder:
        server = Server(program, folder)
        with HyperspaceClient(server.address) as client:
            client.create_collection(COLLECTION, data.dimension, data.metric)
            client.upsert(COLLECTION, vectors=data.base[:10], ids=range(10))

            def query() -> float:
                before = server.cpu()
                for row in data.queries:
                    client.search(row, COLLECTION)
                return (server.cpu() - before) / len(data.queries)

            query()
            (costs,) = by_turns(rounds, [query])
            say(f"  server CPU a query of {data.dimension} dimensions: {statistics.median(costs) * 1e6:.0f} us")
        server.stop()


def restart(data: DataSet, program: Path, rounds: int) -> None:
    """From the start of the process to the first answer, all indexed; beside it usearch, mapping its own file."""
    with tempfile.TemporaryDirectory() as folder:
        server = Server(program, folder)
        with HyperspaceClient(server.address) as client:
            client.create_collection(COLLECTION, data.dimension, data.metric)
            client.upsert(COLLECTION, vectors=data.base, ids=range(len(data.base)))
            server.settle(client)
        server.stop()

        def ours() -> float:
            began = time.perf_counter()
            server = Server(program, folder)
            with HyperspaceClient(server.address) as client:
                client.search(data.queries[0], COLLECTION)
                took = time.perf_counter() - began
            server.stop()
            return took

        work = [ours, *usearch_restart(data, folder)]
        costs = by_turns(rounds, work)
        for name, cost in zip(("ours, process and gRPC", "usearch, view()"), costs, strict=False):
            say(f"  {name:24} {statistics.median(cost) * 1e3:>8.1f} ms  {ratio(cost, costs[0]):>6.3f} x ours")


def usearch_restart(data: DataSet, folder: str) -> list[Callable[[], float]]:
    """What opens usearch's index and asks it once, if it is installed."""
    try:
        from usearch.index import Index  # noqa: PLC0415
    except ImportError as error:
        say(f"  left out: usearch ({error})")
        return []
    settings = {"ndim": data.dimension, "metric": "l2sq", "dtype": "f32"}
    index, path = Index(**settings), f"{folder}/usearch"
    index.add(np.arange(len(data.base)), data.base)
    index.save(path)

    def open_and_ask() -> float:
        began = time.perf_counter()
        index = Index(**settings)
        index.view(path)
        index.search(data.queries[0], 10)
        return time.perf_counter() - began

    return [open_and_ask]
