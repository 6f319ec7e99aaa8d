"""Every call, against the real server and numpy."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

import hyperspace
from hyperspace import Hit, HyperspaceClient, HyperspaceError, Id, Metric, Point
from tests.e2e.oracle import Matrix, distances
from tests.e2e.server import Server, settled
from tests.programs import CONTRACT, readme, statements

METRICS: list[Metric] = ["l2", "cosine", "dot", "poincare"]
HUGE = 2**64 - 1
IDS: list[Id] = [0, 2**53 + 1, 2**63, HUGE, "0", "a", "é" * 64, "日本語", "a\0b"]


def random_rows(count: int, dimension: int, *, seed: int) -> Matrix:
    """Rows inside the unit ball that are floats of four bytes, so that nothing is rounded on the way."""
    rows = np.random.default_rng(seed).standard_normal((count, dimension))
    lengths = np.linspace(0.1, 0.95, count)[:, None]
    inside = (rows / np.linalg.norm(rows, axis=1, keepdims=True) * lengths).astype(np.float32)
    return np.asarray(inside, np.float64)


def test_the_contract_s_program_runs(program: Any, tmp_path: Any) -> None:
    server = Server(program, tmp_path / "data")
    names: dict[str, Any] = {
        "ids": range(2000),
        "numpy_array": np.random.default_rng(3).standard_normal((2000, 384)),
        "rows": [{"lexname": "noun.plant" if row % 2 else "noun.time", "depth": row % 12} for row in range(2000)],
        "q": np.ones(384),
    }
    found: list[Hit] = []
    for text, code in statements(CONTRACT, server.target):
        if text.startswith("client.search"):
            found = eval(text, names)  # noqa: S307
        else:
            exec(code, names)  # noqa: S102
    (hit,) = names["results"]
    assert hit.distance == pytest.approx(8**0.5 * 0.01, abs=1e-6)
    assert hit.metadata == {"category": "tech"}
    assert len(found) == 10
    for one in found:
        assert one.metadata["lexname"] == "noun.plant"
        assert one.metadata["depth"] >= 8
    names["client"].close()
    server.stop()


def test_the_readme_s_program_runs(program: Any, tmp_path: Any, capsys: pytest.CaptureFixture[str]) -> None:
    server = Server(program, tmp_path / "data")
    names: dict[str, Any] = {}
    for _, code in statements(readme(), server.target):
        exec(code, names)  # noqa: S102
    assert "{'lang': 'de'}" in capsys.readouterr().out
    server.stop()


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("exact", [True, False], ids=["exact", "default"])
def test_distances_are_those_of_numpy(client: HyperspaceClient, name: str, metric: Metric, exact: bool) -> None:
    rows, queries = random_rows(500, 24, seed=1), random_rows(20, 24, seed=2)
    client.create_collection(name, 24, metric)
    client.upsert(name, vectors=rows, ids=range(500))
    for query, hits in zip(queries, client.search_batch(queries, name, top_k=20, exact=exact), strict=True):
        true = distances(metric, query, rows)
        nearest = np.argsort(true, kind="stable")[:20]
        assert [hit.id for hit in hits] == nearest.tolist()
        assert [hit.distance for hit in hits] == pytest.approx(true[nearest], rel=1e-5, abs=1e-5)
        assert client.search(query, name, top_k=20, exact=exact) == hits


def test_doubles_keep_what_is_left_to_the_rim(client: HyperspaceClient, name: str) -> None:
    # As floats both of these have norm 1.
    rows = np.array([[1 - 1e-9, 0.0], [0.0, 1 - 2e-9]])
    assert np.all(rows.astype(np.float32).sum(axis=1) == 1)
    client.create_collection(name, 2, "poincare")
    client.upsert(name, vectors=rows, ids=[0, 1])
    (near, far) = client.search(rows[0], name)
    assert (near.id, near.distance) == (0, 0.0)
    assert far.distance == pytest.approx(distances("poincare", rows[0], rows)[1], rel=1e-5)
    point = client.get(name, 0, with_vector=True)
    assert point is not None
    assert point.term == pytest.approx(1 / (1 - float(rows[0] @ rows[0])), rel=1e-6)
    with pytest.raises(hyperspace.InvalidArgumentError):
        client.upsert(name, vectors=rows.astype(np.float32))


def test_equal_distances_are_ordered_by_id(client: HyperspaceClient, name: str) -> None:
    ids: list[Id] = [0, 7, 2**53 + 1, HUGE, "10", "9", "Z", "a", "é"]
    client.create_collection(name, 2)
    client.upsert(name, vectors=np.ones((len(ids), 2), np.float32), ids=ids[::-1])
    assert [hit.id for hit in client.search([0.0, 0.0], name)] == ids


def test_ids_metadata_and_rows_come_back_as_they_went(client: HyperspaceClient, name: str) -> None:
    rows = random_rows(len(IDS), 3, seed=4).astype(np.float32)
    metadata: list[dict[str, Any] | None] = [
        None,
        {},
        {"n": 2**64 - 1, "m": -(2**63), "f": 0.1, "tiny": 5e-324, "b": True, "z": None},
        {"text": '日本語 "quoted" \\ \n \0 \N{GRINNING FACE}', "": "empty"},
        {"list": [1, "a", [2.5], {"deep": {"er": []}}]},
        *[{"row": row} for row in range(len(IDS) - 5)],
    ]
    client.create_collection(name, 3, "cosine")
    assert client.upsert(name, vectors=rows, ids=IDS, metadata=metadata) == IDS
    points = client.get(name, IDS, with_vector=True)
    assert points == [Point(one, given or {}) for one, given in zip(IDS, metadata, strict=True)]
    for point, row in zip(points, rows, strict=True):
        assert point.vector is not None
        assert point.vector.tobytes() == row.tobytes()
        assert point.term == pytest.approx(1 / np.linalg.norm(row.astype(np.float64)), rel=1e-6)
    scrolled = {point.id: point.metadata for point in client.scroll(name)}
    assert scrolled == {point.id: point.metadata for point in points}
    assert client.get(name, "absent") is None
    assert client.get(name, ["absent", HUGE], with_metadata=False) == [Point(HUGE, {})]


def test_an_acknowledged_point_is_found_by_the_next_search(client: HyperspaceClient, name: str) -> None:
    for row in random_rows(50, 8, seed=5):
        point_id = client.insert(row, collection=name)
        assert client.search(row, name, top_k=1)[0].id == point_id
    for point in list(client.scroll(name, batch_size=7)):
        assert client.delete(name, ids=point.id) == 1
        assert client.get(name, point.id) is None
    assert client.search(row, name) == []


def test_filters_choose_the_points_that_match(client: HyperspaceClient, name: str) -> None:
    rows = random_rows(300, 4, seed=6)
    metadata = [{"lang": ["en", "de"][n % 2], "year": 1990 + n % 40, "tags": [n % 3, "x"]} for n in range(300)]
    client.create_collection(name, 4)
    client.upsert(name, vectors=rows, ids=range(300), metadata=metadata)
    filters: list[tuple[dict[str, Any], list[int]]] = [
        ({}, list(range(300))),
        ({"lang": "de"}, [n for n in range(300) if n % 2]),
        ({"lang": "en", "year": {"$gte": 2010, "$lt": 2020}}, [n for n in range(0, 300, 2) if 20 <= n % 40 < 30]),
        ({"tags": 2}, [n for n in range(300) if n % 3 == 2]),
        ({"$or": [{"year": 1990}, {"year": {"$in": [1991, 1992]}}]}, [n for n in range(300) if n % 40 < 3]),
        ({"absent": {"$exists": True}}, []),
    ]
    for condition, wanted in filters:
        assert client.count(name, condition) == len(wanted)
        assert sorted(point.id for point in client.scroll(name, condition)) == wanted
        hits = client.search(rows[0], name, top_k=300, filter=condition)
        true = distances("l2", rows[0], rows)
        assert [hit.id for hit in hits] == sorted(wanted, key=lambda n: (true[n], n))
    assert client.count(name) == 300
    assert client.delete(name, filter={"lang": "de"}) == 150
    assert client.count(name) == 150


def test_an_upsert_replaces_and_new_metadata_leave_the_row(client: HyperspaceClient, name: str) -> None:
    client.create_collection(name, 2)
    client.upsert(name, vectors=[[1, 1], [2, 2], [3, 3]], ids=[1, 2, 1], metadata=[{"v": 1}, {"v": 2}, {"v": 3}])
    assert client.count(name) == 2
    assert client.set_metadata(name, [1, 2, 99], [{"w": 1}, {}, {"w": 99}]) == 2
    (first, second) = client.get(name, [1, 2], with_vector=True)
    assert (first.metadata, second.metadata) == ({"w": 1}, {})
    assert first.vector is not None
    assert first.vector.tolist() == [3.0, 3.0]


def test_a_batch_is_written_whole_or_not_at_all(client: HyperspaceClient, name: str) -> None:
    rows = random_rows(100, 3, seed=8)
    rows[57, 1] = np.nan
    client.create_collection(name, 3)
    with pytest.raises(hyperspace.InvalidArgumentError):
        client.upsert(name, vectors=rows)
    assert client.count(name) == 0


def test_a_long_upload_arrives_in_order(client: HyperspaceClient, name: str) -> None:
    rows = np.arange(40_000, dtype=np.float32).reshape(-1, 2) % 1000
    client.create_collection(name, 2)
    written = client.upsert(
        name, vectors=iter(rows), metadata=({"row": row} for row in range(20_000)), batch_bytes=50_000
    )
    assert len(set(written)) == 20_000
    seen = {point.id: point for point in client.scroll(name, batch_size=3000, with_vector=True)}
    assert seen.keys() == set(written)
    for row in range(0, 20_000, 97):
        point = seen[written[row]]
        assert point.metadata == {"row": row}
        assert point.vector is not None
        assert point.vector.tolist() == rows[row].tolist()


def test_collections_are_made_described_tuned_and_deleted(client: HyperspaceClient, name: str) -> None:
    made = client.create_collection(name, 5, "dot", m=24, ef_construction=100)
    assert (made.name, made.dimension, made.metric, made.quantization) == (name, 5, "dot", "none")
    assert (made.m, made.ef_construction, made.points, made.segments) == (24, 100, 0, 0)
    assert made.id
    assert client.get_collection(name) == made
    assert made in client.list_collections()
    assert client.configure(name, ef_search=99).ef_search == 99
    assert client.configure(name, ef_construction=50).ef_search == 99
    assert client.configure(name, ef_search="auto").ef_search is None
    assert client.get_collection(name).ef_construction == 50
    client.delete_collection(name)
    assert name not in [one.name for one in client.list_collections()]
    assert client.create_collection(name, 5, "dot").id != made.id


def test_failures_are_typed(client: HyperspaceClient, name: str) -> None:
    client.create_collection(name, 3)
    client.insert([1, 2, 3], id=1, collection=name)
    invalid, limit = hyperspace.InvalidArgumentError, (hyperspace.InvalidArgumentError, hyperspace.LimitExceededError)
    failures: list[tuple[type[HyperspaceError] | tuple[type[HyperspaceError], ...], Any]] = [
        (hyperspace.AlreadyExistsError, lambda: client.create_collection(name, 3)),
        (hyperspace.NotFoundError, lambda: client.get_collection("absent")),
        (hyperspace.NotFoundError, lambda: client.search([1, 2, 3], "absent")),
        (hyperspace.NotFoundError, lambda: client.upsert("absent", vectors=[[1, 2, 3]])),
        (hyperspace.NotFoundError, lambda: client.delete_collection("absent")),
        (invalid, lambda: client.create_collection("UPPER CASE", 3)),
        (invalid, lambda: client.create_collection("zero", 0)),
        (invalid, lambda: client.create_collection("large", 4097)),
        (invalid, lambda: client.insert([1, 2], collection=name)),
        (invalid, lambda: client.search([1, 2, 3, 4], name)),
        (invalid, lambda: client.search([1, 2, float("nan")], name)),
        (invalid, lambda: client.search([1, 2, 3], name, filter={"a": {"$near": 1}})),
        (limit, lambda: client.search([1, 2, 3], name, top_k=0)),
        (limit, lambda: client.search([1, 2, 3], name, top_k=1001)),
        (limit, lambda: client.search([1, 2, 3], name, top_k=HUGE)),
        (limit, lambda: client.search([1, 2, 3], name, ef_search=4097)),
        (limit, lambda: client.configure(name, ef_search=HUGE)),
        (limit, lambda: client.insert([1, 2, 3], {"t": "x" * 70_000}, collection=name)),
        (limit, lambda: client.scroll(name, batch_size=HUGE).__next__()),
        (hyperspace.UnsupportedError, client.usage),
    ]
    for kind, call in failures:
        with pytest.raises(kind) as raised:
            call()
        assert not raised.value.retryable
        assert str(raised.value)
    assert client.count(name) == 1


def test_a_key_that_is_not_valid_is_not_passed_over(server: Server) -> None:
    with HyperspaceClient(server.target, api_key="k") as client, pytest.raises(hyperspace.UnauthenticatedError):
        client.list_collections()


def test_tenants_never_see_each_other(server: Server) -> None:
    with HyperspaceClient(server.target, user_id="ada") as ada, HyperspaceClient(server.target, user_id="bob") as bob:
        ada.insert([1.0, 2.0], id="hers", collection="tenants")
        with pytest.raises(hyperspace.NotFoundError):
            bob.count("tenants")
        bob.insert([1.0, 2.0, 3.0], id="his", collection="tenants")
        assert [point.id for point in ada.scroll("tenants")] == ["hers"]
        assert [point.id for point in bob.scroll("tenants")] == ["his"]
        assert list(ada.stats().collections) == ["tenants"]


def test_figures_follow_what_is_done(client: HyperspaceClient, name: str) -> None:
    client.create_collection(name, 2)
    before = client.stats()
    client.upsert(name, vectors=random_rows(100, 2, seed=9), ids=range(100))
    client.delete(name, ids=range(10))
    for _ in range(5):
        client.search([0.0, 0.0], name)
    client.search_batch(random_rows(7, 2, seed=10), name)
    after = client.stats()
    assert after.writable
    assert after.version
    assert after.uptime_ms >= before.uptime_ms
    assert after.points_written - before.points_written == 100
    assert after.points_deleted - before.points_deleted == 10
    assert after.searches - before.searches == 12
    assert after.disk_bytes > 0
    assert (after.collections[name].points, after.collections[name].searches) == (90, 12)


def test_a_vacuum_leaves_nothing_dead(client: HyperspaceClient, name: str) -> None:
    client.create_collection(name, 8)
    rows = random_rows(30_000, 8, seed=11)
    client.upsert(name, vectors=rows, ids=range(30_000))
    assert client.delete(name, ids=range(0, 30_000, 2)) == 15_000
    settled(client, name)
    report = client.vacuum(name, timeout=120.0)
    assert report.bytes_after <= report.bytes_before
    stats = client.stats().collections[name]
    assert (stats.points, stats.dead) == (15_000, 0)
    assert [hit.id for hit in client.search(rows[1], name, top_k=1)] == [1]


def test_threads_write_and_search_at_once(client: HyperspaceClient, name: str) -> None:
    rows = random_rows(400, 6, seed=12)
    client.create_collection(name, 6)

    def work(row: int) -> None:
        client.insert(rows[row], {"row": row}, row, name, durability="relaxed")
        assert client.search(rows[row], name, top_k=1)[0] == Hit(row, 0.0, {"row": row})

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(work, range(400)))
    assert client.count(name) == 400
