"""What a user gets at default settings, measured against exact ground truth through the wire.

The same sets and bounds as the engine's own tests; README.md of the data sets tells their format.
"""

from __future__ import annotations

import gzip
import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from hyperspace import Hit, HyperspaceClient, Metric
from tests.e2e.oracle import Matrix, distances
from tests.e2e.server import Server, settled

K = 10
LEAST_RECALL = 0.95
EXACT_QUERIES = 100
COLUMNS = ("lexname", "depth", "u")

NIGHTLY = os.environ.get("HS_TEST_LEVEL") == "nightly"
DATA = Path(os.environ.get("HS_DATA") or Path(__file__).parents[4] / "../shared/data")

SMALL: list[tuple[str, Metric]] = [
    ("poincare-5-mammals", "poincare"),
    ("poincare-10-edge", "poincare"),
    ("poincare-10", "poincare"),
    ("uniform-8", "l2"),
    ("glove-50", "cosine"),
]
LARGE: list[tuple[str, Metric]] = [
    ("uniform-8", "cosine"),
    ("uniform-8", "poincare"),
    ("glove-50", "l2"),
    ("glove-50", "dot"),
    ("mnist-784", "l2"),
    ("minilm-384", "cosine"),
]


@dataclass
class DataSet:
    """A base, held-out queries, and the distances of the true nearest of each query."""

    folder: Path
    metric: Metric
    base: Matrix
    queries: Matrix
    nearest: Matrix

    @property
    def has_filters(self) -> bool:
        return (self.folder / "filters.json").is_file()

    def given(self, rows: Matrix) -> npt.NDArray[Any]:
        """Rows as users give them: doubles for poincare, floats else."""
        return rows if self.metric == "poincare" else rows.astype(np.float32)

    def right(self, query: int, hits: list[Hit], kth: float) -> int:
        """How many hits are at most as far as the k-th nearest, by the true distance of the stored values."""
        rows = self.base[[int(hit.id) for hit in hits]]
        return int(np.sum(distances(self.metric, self.queries[query], rows) <= kth + abs(kth) * 1e-9))


def open_set(name: str, metric: Metric) -> DataSet:
    folder = DATA / name
    if not folder.is_dir():
        pytest.skip(f"no data set {name}: set HS_DATA to the folder that holds it")
    if name == "uniform-8":
        base, queries = uniform(0, 100_000, metric), uniform(100_000, 1_000, metric)
    else:
        base = read(folder / "base.npy")
        queries = base if name == "poincare-5-mammals" else read(folder / "queries.npy")
    truth = "poincare.self" if name == "poincare-5-mammals" else metric
    stored = folder / f"gt.{truth}.dist.npy"
    nearest = np.load(stored)[:, :K] if stored.is_file() else nearest_by_dot(base, queries)
    return DataSet(folder, metric, base, queries, nearest)


def read(path: Path) -> Matrix:
    """Reads an array, gzipped or not. f16 is how some are stored only: it is widened."""
    if path.is_file():
        return np.asarray(np.load(path), np.float64)
    with gzip.open(f"{path}.gz") as file:
        return np.asarray(np.load(file), np.float64)


def uniform(first: int, count: int, metric: Metric) -> Matrix:
    """The recipe of `uniform-8`: a hash of the component's number, exact as floats of four bytes."""
    numbers = np.arange(first * 8, (first + count) * 8, dtype=np.uint64)
    mask = np.uint64(0xFFFFFFFF)
    x = (np.uint64(8001) + np.uint64(0x9E3779B9) * (numbers + np.uint64(1))) & mask
    for shift, factor in ((16, 0x21F0AAAD), (15, 0xD35A2D97)):
        x = (x ^ x >> np.uint64(shift)) * np.uint64(factor) & mask
    x ^= x >> np.uint64(15)
    scale = np.float32(0.35 if metric == "poincare" else 1)
    values = ((x >> np.uint64(8)).astype(np.float32) * np.float32(2**-23) - np.float32(1)) * scale
    return np.asarray(values.reshape(count, 8), np.float64)


def nearest_by_dot(base: Matrix, queries: Matrix) -> Matrix:
    """The only metric without stored ground truth."""
    return np.array([np.sort(np.partition(-(base @ query), K)[:K]) for query in queries])


def build(client: HyperspaceClient, data: DataSet) -> None:
    metadata = None
    if data.has_filters:
        columns = [np.load(data.folder / f"../minilm-384/meta.{name}.npy") for name in COLUMNS]
        metadata = [dict(zip(COLUMNS, row, strict=True)) for row in zip(*columns, strict=True)]
    client.create_collection("set", data.base.shape[1], data.metric)
    client.upsert("set", vectors=data.given(data.base), ids=range(len(data.base)), metadata=metadata)


def share(counts: list[int]) -> float:
    return sum(counts) / (len(counts) * K)


def check_recall(client: HyperspaceClient, data: DataSet) -> float:
    answers = client.search_batch(data.given(data.queries), "set", top_k=K, with_metadata=False)
    recall = share([data.right(at, hits, data.nearest[at, -1]) for at, hits in enumerate(answers)])
    assert recall >= LEAST_RECALL, f"recall@{K} is {recall}"
    return recall


def check_exact(client: HyperspaceClient, data: DataSet) -> None:
    answers = client.search_batch(data.given(data.queries[:EXACT_QUERIES]), "set", top_k=K, exact=True)
    for at, hits in enumerate(answers):
        assert data.right(at, hits, data.nearest[at, -1]) == K, f"exact search {at} missed some of the nearest"
        # Recall alone forgives bad arithmetic.
        assert [hit.distance for hit in hits] == pytest.approx(data.nearest[at], rel=1e-5, abs=1e-5)


def check_filters(client: HyperspaceClient, data: DataSet) -> None:
    """Ten results under each filter, all of them matches, almost all of them the true nearest."""
    operators = {"<": "$lt", "==": "$eq", ">=": "$gte"}
    for one in json.loads((data.folder / "filters.json").read_text()):
        column = np.load(data.folder / f"../minilm-384/meta.{one['column']}.npy")
        # A predicate is about stored values: a code for a name, and 0.1 as a float of four bytes.
        limit = column.dtype.type(one.get("code", one["value"]))
        condition = {one["column"]: {operators[one["op"]]: limit}}
        matches = {"<": column < limit, "==": column == limit, ">=": column >= limit}[one["op"]]
        assert client.count("set", condition) == one["count"] == np.sum(matches)
        nearest = np.load(data.folder / f"gt.{data.metric}.{one['name']}.dist.npy")[:, K - 1]
        answers = client.search_batch(data.given(data.queries), "set", top_k=K, filter=condition)
        for hits in answers:
            assert len(hits) == K
            assert all(matches[int(hit.id)] for hit in hits)
        recall = share([data.right(at, hits, nearest[at]) for at, hits in enumerate(answers)])
        assert recall >= LEAST_RECALL, f"{one['name']}: recall@{K} is {recall}"


@pytest.mark.parametrize(("name", "metric"), SMALL + LARGE if NIGHTLY else SMALL)
def test_recall_at_default_settings(program: Path, tmp_path: Path, name: str, metric: Metric) -> None:
    data = open_set(name, metric)
    server = Server(program, tmp_path / "data")
    with HyperspaceClient(server.target, timeout=120.0) as client:
        began = time.monotonic()
        build(client, data)
        written = time.monotonic() - began
        stats = settled(client, "set", seconds=600.0)
        indexed = time.monotonic() - began
        assert stats.points == len(data.base)
        recall = check_recall(client, data)
        check_exact(client, data)
        if data.has_filters:
            check_filters(client, data)
    server.stop()
    print(  # noqa: T201
        f"\n{name} {metric}: recall@{K} {recall:.4f}, {stats.segments} segments, {stats.pending} pending, "
        f"written in {written:.1f} s, indexed after {indexed:.1f} s"
    )


def test_the_uniform_set_begins_as_its_recipe_says() -> None:
    first = uniform(0, 1, "l2")[0]
    assert (first[0], first[7]) == (0.8874185085296631, -0.9539808034896851)
