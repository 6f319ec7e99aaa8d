"""Each call: what is sent, and what comes back."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from hyperspace import (
    Collection,
    Hit,
    HyperspaceClient,
    InvalidArgumentError,
    Key,
    NotFoundError,
    Point,
    Recall,
    Token,
    UnsupportedError,
    VacuumReport,
)
from hyperspace._proto import admin_pb2 as admin
from hyperspace._proto import collections_pb2 as collections
from hyperspace._proto import points_pb2 as points
from hyperspace._proto import types_pb2 as types
from tests.programs import CONTRACT, readme, statements
from tests.unit.fake import FakeServer

HUGE = 2**64 - 1


@pytest.fixture
def notes(client: HyperspaceClient) -> HyperspaceClient:
    """A client whose collection `notes` has five points on a line."""
    client.create_collection("notes", 2)
    rows = np.array([[n, 0] for n in range(5)], np.float32)
    metadata = [{"n": n, "odd": n % 2} for n in range(5)]
    client.upsert("notes", vectors=rows, ids=[0, 1, "two", HUGE, 4], metadata=metadata)
    return client


def test_the_contract_s_program_runs(server: FakeServer) -> None:
    names: dict[str, Any] = {
        "ids": range(20),
        "numpy_array": np.random.default_rng(3).standard_normal((20, 384)),
        "rows": [{"lexname": "noun.plant", "depth": depth} for depth in range(20)],
        "q": np.ones(384),
    }
    for _, code in statements(CONTRACT, server.target):
        exec(code, names)  # noqa: S102
    (hit,) = names["results"]
    assert hit.distance == pytest.approx(8**0.5 * 0.01, abs=1e-6)
    assert hit.metadata == {"category": "tech"}
    assert server.spaces["nouns"].stored.keys() == set(range(20))
    assert names["client"].get_collection("nouns").quantization == "scalar_i8"
    names["client"].close()


def test_the_readme_s_program_runs(server: FakeServer, capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, Any] = {}
    for _, code in statements(readme(), server.target):
        exec(code, names)  # noqa: S102
    assert "{'lang': 'de'}" in capsys.readouterr().out


def test_the_first_insert_makes_the_collection(server: FakeServer, client: HyperspaceClient) -> None:
    first = client.insert([1, 2, 3])
    second = client.insert(np.zeros(3, np.float32), {"a": [1]}, 5, "other", durability="relaxed")
    assert client.list_collections() == [client.get_collection("default"), client.get_collection("other")]
    for collection in client.list_collections():
        assert (collection.dimension, collection.metric, collection.quantization) == (3, "l2", "none")
    assert [list(space.stored) for space in server.spaces.values()] == [[first], [second]]
    assert len(str(first)) == 36
    assert second == 5
    assert len(server.sent(collections.CreateCollectionRequest)) == 2
    assert server.sent(points.UpsertRequest)[-1].durability == types.DURABILITY_RELAXED


def test_an_upsert_makes_no_collection(client: HyperspaceClient) -> None:
    with pytest.raises(NotFoundError, match="there is no collection `notes`"):
        client.upsert("notes", vectors=np.zeros((1, 2), np.float32))
    assert client.list_collections() == []


def test_collections_are_described_as_they_were_made(server: FakeServer, client: HyperspaceClient) -> None:
    made = client.create_collection("a", np.int64(3), "poincare", m=20, ef_construction=300)
    assert made == Collection("a", 3, "poincare", "none", 20, 300, None, "id of a", 0, 0, 0)
    assert client.get_collection("a") == made
    (request,) = server.sent(collections.CreateCollectionRequest)
    assert not request.config.HasField("ef_search")
    client.delete_collection("a")
    with pytest.raises(NotFoundError):
        client.get_collection("a")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"metric": "euclid"}, "metric is 'euclid', expected one of 'l2', 'cosine', 'dot', 'poincare'"),
        ({"quantization": "i4"}, "quantization is 'i4', expected one of 'none', 'scalar_i8'"),
        ({"dimension": -1}, "dimension is -1"),
        ({"m": True}, "m is True"),
    ],
)
def test_words_and_numbers_of_no_meaning_are_refused(
    server: FakeServer, client: HyperspaceClient, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        client.create_collection(**{"name": "a", "dimension": 2, **options})
    assert server.seen == []


def test_tuning_sets_adapts_again_and_leaves(notes: HyperspaceClient) -> None:
    assert notes.configure("notes", ef_search=50).ef_search == 50
    described = notes.configure("notes", ef_construction=99)
    assert (described.ef_search, described.ef_construction) == (50, 99)
    described = notes.configure("notes", ef_search="auto")
    assert (described.ef_search, described.ef_construction) == (None, 99)


def test_hits_are_nearest_first_and_equal_ones_by_id(notes: HyperspaceClient) -> None:
    hits = notes.search([2.0, 0.0], "notes", top_k=3)
    assert hits == [
        Hit("two", 0.0, {"n": 2, "odd": 0}),
        Hit(1, 1.0, {"n": 1, "odd": 1}),
        Hit(HUGE, 1.0, {"n": 3, "odd": 1}),
    ]
    assert repr(hits[0]) == "Hit(id='two', distance=0.0, metadata={'n': 2, 'odd': 0})"
    assert all(hit.vector is None for hit in hits)


def test_a_search_sends_every_option(server: FakeServer, notes: HyperspaceClient) -> None:
    hits = notes.search(
        np.array([2, 0], np.float32),
        collection="notes",
        top_k=np.int64(1),
        filter={"odd": 1},
        ef_search=77,
        exact=True,
        with_vector=True,
        with_metadata=False,
    )
    assert hits == [Hit(1, 1.0, {})]
    assert hits[0].vector is not None
    assert hits[0].vector.tolist() == [1.0, 0.0]
    assert server.sent(points.SearchRequest) == [
        points.SearchRequest(
            collection="notes",
            vector=types.Vectors(f32=np.array([2, 0], "<f4").tobytes()),
            top_k=1,
            filter='{"odd":1}',
            ef_search=77,
            exact=True,
            with_vector=True,
            with_metadata=False,
        )
    ]


def test_a_search_without_options_sends_the_defaults(server: FakeServer, client: HyperspaceClient) -> None:
    client.insert([0.0])
    client.search([0.0])
    (request,) = server.sent(points.SearchRequest)
    assert (request.collection, request.top_k, request.filter, request.with_metadata) == ("default", 10, "", True)
    assert not request.HasField("ef_search")


def test_many_searches_are_the_same_as_single_ones(server: FakeServer, notes: HyperspaceClient) -> None:
    queries = np.random.default_rng(5).uniform(0, 4, (2300, 2))
    found = notes.search_batch(queries, "notes", top_k=2, filter={"odd": 0})
    assert [len(request.vectors.f64) // 16 for request in server.sent(points.SearchBatchRequest)] == [1000, 1000, 300]
    for at in (0, 999, 1000, 2299):
        assert found[at] == notes.search(queries[at], "notes", top_k=2, filter={"odd": 0})
    assert len(found) == 2300
    assert notes.search_batch([], "notes") == []


def test_points_are_read_by_id(notes: HyperspaceClient) -> None:
    assert notes.get("notes", "two") == Point("two", {"n": 2, "odd": 0})
    assert notes.get("notes", 2) is None
    assert notes.get("notes", [4, 99, HUGE, "4"], with_metadata=False) == [Point(4, {}), Point(HUGE, {})]
    assert notes.get("notes", iter(())) == []
    assert [(point.vector, point.term) for point in notes.get("notes", [4])] == [(None, None)]
    point = notes.get("notes", np.uint64(HUGE), with_vector=True)
    assert point.vector.tolist() == [3.0, 0.0]


def test_many_points_are_read_in_several_messages(server: FakeServer, client: HyperspaceClient) -> None:
    server.make("notes", 1)
    client.upsert("notes", vectors=np.zeros((1200, 1), np.float32), ids=range(1200))
    assert [point.id for point in client.get("notes", range(1300))] == list(range(1200))
    assert [len(request.ids) for request in server.sent(points.GetRequest)] == [500, 500, 300]


def test_answers_may_be_as_large_as_messages_may(server: FakeServer, client: HyperspaceClient) -> None:
    server.make("notes", 4096)
    vectors = np.random.default_rng(2).standard_normal((500, 4096), np.float32)
    client.upsert("notes", vectors=vectors, ids=range(500), metadata=[{"t": "x" * 60_000}] * 500)
    points_read = client.get("notes", range(500), with_vector=True)
    assert np.array_equal(np.stack([point.vector for point in points_read if point.vector is not None]), vectors)
    assert {len(point.metadata["t"]) for point in points_read} == {60_000}


def test_points_are_deleted_by_ids_or_by_filter(server: FakeServer, notes: HyperspaceClient) -> None:
    assert notes.delete("notes", ids=["two", 77]) == 1
    assert notes.delete("notes", ids=0, durability="strict") == 1
    assert notes.delete("notes", ids=[]) == 0
    assert notes.delete("notes", filter={"odd": 1}) == 2
    assert list(server.spaces["notes"].stored) == [4]
    assert notes.delete("notes", filter={}) == 1
    durabilities = [request.durability for request in server.sent(points.DeleteRequest)]
    assert durabilities == [types.DURABILITY_UNSPECIFIED, types.DURABILITY_STRICT] + 2 * [types.DURABILITY_UNSPECIFIED]


@pytest.mark.parametrize("options", [{}, {"ids": [1], "filter": {}}])
def test_a_delete_of_nothing_in_particular_is_refused(
    server: FakeServer, notes: HyperspaceClient, options: dict[str, Any]
) -> None:
    with pytest.raises(InvalidArgumentError, match="either ids or filter"):
        notes.delete("notes", **options)
    assert len(server.spaces["notes"].stored) == 5


def test_many_points_are_deleted_in_several_messages(server: FakeServer, client: HyperspaceClient) -> None:
    server.make("notes", 1)
    client.upsert("notes", vectors=np.zeros((20_001, 1), np.float32), ids=range(20_001))
    assert client.delete("notes", ids=range(20_001)) == 20_001
    assert [len(request.ids.ids) for request in server.sent(points.DeleteRequest)] == [10_000, 10_000, 1]


def test_metadata_are_replaced_one_for_each_or_one_for_all(server: FakeServer, notes: HyperspaceClient) -> None:
    assert notes.set_metadata("notes", [0, 99, "two"], [{"a": 0}, {"a": 99}, {"a": 2}]) == 2
    assert notes.set_metadata("notes", [1, HUGE], {"b": True}) == 2
    assert notes.set_metadata("notes", 4, {}) == 1
    assert [stored.metadata for stored in server.spaces["notes"].stored.values()] == [
        {"a": 0},
        {"b": True},
        {"a": 2},
        {"b": True},
        {},
    ]
    with pytest.raises(InvalidArgumentError, match="metadata has 1 entries, ids has 2"):
        notes.set_metadata("notes", [1, 2], [{}])
    notes.set_metadata("notes", range(1100), {"c": 1})
    assert [len(request.ids) for request in server.sent(points.SetMetadataRequest)][-3:] == [500, 500, 100]


def test_points_are_counted(notes: HyperspaceClient) -> None:
    assert notes.count("notes") == 5
    assert notes.count("notes", {"odd": 1}) == 2


def test_scrolling_reads_every_point_once_and_a_page_when_it_needs_one(
    server: FakeServer, notes: HyperspaceClient
) -> None:
    scrolling = notes.scroll("notes", batch_size=2, with_vector=True)
    assert server.sent(points.ScrollRequest) == []
    first = next(scrolling)
    assert first.vector is not None
    assert first.vector.tolist() == [0.0, 0.0]
    assert len(server.sent(points.ScrollRequest)) == 1
    assert [first.id, *(point.id for point in scrolling)] == [0, 1, "two", HUGE, 4]
    assert len(server.sent(points.ScrollRequest)) == 3
    assert list(notes.scroll("notes", {"odd": 1}, with_metadata=False)) == [Point(1, {}), Point(HUGE, {})]
    with pytest.raises(InvalidArgumentError, match="batch_size is 0"):
        notes.scroll("notes", batch_size=0)


def test_figures_of_the_server_are_read(server: FakeServer, notes: HyperspaceClient) -> None:
    stats = notes.stats()
    assert (stats.version, stats.writable, list(stats.collections)) == ("9.9.9", True, ["notes"])
    assert (stats.collections["notes"].points, stats.collections["notes"].indexing) == (5, True)
    assert server.sent(admin.MonitorRequest) == [admin.MonitorRequest(count=1)]


def test_a_server_is_kept(server: FakeServer, client: HyperspaceClient) -> None:
    assert (client.snapshot().path, client.snapshot().bytes) == ("/d/s1", 7)
    assert client.vacuum() == client.vacuum("notes") == VacuumReport(1, 0, 9, 0)
    assert [request.collection for request in server.sent(admin.VacuumRequest)] == ["", "notes"]


def test_recall_is_measured(server: FakeServer, client: HyperspaceClient) -> None:
    assert client.measure_recall("notes", queries=200, ef_search=64) == Recall(200, 10, 0.5, 0.25, 0.75, 9.0)
    (sent,) = server.sent(admin.MeasureRecallRequest)
    assert (sent.collection, sent.ef_search) == ("notes", 64)


def test_what_servers_cannot_do_yet_says_so(client: HyperspaceClient) -> None:
    with pytest.raises(UnsupportedError, match="usage is not built yet"):
        client.usage()


def test_keys_are_made_listed_and_revoked(server: FakeServer, client: HyperspaceClient) -> None:
    made = client.create_key(["read", "sync"], tenant="ada", name="app", collections=["c"], expires_in=1.5)
    (sent,) = server.sent(admin.CreateKeyRequest)
    assert (list(sent.scopes), sent.expires_in_ms) == ([admin.SCOPE_READ, admin.SCOPE_SYNC], 1500)
    assert made.key == Key("00000000000000ab", "app", "ada", ("read", "sync"), ("c",), 7, None)
    assert made.api_key == "hs_secret"
    assert "secret" not in repr(made)
    client.create_key(["admin"])
    first = server.sent(admin.CreateKeyRequest)[1]
    assert (first.tenant, first.HasField("expires_in_ms")) == ("", False)
    assert [(key.id, key.expires_ms) for key in client.list_keys()] == [("1", 9)]
    assert client.revoke_key("1")
    assert not client.revoke_key("2")
    with pytest.raises(InvalidArgumentError, match="scope is 'all'"):
        client.create_key(["all"])  # type: ignore[list-item]
    for odd in (0, -1, float("nan"), float("inf")):
        with pytest.raises(InvalidArgumentError, match="expires_in"):
            client.create_key(["admin"], expires_in=odd)


def test_a_token_is_asked_for_as_it_was_described(server: FakeServer, client: HyperspaceClient) -> None:
    made = client.create_token(["read"], collections=["c"], origin="https://app.example", ttl=90)
    assert made == Token("hst_secret", 9)
    assert "secret" not in repr(made)
    client.create_token(["read"])
    long, short = server.sent(admin.CreateTokenRequest)
    assert (long.origin, long.ttl_ms, list(long.collections)) == ("https://app.example", 90_000, ["c"])
    assert (short.origin, short.ttl_ms, list(short.collections)) == ("", 0, [])
