// The server and the tab open each other's segments: what one of them sealed the other serves, with the same answers.
// All of it through what users have: the server's files, its command line, and the npm package.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { promisify } from "node:util";
import { EmbeddedHyperspace } from "hyperspace-db/engine";
import { CLI, startServer } from "../../scripts/server.mjs";
import { readImage } from "./image.mjs";
import { writeNpy } from "./npy.mjs";
import { assertAlike, assertNearest, K, makeSet, recall } from "./sets.mjs";

const MINUTES = 60_000;
/** Candidates a walk keeps: few, or any two graphs of so few points would find the same. */
const EF = 26;
/** Processes of the command line at once. */
const AT_ONCE = 4;
const LANGUAGES = ["en", "de", "tr", "日本語"];

const SETS = [
  {
    name: "words",
    metric: "l2",
    dimension: 12,
    points: 3000,
    queries: 100,
    seed: 1,
    idOf: (at) => `word ${at} ü`,
    metadataOf: (at) => ({
      lang: LANGUAGES[at % 4],
      n: at,
      half: at + 0.5,
      big: 2n ** 63n + BigInt(at) * 4096n,
      tags: ["a", null, at % 2 === 0],
      deep: { path: { ok: true } },
    }),
  },
  { name: "units", metric: "cosine", dimension: 24, points: 3000, queries: 100, seed: 2, idOf: (at) => at },
  { name: "tree", metric: "poincare", dimension: 5, points: 2500, queries: 100, seed: 3, idOf: (at) => at },
  ...[
    { name: "coded-l2", metric: "l2", dimension: 24, seed: 4 },
    { name: "coded-cosine", metric: "cosine", dimension: 31, seed: 5 },
    { name: "coded-dot", metric: "dot", dimension: 16, seed: 6 },
    // Farther out full rows are kept.
    { name: "coded-tree", metric: "poincare", dimension: 5, seed: 7, rims: [0.5, 1e-2, 1e-4] },
  ].map((set) => ({ ...set, quantization: "scalar_i8", points: 2500, queries: 60, idOf: (at) => at })),
];

let folder;

before(() => {
  folder = mkdtempSync(join(tmpdir(), "hyperspace-twins-"));
});

after(() => rmSync(folder, { recursive: true, force: true }));

/** Starts a server that does not outlive its test. */
async function serve(test, data) {
  const server = await startServer(data);
  test.after(() => server.kill());
  return server;
}

/** Runs the command line and reads its answer. */
async function cli(server, ...words) {
  const { stdout } = await promisify(execFile)(CLI, ["--server", server.url, "--json", ...words]);
  return JSON.parse(stdout);
}

/** Writes points to a collection, which is made when it is not there: matrices for numbered points, else lines. */
async function importPoints(server, { name, metric, dimension, quantization }, points, file) {
  const isNumbered = [...points.keys()].every((id, at) => id === at);
  const path = join(folder, isNumbered ? `${file}.npy` : `${file}.jsonl`);
  if (isNumbered) {
    const values = [...points.values()].flatMap(({ vector }) => vector);
    const Floats = metric === "poincare" ? Float64Array : Float32Array;
    writeNpy(path, { rows: points.size, columns: dimension, values: Floats.from(values) });
  } else {
    const marked = (value) => JSON.stringify(value, (_, x) => (typeof x === "bigint" ? `bigint ${x}` : x));
    const lines = [...points].map(([id, point]) => `${marked({ id, ...point })}\n`);
    writeFileSync(path, lines.join("").replace(/"bigint (\d+)"/g, "$1"));
  }
  const made = ["--collection", name, "--metric", metric, "--quantization", quantization];
  const report = await cli(server, "import", path, ...made, "--wait");
  assert.equal(report.rows, points.size);
}

/** What a side answers to every query of a set, in exact mode and by the graph. */
async function answers(set, search, atOnce) {
  const found = set.queries.map(() => ({}));
  const waiting = set.queries.flatMap((_, at) => [
    [at, true],
    [at, false],
  ]);
  const ask = async () => {
    for (let next = waiting.pop(); next; next = waiting.pop()) {
      const [at, exact] = next;
      found[at][exact ? "exact" : "graph"] = await search(at, exact);
    }
  };
  await Promise.all(Array.from({ length: atOnce }, ask));
  return found;
}

function serverAnswers(server, set) {
  const rows = join(folder, `${set.name}.queries.npy`);
  const values = Float64Array.from(set.queries.flat());
  writeNpy(rows, { rows: set.queries.length, columns: set.dimension, values });
  const search = async (at, exact) => {
    const words = ["search", set.name, "--vector-file", rows, "--row", `${at}`, "--top-k", `${K}`];
    const { hits, distances } = await cli(server, ...words, ...(exact ? ["--exact"] : ["--ef", `${EF}`]));
    assert.ok(exact || distances < set.points.size / 2, `${distances} distances are no walk`);
    return hits;
  };
  return answers(set, search, AT_ONCE);
}

function tabAnswers(collection, set) {
  return answers(set, (at, exact) => collection.search({ vector: set.queries[at], topK: K, exact, efSearch: EF }), 1);
}

/**
 * Both sides found the true nearest in exact mode, and by the graph equally many of them. Keys of codes are sums of integers,
 * which no order of adding changes: over codes both walk the same way, and find the same.
 */
function assertTwins(set, server, tab) {
  set.queries.forEach((query, at) => {
    const what = `${set.name}: query ${at}`;
    assertNearest(set, server[at].exact, query, `${what} on the server`);
    assertNearest(set, tab[at].exact, query, `${what} in the tab`);
    assertAlike(server[at].exact, tab[at].exact, what);
    if (set.quantization === "none") return;
    const found = ({ graph }) => graph.map(({ id, distance }) => [id, distance]);
    assert.deepEqual(found(tab[at]), found(server[at]), what);
  });
  const [served, embedded] = [recall(server), recall(tab)];
  console.log(`${set.name}: recall@${K} ${served.toFixed(4)} on the server, ${embedded.toFixed(4)} in the tab`);
  assert.ok(Math.min(served, embedded) >= 0.95, `${set.name}: recall ${served} and ${embedded}`);
  assert.ok(Math.abs(served - embedded) <= 0.001, `${set.name}: recall ${served} and ${embedded}`);
}

async function folderOf(server, data, name) {
  return join(data, "spaces", (await cli(server, "collections", "get", name)).id);
}

async function statsOf(server, name) {
  return (await cli(server, "stats")).collections.find((collection) => collection.name === name);
}

test("what the server sealed the tab serves without indexing anything", { timeout: 5 * MINUTES }, async (test) => {
  const data = join(folder, "sealed-by-server");
  const sets = SETS.map(makeSet);
  const server = await serve(test, data);
  const served = new Map();
  for (const set of sets) {
    await importPoints(server, set, set.points, set.name);
    if (set.name === "words") {
      const again = [...set.points].slice(0, 200).map(([id, { metadata }], at) => {
        return [id, { vector: set.points.get(`word ${2000 + at} ü`).vector.map((x) => -x), metadata }];
      });
      for (const [id, point] of again) set.points.set(id, point);
      await importPoints(server, set, new Map(again), "words-again");
    }
    // What is small waits unsealed, for as long as nobody asks.
    await cli(server, "vacuum", set.name);
    const { points, pending, dead } = await statsOf(server, set.name);
    assert.deepEqual([points, pending, dead], [set.points.size, 0, 0]);
    served.set(set, [await serverAnswers(server, set), await folderOf(server, data, set.name)]);
  }
  await server.stop();

  const tab = await EmbeddedHyperspace.open("twins");
  for (const [set, [answered, space]] of served) {
    await tab.importCollection(set.name, readImage(space));
    const collection = await tab.collection(set.name);
    assertTwins(set, answered, await tabAnswers(collection, set));
    const { indexed, pending, graphInsertions, quantization, coded } = await collection.stats();
    assert.deepEqual([indexed, pending, graphInsertions], [set.points.size, 0, 0]);
    assert.deepEqual([quantization, coded], [set.quantization, set.quantization === "none" ? 0 : set.points.size]);
  }
  await tab.close();
});

test("what the tab sealed the server serves, and writes to, and serves after a restart", {
  timeout: 5 * MINUTES,
}, async (test) => {
  const data = join(folder, "sealed-by-tab");
  const sets = SETS.map(makeSet);
  const tab = await EmbeddedHyperspace.open("twins");
  let server = await serve(test, data);
  const spaces = new Map();
  for (const { name, dimension, metric, quantization } of sets) {
    const shape = ["--dimension", `${dimension}`, "--metric", metric, "--quantization", quantization];
    await cli(server, "collections", "create", name, ...shape);
    spaces.set(name, await folderOf(server, data, name));
  }
  await server.stop();

  const answered = new Map();
  const gone = new Map();
  for (const set of sets) {
    const { name, dimension, metric, quantization } = set;
    const collection = await tab.collection(name, { dimension, metric, quantization });
    const columns = [...set.points.values()];
    await collection.upsert({
      ids: [...set.points.keys()],
      vectors: Float64Array.from(columns.flatMap(({ vector }) => vector)),
      metadata: columns.map(({ metadata }) => metadata),
    });
    await collection.indexed();
    const ids = [...set.points.keys()].filter((_, at) => at % 10 === 0);
    // Some deletes are sealed as tombstones, the others are bits in the manifest only.
    for (const some of [ids.slice(0, 50), ids.slice(50)]) {
      await collection.delete(some);
      if (some.length === 50) await collection.indexed();
    }
    gone.set(set, ids);
    for (const id of ids) set.points.delete(id);
    answered.set(set, await tabAnswers(collection, set));
    const { manifest, segments } = await tab.exportCollection(set.name);
    const space = spaces.get(set.name);
    writeFileSync(join(space, "manifest"), manifest);
    for (const { id, bytes } of segments) writeFileSync(join(space, id), bytes);
  }
  await tab.close();

  server = await serve(test, data);
  for (const set of sets) {
    const { points, pending, graph_insertions, coded } = await statsOf(server, set.name);
    assert.deepEqual([points, pending, graph_insertions], [set.points.size, 0, 0]);
    assert.equal(coded, set.quantization === "none" ? 0 : set.points.size);
    assertTwins(set, await serverAnswers(server, set), answered.get(set));

    // New points, points with new vectors, and a deleted one that comes back.
    const fresh = Array.from({ length: 40 }, (_, at) => (set.name === "words" ? `fresh ${at}` : 1_000_000 + at));
    const known = [...set.points.keys()].slice(0, 40);
    const [returned, ...still] = gone.get(set);
    const ids = [returned, ...fresh, ...known];
    const written = new Map(set.more(ids.length).map((vector, at) => [ids[at], { vector, metadata: { at } }]));
    await importPoints(server, set, written, `${set.name}-more`);
    for (const [id, point] of written) set.points.set(id, point);
    gone.set(set, still);
  }
  for (const round of ["written to", "opened again", "vacuumed"]) {
    if (round === "opened again") {
      await server.stop();
      server = await serve(test, data);
    }
    if (round === "vacuumed") await cli(server, "vacuum");
    for (const set of sets) {
      const found = await serverAnswers(server, set);
      set.queries.forEach((query, at) => {
        assertNearest(set, found[at].exact, query, `${set.name}, ${round}: query ${at}`);
      });
      const share = recall(found);
      assert.ok(share >= 0.95, `${set.name}, ${round}: recall ${share}`);
      assert.equal((await statsOf(server, set.name)).points, set.points.size);
      for (const id of gone.get(set).filter((_, at) => at % 25 === 0)) {
        const asked = cli(server, "search", set.name, "--id", `${id}`);
        await assert.rejects(asked, /not_found/, `${set.name}, ${round}: ${id} is deleted`);
      }
    }
  }
  await server.stop();
});
