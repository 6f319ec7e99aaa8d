// A device that has nothing takes a server's segments as they are, in Node: what is asked, what is built (nothing), and what
// becomes of it when pieces are lost or wrong.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { promisify } from "node:util";
import { EmbeddedHyperspace } from "hyperspace-db/engine";
import { CLI } from "../../scripts/server.mjs";
import { writeNpy } from "./npy.mjs";
import { proxied } from "./proxied.mjs";

const MINUTES = 60_000;
const POINTS = 12_000;
const DIMENSION = 128;
/** Bytes of a piece, and what is verified at once. */
const PIECE = 4 << 20;
const UNIT = 256 << 10;
let folder;
let file;

before(() => {
  folder = mkdtempSync(join(tmpdir(), "hyperspace-segments-"));
  file = join(folder, "points.npy");
  const values = Float32Array.from({ length: POINTS * DIMENSION }, (_, at) => Math.sin(at * at) + Math.sin(at % 971));
  writeNpy(file, { rows: POINTS, columns: DIMENSION, values });
});

after(() => rmSync(folder, { recursive: true, force: true }));

const cli = async (world, ...words) => (await promisify(execFile)(CLI, ["--server", world.direct, ...words])).stdout;

/** A server whose collection `points` is in one segment. */
async function filled(context, quantization = "none") {
  const world = await proxied(context, folder);
  const shape = ["--metric", "l2", "--quantization", quantization];
  await cli(world, "import", file, "--collection", "points", ...shape, "--restart", "--wait");
  await cli(world, "vacuum", "points");
  return world;
}

/** The segments that are in the server's files, by name. */
function stored({ data }) {
  const files = readdirSync(data, { recursive: true, withFileTypes: true });
  const segments = files.filter((entry) => entry.isFile() && /^[0-9a-f]{64}/.test(entry.name));
  return new Map(segments.map(({ name, parentPath }) => [name.slice(0, 64), readFileSync(join(parentPath, name))]));
}

/** A device that has everything, and what it has told. */
async function caughtUp(context, url) {
  const db = await EmbeddedHyperspace.open("device");
  context.after(() => db.close());
  const failures = [];
  db.on("error", ({ code }) => failures.push(code));
  const sync = await db.sync({ url });
  await sync.caughtUp();
  const points = await db.collection("points");
  return { db, sync, points, failures, stats: await points.stats() };
}

const query = () => Array.from({ length: DIMENSION }, (_, at) => Math.cos(at));

test("a device that has nothing takes the server's segments, and builds nothing", {
  timeout: 2 * MINUTES,
}, async (context) => {
  const world = await filled(context);
  const { db, points, stats } = await caughtUp(context, world.url);
  assert.deepEqual([stats.points, stats.indexed, stats.graphInsertions], [POINTS, POINTS, 0]);
  const { segments } = await db.exportCollection("points");
  const theirs = stored(world);
  assert.deepEqual(segments.map(({ id }) => id).sort(), [...theirs.keys()].sort());
  // Byte for byte: so every list of neighbours is the server's.
  for (const { id, bytes } of segments) assert.ok(Buffer.from(bytes).equals(theirs.get(id)), `segment ${id}`);
  assert.equal((await points.search({ vector: query(), topK: 10 })).length, 10);
  const size = [...theirs.values()].reduce((sum, bytes) => sum + bytes.length, 0);
  assert.equal(world.ranges.length, Math.ceil(size / PIECE), "each piece was asked for once");
});

test("segments over codes are taken as they are, and walked on their codes as the server walks them", {
  timeout: 2 * MINUTES,
}, async (context) => {
  const world = await filled(context, "scalar_i8");
  const { db, points, stats } = await caughtUp(context, world.url);
  const { quantization, coded, bytesPerVector, graphInsertions } = stats;
  assert.deepEqual([quantization, coded, bytesPerVector, graphInsertions], ["scalar_i8", POINTS, DIMENSION + 8, 0]);
  const { segments } = await db.exportCollection("points");
  const theirs = stored(world);
  for (const { id, bytes } of segments) assert.ok(Buffer.from(bytes).equals(theirs.get(id)), `segment ${id}`);
  const before = (await points.stats()).distances;
  const hits = await points.search({ vector: query(), topK: 10, withMetadata: false });
  const asked = ["search", "points", "--json", "--vector", query().join(), "--top-k", "10"];
  const told = JSON.parse(await cli(world, ...asked));
  assert.deepEqual(
    hits,
    told.hits.map(({ id, distance }) => ({ id, distance })),
  );
  assert.equal((await points.stats()).distances - before, told.distances, "the same walk");
});

test("what was written here before stands against the segments where it is newer, and is sent", {
  timeout: 2 * MINUTES,
}, async (context) => {
  const world = await filled(context);
  const db = await EmbeddedHyperspace.open("device");
  context.after(() => db.close());
  const points = await db.collection("points", { dimension: DIMENSION, metric: "l2" });
  await points.upsert([5, POINTS + 1].map((id) => ({ id, vector: query(), metadata: { own: true } })));
  const sync = await db.sync({ url: world.url });
  await sync.caughtUp();
  assert.deepEqual([await points.count(), (await points.stats()).graphInsertions], [POINTS + 1, 0]);
  const other = await caughtUp(context, world.direct);
  for (const here of [points, other.points]) {
    const hits = await here.search({ vector: query(), topK: 3, filter: { own: true } });
    assert.deepEqual(
      hits.map(({ id }) => id),
      [5, POINTS + 1],
    );
  }
});

test("a piece that was lost is asked for again, and none that came", { timeout: 2 * MINUTES }, async (context) => {
  const world = await filled(context);
  world.lost = "Segment";
  const { stats } = await caughtUp(context, world.url);
  assert.deepEqual([stats.points, stats.graphInsertions, world.lost], [POINTS, 0, ""]);
  const [first, again, ...others] = world.ranges;
  assert.deepEqual([first, again], [`bytes=0-${PIECE - 1}`, first]);
  assert.equal(new Set(others).size, others.length);
});

test("what is wrong of a piece is asked for again, from there on", { timeout: 2 * MINUTES }, async (context) => {
  const world = await filled(context);
  const wrong = 3 * UNIT + 7;
  world.change = (body) => {
    if (world.ranges.length === 1) body[wrong] ^= 1;
    return body;
  };
  const { stats, failures } = await caughtUp(context, world.url);
  assert.deepEqual([stats.points, stats.graphInsertions, failures], [POINTS, 0, []]);
  assert.match(world.ranges[1], new RegExp(`^bytes=${3 * UNIT}-`));
});

test("a segment that is always wrong is given up, that is told, and everything comes as rows", {
  timeout: 2 * MINUTES,
}, async (context) => {
  const world = await filled(context);
  world.change = (body) => body.fill(7);
  const { points, failures, stats } = await caughtUp(context, world.url);
  assert.deepEqual([stats.points, failures, world.ranges.length], [POINTS, ["corrupted"], 3]);
  assert.equal((await points.search({ vector: query(), topK: 1, exact: true })).length, 1);
});
