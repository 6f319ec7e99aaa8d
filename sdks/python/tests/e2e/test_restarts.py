"""What is still there when the server is stopped, killed, or started on a snapshot."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hyperspace import Durability, HyperspaceClient, UnavailableError
from tests.e2e.server import Server

ROWS = np.random.default_rng(1).standard_normal((3000, 16)).astype(np.float32)


def fill(client: HyperspaceClient, durability: Durability) -> None:
    client.create_collection("notes", 16, "cosine", ef_search=70)
    client.upsert(
        "notes",
        vectors=ROWS,
        ids=range(3000),
        metadata=({"row": row} for row in range(3000)),
        durability=durability,
        batch_bytes=30_000,
    )
    client.delete("notes", ids=range(0, 3000, 3), durability=durability)
    client.set_metadata("notes", 1, {"new": True}, durability=durability)
    client.configure("notes", ef_construction=120)


def state(client: HyperspaceClient) -> tuple[object, ...]:
    collection = client.get_collection("notes")
    answers = client.search_batch(ROWS[:50], "notes", exact=True)
    points = {point.id: point.metadata for point in client.scroll("notes")}
    return collection.id, collection.ef_search, collection.ef_construction, collection.points, points, answers


@pytest.mark.parametrize("durability", ["strict", "relaxed"])
@pytest.mark.parametrize("end", [Server.stop, Server.kill], ids=["stopped", "killed"])
def test_acknowledged_writes_survive(program: Path, tmp_path: Path, durability: Durability, end: object) -> None:
    server = Server(program, tmp_path / "data")
    with HyperspaceClient(server.target) as client:
        fill(client, durability)
        before = state(client)
        assert callable(end)
        end(server)
        server = server.again()
        # The same client: it connects again by itself.
        assert state(client) == before
        (hit,) = client.search(ROWS[1], "notes", top_k=1)
        assert (hit.id, hit.metadata) == (1, {"new": True})
    server.stop()


def test_calls_wait_for_a_server_that_comes_back(program: Path, tmp_path: Path) -> None:
    server = Server(program, tmp_path / "data")
    with HyperspaceClient(server.target, retries=1000, timeout=60.0) as client:
        client.insert([1.0, 2.0], id=1)
        server.kill()
        with HyperspaceClient(server.target, retries=0) as hasty, pytest.raises(UnavailableError):
            hasty.count("default")
        server = server.again()
        assert client.count("default") == 1
    server.stop()


def test_a_snapshot_is_a_database_of_its_moment(program: Path, tmp_path: Path) -> None:
    server = Server(program, tmp_path / "data")
    with HyperspaceClient(server.target) as client:
        fill(client, "strict")
        before = state(client)
        snapshot = client.snapshot(timeout=60.0)
        client.delete("notes", filter={})
        assert client.count("notes") == 0
    server.stop()
    folder = Path(snapshot.path)
    files = [file for file in folder.rglob("*") if file.is_file()]
    assert folder.name == snapshot.name
    assert (len(files), sum(file.stat().st_size for file in files)) == (snapshot.files, snapshot.bytes)
    copy = Server(program, folder)
    with HyperspaceClient(copy.target) as client:
        assert state(client) == before
    copy.stop()
