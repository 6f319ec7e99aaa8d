"""The peers, one small class each: build an index on one thread, search it on one thread.

For cosine each gets rows of norm 1 and compares them by inner product, which is the cheapest way it has.
"""

from __future__ import annotations

import importlib
import time
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from data import DataSet

# Links a node above level 0, and twice as many on it: what we have as well.
M = 16


class Contestant(Protocol):
    """What is compared."""

    name: str
    # Distances evaluated for a query in the last search, where that is known.
    distances: float | None

    def build(self) -> float:
        """Builds the index anew and returns the CPU seconds it took."""

    def search(self, ef: int) -> tuple[NDArray[np.int64], float]:
        """Asks all queries; the rows found and CPU seconds."""

    def close(self) -> None:
        """Gives up memory."""


class Peer:
    """What peers have in common: the library, the data in the form it likes, and the clock."""

    library: str

    def __init__(self, data: DataSet, ef_construction: int = 100) -> None:
        self.lib = importlib.import_module(self.library)
        self.name = f"{type(self).__name__} efC={ef_construction}"
        self.distances: float | None = None
        self.ef_construction = ef_construction
        self.is_inner = data.metric == "cosine"
        self.dimension = data.dimension
        self.base, self.queries = (unit(rows) if self.is_inner else rows for rows in (data.base, data.queries))
        self.index: Any = None

    def build(self) -> float:
        """Builds the index anew and returns the CPU seconds it took."""
        self.index = None
        began = time.process_time()
        self.make()
        return time.process_time() - began

    def search(self, ef: int) -> tuple[NDArray[np.int64], float]:
        """Asks all queries; the rows found and CPU seconds."""
        self.keep(ef)
        began = time.process_time()
        found = self.ask()
        return found.astype(np.int64), time.process_time() - began

    def close(self) -> None:
        """Gives up memory."""
        self.index = None

    def make(self) -> None:
        """Builds `self.index`."""
        raise NotImplementedError

    def keep(self, ef: int) -> None:
        """Sets how many candidates a search keeps."""
        raise NotImplementedError

    def ask(self) -> NDArray[np.integer[Any]]:
        """Searches the ten nearest of all queries."""
        raise NotImplementedError


class Hnswlib(Peer):
    """The reference implementation."""

    library = "hnswlib"

    def make(self) -> None:
        self.index = self.lib.Index("ip" if self.is_inner else "l2", self.dimension)
        self.index.init_index(len(self.base), ef_construction=self.ef_construction, M=M)
        self.index.add_items(self.base, num_threads=1)

    def keep(self, ef: int) -> None:
        self.index.set_ef(ef)

    def ask(self) -> NDArray[np.integer[Any]]:
        return self.index.knn_query(self.queries, 10, num_threads=1)[0]


class FaissFlat(Peer):
    """`IndexHNSWFlat`."""

    library = "faiss"

    def make(self) -> None:
        self.lib.omp_set_num_threads(1)
        self.index = self.graph()
        self.index.hnsw.efConstruction = self.ef_construction
        self.index.train(self.base)
        self.index.add(self.base)

    def graph(self) -> Any:
        """An empty index."""
        return self.lib.IndexHNSWFlat(self.dimension, M, self.metric())

    def metric(self) -> int:
        """Its name of our metric."""
        return self.lib.METRIC_INNER_PRODUCT if self.is_inner else self.lib.METRIC_L2

    def keep(self, ef: int) -> None:
        self.index.hnsw.efSearch = ef

    def ask(self) -> NDArray[np.integer[Any]]:
        return self.index.search(self.queries, 10)[1]


class FaissSq8(FaissFlat):
    """`IndexHNSWSQ` of 8 bits; the best are ordered by full rows, as ours are."""

    def graph(self) -> Any:
        return self.lib.IndexHNSWSQ(self.dimension, self.lib.ScalarQuantizer.QT_8bit, M, self.metric())

    def ask(self) -> NDArray[np.integer[Any]]:
        refined = self.lib.IndexRefineFlat(self.index, self.lib.swig_ptr(self.base))
        refined.k_factor = 2.6
        return refined.search(self.queries, 10)[1]


class Usearch(Peer):
    """`usearch`, rows as f32."""

    library = "usearch.index"

    def make(self) -> None:
        self.index = self.lib.Index(
            ndim=self.dimension,
            metric="ip" if self.is_inner else "l2sq",
            dtype="f32",
            connectivity=M,
            expansion_add=self.ef_construction,
        )
        self.index.add(np.arange(len(self.base)), self.base, threads=1)

    def keep(self, ef: int) -> None:
        self.index.expansion_search = ef

    def ask(self) -> NDArray[np.integer[Any]]:
        return self.index.search(self.queries, 10, threads=1).keys


class GlassSq8(Peer):
    """pyglass: the graph built over codes of 8 bits and walked on them, the best ordered by full rows."""

    library = "glass"

    def make(self) -> None:
        self.lib.set_num_threads(1)
        metric = "IP" if self.is_inner else "L2"
        graph = self.lib.Index("HNSW", metric, "SQ8U", R=2 * M, L=self.ef_construction).build(self.base)
        self.index = self.lib.Searcher(graph, self.base, metric, "SQ8U", "FP32")

    def keep(self, ef: int) -> None:
        self.index.set_ef(ef)

    def ask(self) -> NDArray[np.integer[Any]]:
        found = self.index.batch_search(self.queries, 10, num_threads=1)
        ids = found[0] if isinstance(found, tuple) else found
        return np.asarray(ids).reshape(len(self.queries), 10)


def unit(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows at norm 1."""
    return np.ascontiguousarray(rows / np.linalg.norm(rows, axis=1, keepdims=True))


def installed(classes: list[type[Peer]]) -> Iterator[type[Peer]]:
    """Those that can be imported; says which cannot."""
    for peer in classes:
        try:
            importlib.import_module(peer.library)
        except ImportError as error:
            print(f"left out: {peer.__name__} ({error})")
        else:
            yield peer
