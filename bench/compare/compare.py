"""Runs us and the peers by turns, and prints recall, cost and ratio of one row of the table in `bench/README.md`."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import data as sets
import graphs
import served
from measure import say
from ours import Ours
from peers import FaissFlat, FaissSq8, GlassSq8, Hnswlib, Peer, Usearch, installed
from storm import storm

ROOT = Path(__file__).resolve().parents[2]
# Three points of the curve where vectors are long; in 8 dimensions every graph is good.
LONG, SHORT = (0.95, 0.99, 0.995), (0.99,)


@dataclass
class Options:
    """The command line."""

    n: int | None
    rounds: int | None
    server: Path


def minilm(options: Options) -> sets.DataSet:
    """Sentence embeddings."""
    return sets.shared(ROOT, "minilm-384", "cosine", options.n)


def even(options: Options, metric: str = "l2") -> sets.DataSet:
    """Points of 8 dimensions."""
    return sets.uniform(options.n or 100_000, metric)


def search(data: sets.DataSet, classes: list[type[Peer]], options: Options, quantization: str = "none") -> None:
    """Us against some peers."""
    targets = SHORT if data.dimension == sets.UNIFORM_DIMENSION else LONG
    others = [peer(data) for peer in installed(classes)]
    graphs.search(data, Ours(ROOT, data, quantization=quantization), others, targets, options.rounds or 7)


def build(data: sets.DataSet, ef_construction: int, options: Options) -> None:
    """Us against hnswlib of the usual width."""
    others = [peer(data, ef_construction) for peer in installed([Hnswlib])]
    graphs.build(data, lambda own: Ours(ROOT, data, ef_construction=own), others, options.rounds or 3)


def by_hands(data: sets.DataSet, options: Options) -> None:
    """A build on one core and on two."""
    graphs.build_by_hands(data, Ours(ROOT, data), options.rounds or 5)


def poincare(options: Options) -> None:
    """The hyperbolic metric against our own l2 on the same points: nobody else has one."""
    flat = Ours(ROOT, even(options))
    flat.name = "ours, l2"
    rows = [(Ours(ROOT, even(options, "poincare")), even(options, "poincare")), (flat, even(options))]
    graphs.compare_metrics(rows, SHORT[0], options.rounds or 7)


def memory(options: Options) -> None:
    """Many short vectors, and fewer long ones."""
    served.memory("1 000 000 x 8", even(Options(options.n or 1_000_000, None, options.server)).base, options.server)
    served.memory("100 000 x 768", sets.clustered(100_000, 768), options.server)


ROWS = {
    "search-8d": lambda o: search(even(o), [Hnswlib], o),
    "search-384d": lambda o: search(minilm(o), [Hnswlib, FaissFlat, Usearch], o),
    "quantised-384d": lambda o: search(minilm(o), [FaissSq8, GlassSq8], o, "scalar_i8"),
    "poincare-8d": poincare,
    "build-8d": lambda o: build(even(o), 40, o),
    "build-384d": lambda o: build(minilm(o), 100, o),
    "build-hands-8d": lambda o: by_hands(even(o), o),
    "build-hands-384d": lambda o: by_hands(minilm(o), o),
    "ingest": lambda o: served.ingest(even(o), o.server, o.rounds or 3),
    "ingest-sustained": lambda o: served.sustained(sets.uniform(o.n or 1_000_000), o.server),
    "grpc-overhead": lambda o: served.overhead(minilm(o), o.server, o.rounds or 7),
    "restart": lambda o: served.restart(even(o), o.server, o.rounds or 5),
    "memory": memory,
    "storm": lambda o: storm(minilm(o), o.server, o.rounds or 3),
}


def main() -> None:
    """Parses the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("row", choices=ROWS)
    parser.add_argument("--n", type=int, help="how many points")
    parser.add_argument("--rounds", type=int, help="how often everything is measured")
    parser.add_argument("--server", type=Path, default=ROOT / "target" / "release" / "hyperspace-server")
    given = parser.parse_args()
    say(f"{given.row}:")
    ROWS[given.row](Options(given.n, given.rounds, given.server))


if __name__ == "__main__":
    main()
