"""The points and queries of a row, from `../shared/data` or made from a seed, and what is true of them."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from measure import say

if TYPE_CHECKING:
    from numpy.typing import NDArray

Rows = Any
TOP_K = 10
QUERIES = 1_000
# The generator of `uniform-8` and its seed, as `../shared/data/scripts/make_uniform.py` documents them.
UNIFORM_SEED = 8001
UNIFORM_DIMENSION = 8
BALL_SCALE = np.float32(0.35)


@dataclass
class DataSet:
    """Rows, held-out queries and how they are compared."""

    name: str
    metric: str
    base: NDArray[np.float32]
    queries: NDArray[np.float32]
    _kth: NDArray[np.float64] | None = field(default=None, init=False)

    @property
    def dimension(self) -> int:
        """Components of a row."""
        return int(self.base.shape[1])

    def files(self, root: Path) -> tuple[Path, Path]:
        """Base and queries as .npy files of f32."""
        folder = root / "target" / "bench-data"
        folder.mkdir(parents=True, exist_ok=True)
        paths = folder / f"{self.name}.base.npy", folder / f"{self.name}.queries.npy"
        np.save(paths[0], self.base)
        np.save(paths[1], self.queries)
        return paths

    def recall(self, found: NDArray[np.int64]) -> float:
        """The share of `found` (queries x k) that is as near as the true k-th neighbour."""
        if self._kth is None:
            self._kth = np.array([self._kth_distance(q) for q in self.queries.astype(np.float64)])
        queries = self.queries.astype(np.float64)
        distances = distances_of(self.metric, queries[:, None, :], self.base[found].astype(np.float64))
        return float(np.mean(distances <= self._kth[:, None] * (1 + 1e-9)))

    def _kth_distance(self, query: NDArray[np.float64]) -> float:
        # Found in f32, of which the best few are measured in f64: a row that f32 misplaces by more does not exist.
        near = np.argpartition(distances_of(self.metric, query.astype(np.float32), self.base), 4 * TOP_K)[: 4 * TOP_K]
        exact = distances_of(self.metric, query, self.base[near].astype(np.float64))
        return float(np.partition(exact, TOP_K - 1)[TOP_K - 1])


def distances_of(metric: str, queries: Rows, rows: Rows) -> Rows:
    """Distances along the last axis, up to a rising function of them."""
    if metric == "cosine":
        dots = np.einsum("...d,...d->...", queries, rows)
        norms = np.linalg.norm(queries, axis=-1) * np.linalg.norm(rows, axis=-1)
        return 1 - dots / norms
    difference = queries - rows
    squared = np.einsum("...d,...d->...", difference, difference)
    if metric == "poincare":
        return squared / ((1 - np.sum(queries**2, axis=-1)) * (1 - np.sum(rows**2, axis=-1)))
    return squared


def uniform(count: int, metric: str = "l2") -> DataSet:
    """`count` points of 8 dimensions, even in a cube; for `poincare` the cube is shrunk into the ball."""
    values = _uniform(UNIFORM_SEED, (count + QUERIES) * UNIFORM_DIMENSION).reshape(-1, UNIFORM_DIMENSION)
    if metric == "poincare":
        values *= BALL_SCALE
    return DataSet(f"uniform-8-{count}-{metric}", metric, values[:count], values[count:])


def clustered(count: int, dimension: int) -> NDArray[np.float32]:
    """Rows around a thousand centers, as embeddings lie."""
    random = np.random.default_rng(UNIFORM_SEED)
    centers = random.standard_normal((1_000, dimension), dtype=np.float32)
    rows = centers[random.integers(len(centers), size=count)]
    rows += np.float32(0.5) * random.standard_normal((count, dimension), dtype=np.float32)
    return rows


def _uniform(seed: int, count: int) -> NDArray[np.float32]:
    x = np.uint32(seed) + np.uint32(0x9E3779B9) * np.arange(1, count + 1, dtype=np.uint32)
    x ^= x >> np.uint32(16)
    x *= np.uint32(0x21F0AAAD)
    x ^= x >> np.uint32(15)
    x *= np.uint32(0xD35A2D97)
    x ^= x >> np.uint32(15)
    return (x >> np.uint32(8)).astype(np.float32) * np.float32(2**-23) - np.float32(1)


def shared(root: Path, name: str, metric: str, count: int | None = None) -> DataSet:
    """One of the shared data sets, or its first `count` rows."""
    folder = Path(os.environ.get("HS_DATA", root.parent / "shared" / "data")) / name
    if not folder.exists():
        say(f"left out: {folder} is not there (HS_DATA names the folder of the data sets)")
        raise SystemExit
    base = np.load(folder / "base.npy")[:count].astype(np.float32)
    queries = np.load(folder / "queries.npy").astype(np.float32)
    return DataSet(f"{name}-{len(base)}-{metric}", metric, base, queries)
