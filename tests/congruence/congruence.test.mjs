// The wasm build gives what the native build gives. It builds two collections of real vectors itself, and opens the
// others as the native tests of this run sealed them (in the folder that HS_CONGRUENCE names).

import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { EmbeddedHyperspace } from "hyperspace-db/engine";
import { readNpy, row, uniform } from "./npy.mjs";

const DATA = process.env.HS_DATA ?? fileURLToPath(new URL("../../../shared/data", import.meta.url));
const SEALED = process.env.HS_CONGRUENCE;
const MINUTES = 60_000;
const K = 10;

/** Base, queries and true distances of a set, as the native tests read them. */
function readSet(name, metric) {
  const file = (...path) => join(DATA, name, ...path);
  const kind = name === "poincare-5-mammals" ? "poincare.self" : metric;
  const truth = existsSync(file(`gt.${kind}.dist.npy`)) ? readNpy(file(`gt.${kind}.dist.npy`)) : undefined;
  if (name === "uniform-8") {
    const scale = metric === "poincare" ? 0.35 : 1;
    return { base: uniform(0, 100_000, scale), queries: uniform(100_000, 1_000, scale), truth };
  }
  const base = readNpy(existsSync(file("base.npy")) ? file("base.npy") : file("base.npy.gz"));
  return { base, queries: name === "poincare-5-mammals" ? base : readNpy(file("queries.npy")), truth };
}

function asGiven(metric, vector) {
  return metric === "poincare" ? Float64Array.from(vector) : Float32Array.from(vector);
}

function trueDistance(metric, q, v) {
  let dot = 0;
  let square = 0;
  let qq = 0;
  let vv = 0;
  for (let i = 0; i < q.length; i += 1) {
    dot += q[i] * v[i];
    square += (q[i] - v[i]) ** 2;
    qq += q[i] * q[i];
    vv += v[i] * v[i];
  }
  if (metric === "l2") return Math.sqrt(square);
  if (metric === "cosine") return 1 - dot / Math.sqrt(qq * vv);
  if (metric === "dot") return -dot;
  return Math.acosh(1 + (2 * square) / ((1 - qq) * (1 - vv)));
}

/** Recall of the graph over all queries, and of exact mode (with its distances) over a fifth of them. */
async function measure(name, metric, collection) {
  const set = readSet(name, metric);
  const before = await collection.stats();
  let found = 0;
  let wanted = 0;
  for (let at = 0; at < set.queries.rows; at += 1) {
    const query = row(set.queries, at);
    const vector = asGiven(metric, query);
    const isSample = at % 5 === 0 || set.truth === undefined;
    if (set.truth === undefined && at % 5 !== 0) continue;
    const exact = isSample ? await collection.search({ vector, topK: K, exact: true }) : [];
    const truth = set.truth ? row(set.truth, at) : exact.map((hit) => hit.distance);
    const limit = truth[K - 1] + Math.abs(truth[K - 1]) * 1e-9;
    const isRight = (hit) => trueDistance(metric, query, row(set.base, hit.id)) <= limit + (set.truth ? 0 : 1e-9);
    const hits = await collection.search({ vector, topK: K });
    found += hits.filter(isRight).length;
    wanted += K;
    if (!isSample) continue;
    assert.equal(
      exact.filter(isRight).length,
      K,
      `${name} ${metric}: exact mode finds the true nearest of query ${at}`,
    );
    exact.forEach((hit, i) => {
      const bound = 1e-5 * Math.max(1, Math.abs(truth[i]));
      assert.ok(Math.abs(hit.distance - truth[i]) <= bound, `${name}: query ${at}: ${hit.distance}, truth ${truth[i]}`);
    });
  }
  const recall = found / wanted;
  const { graphInsertions } = await collection.stats();
  console.log(`wasm ${name} ${metric}: recall@10 ${recall.toFixed(4)}`);
  assert.ok(recall >= 0.95, `${name} ${metric}: recall ${recall}`);
  assert.equal(graphInsertions, before.graphInsertions, "searching indexes nothing");
  return recall;
}

/** Of an even sample of stored points, all are found first by exact mode, and by the graph all but one in a thousand. */
async function assertSelfHits(name, metric, collection) {
  const { base } = readSet(name, metric);
  const isFound = async (at, exact) => {
    const hits = await collection.search({ vector: asGiven(metric, row(base, at)), topK: K, exact });
    // Copies of a point are as near as the point itself.
    return hits.some(({ id, distance }) => id === at && distance <= hits[0].distance);
  };
  let [asked, found] = [0, 0];
  for (let at = 0; at < base.rows; at += 10) {
    if (at % 250 === 0) assert.ok(await isFound(at, true), `${name}: exact mode finds point ${at}`);
    asked += 1;
    found += await isFound(at, false);
  }
  console.log(`wasm ${name} ${metric}: ${found} of ${asked} points find themselves`);
  assert.ok(found >= 0.999 * asked, `${name}: ${found} of ${asked}`);
}

for (const [name, metric] of [
  ["minilm-384", "cosine"],
  ["poincare-10", "poincare"],
]) {
  const skip = !existsSync(join(DATA, name)) && `no data set ${name}: set HS_DATA to the folder that holds it`;
  test(`wasm builds ${name} by ${metric} itself, over full rows and over codes`, {
    skip,
    timeout: 15 * MINUTES,
  }, async () => {
    const full = await build(name, metric, "none");
    const coded = await build(name, metric, "scalar_i8");
    assert.ok(coded >= full - 0.01, `${name} ${metric}: recall ${coded} on codes, ${full} on full rows`);
  });
}

/** Builds a set and measures it; answers its recall. */
async function build(name, metric, quantization) {
  const { base } = readSet(name, metric);
  const db = await EmbeddedHyperspace.open("congruence");
  const collection = await db.collection("set", { dimension: base.columns, metric, quantization });
  await db.pauseIndexing(true);
  const began = Date.now();
  for (let first = 0; first < base.rows; first += 10_000) {
    const values = base.values.subarray(first * base.columns, (first + 10_000) * base.columns);
    await collection.upsert({
      ids: Array.from({ length: values.length / base.columns }, (_, i) => first + i),
      vectors: asGiven(metric, values),
    });
  }
  await db.pauseIndexing(false);
  await collection.indexed();
  const took = ((Date.now() - began) / 1000).toFixed(1);
  console.log(`wasm built ${base.rows} x ${base.columns} with quantization ${quantization} in ${took} s`);
  const { points, coded } = await collection.stats();
  assert.equal(coded, quantization === "none" ? 0 : points);
  const recall = await measure(name, metric, collection);
  await assertSelfHits(name, metric, collection);
  await db.close();
  return recall;
}

const sealed = SEALED && existsSync(SEALED) ? readdirSync(SEALED).sort() : [];

test("the native build sealed sets for this run", {
  skip: sealed.length === 0 && "HS_CONGRUENCE names no folder with sets",
}, () => {
  assert.ok(sealed.length >= 11, `${sealed.length} sets: ${sealed.join(", ")}`);
});

for (const entry of sealed) {
  const [, name, metric] = /^(.+)\.(\w+)$/.exec(entry);
  test(`wasm opens ${name} by ${metric} as the native build sealed it`, { timeout: 10 * MINUTES }, async () => {
    const folder = join(SEALED, entry);
    const segments = readdirSync(folder).filter((file) => file.endsWith(".segment"));
    const db = await EmbeddedHyperspace.open("congruence");
    await db.importCollection("set", {
      manifest: readFileSync(join(folder, "manifest")),
      segments: segments.map((file) => ({ id: file.slice(0, -8), bytes: readFileSync(join(folder, file)) })),
    });
    const collection = await db.collection("set");
    await measure(name, metric, collection);
    assert.equal((await collection.stats()).graphInsertions, 0, "nothing was indexed again");
    await db.close();
  });
}
