// Archives cross between the tab and the server, both ways and back again, bit for bit.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { promisify } from "node:util";
import { EmbeddedHyperspace } from "hyperspace-db/engine";
import { CLI, startServer } from "../../scripts/server.mjs";

const MINUTES = 60_000;
const METRICS = ["l2", "cosine", "dot", "poincare"];
const DIMENSION = 5;
const POINTS = 1200;

let folder;

before(() => {
  folder = mkdtempSync(join(tmpdir(), "hyperspace-archives-"));
});

after(() => rmSync(folder, { recursive: true, force: true }));

async function cli(server, ...words) {
  const { stdout } = await promisify(execFile)(CLI, ["--server", server.url, "--json", ...words]);
  return JSON.parse(stdout);
}

/** Numbers in [-1, 1) from a seed. */
function numbers(seed) {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 31 - 1;
  };
}

/** A vector of a metric; those of `poincare` come as near to the rim as doubles do. */
function vectorOf(metric, at, next) {
  const vector = Array.from({ length: DIMENSION }, next);
  if (metric !== "poincare") return vector;
  const radius = 1 - 10 ** (-(at % 31) / 2);
  const norm = Math.hypot(...vector);
  return vector.map((x) => (x / norm) * radius);
}

const idOf = (at) => (at === 1 ? 2n ** 64n - 1n : at % 3 === 0 ? `punkt ${at} ü` : at);

/** Collections of all metrics with sealed, waiting, rewritten and deleted points, and one without any. */
async function fill(db) {
  for (const [seed, metric] of METRICS.entries()) {
    const quantization = seed % 2 === 0 ? "none" : "scalar_i8";
    const collection = await db.collection(metric, { dimension: DIMENSION, metric, efSearch: 99, quantization });
    const next = numbers(seed + 1);
    for (const [from, to] of [
      [0, POINTS - 100],
      [50, 80],
      [POINTS - 100, POINTS],
    ]) {
      const ats = Array.from({ length: to - from }, (_, i) => from + i);
      await collection.upsert({
        ids: ats.map(idOf),
        vectors: Float64Array.from(ats.flatMap((at) => vectorOf(metric, at, next))),
        metadata: ats.map((at) =>
          at % 5 === 0 ? null : { at, big: 2n ** 63n + BigInt(at), low: -(2n ** 63n), x: 0.1, deep: [{ "a.b": "ü" }] },
        ),
      });
      if (from === 0) await collection.indexed();
    }
    await collection.delete(Array.from({ length: 60 }, (_, i) => idOf(200 + i)));
  }
  await db.collection("empty", { dimension: 4096, metric: "l2" });
}

/** Every point, and what searches find with the bits of the distances. */
async function answers(db) {
  const found = [];
  for (const [seed, metric] of METRICS.entries()) {
    const collection = await db.collection(metric);
    found.push(await collection.get(Array.from({ length: POINTS }, (_, at) => idOf(at))));
    const next = numbers(seed + 100);
    for (let at = 0; at < 40; at++) {
      const query = { vector: Float64Array.from(vectorOf(metric, at, next)), topK: 20, exact: true };
      found.push(await collection.search(query));
    }
    const { points, efSearch, quantization } = await collection.stats();
    found.push([points, efSearch, quantization]);
  }
  return [found, await db.collections()];
}

test("an archive goes from the tab to the server and back, and nothing has changed", {
  timeout: 5 * MINUTES,
}, async (test) => {
  const tab = await EmbeddedHyperspace.open("archives");
  await fill(tab);
  const there = join(folder, "there.hyperspace");
  writeFileSync(there, Buffer.from(await (await tab.export()).arrayBuffer()));

  const server = await startServer(join(folder, "data"));
  test.after(() => server.kill());
  const report = await cli(server, "import", there, "--wait");
  assert.equal(report.rows, METRICS.length * (POINTS - 60));
  const { collections } = await cli(server, "collections");
  assert.deepEqual(
    collections.map(({ name, points }) => [name, points]),
    [
      ["cosine", POINTS - 60],
      ["dot", POINTS - 60],
      ["empty", 0],
      ["l2", POINTS - 60],
      ["poincare", POINTS - 60],
    ],
  );
  const back = join(folder, "back.hyperspace");
  assert.equal((await cli(server, "export", back)).points, report.rows);
  await server.stop();

  const other = await EmbeddedHyperspace.open("archives");
  await other.import(new Blob([readFileSync(back)]));
  assert.deepEqual(await answers(other), await answers(tab));
  await Promise.all([tab.close(), other.close()]);
});
