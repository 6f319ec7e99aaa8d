// The npm package in a page without a bundler: durability across a killed tab, errors, the parked indexer.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { launch, servePackage, watchErrors } from "./support.mjs";

const MINUTES = 60_000;
let browser;
let server;

before(async () => {
  server = await servePackage();
  browser = await launch();
});

after(async () => {
  await browser?.close();
  await server?.close();
});

async function openPage(context) {
  const page = await context.newPage();
  page.errors = watchErrors(page);
  await page.goto(server.url);
  await page.evaluate(async () => {
    window.hs = await import("/dist/index.js");
    window.vectorOf = (seed, dimension = 16) => {
      let state = (seed * 2654435761 + 12345) >>> 0;
      return Float32Array.from({ length: dimension }, () => {
        state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
        return state / 2 ** 32 - 0.5;
      });
    };
  });
  return page;
}

test("the tab is killed during ingestion: every acknowledged point is there, whole, and found", {
  timeout: 6 * MINUTES,
}, async () => {
  const context = await browser.newContext();
  let acknowledged = 0;
  for (let round = 0; round < 3; round += 1) {
    const page = await openPage(context);
    let newest = acknowledged;
    await page.exposeFunction("acknowledge", (count) => {
      newest = count;
    });
    await page.evaluate(async (from) => {
      const db = await window.hs.Hyperspace.open("killed");
      const points = await db.collection("points", { dimension: 16, metric: "l2" });
      void (async () => {
        for (let next = from; ; next += 50) {
          const rows = Array.from({ length: 50 }, (_, i) => ({
            id: next + i,
            vector: window.vectorOf(next + i),
            metadata: { n: next + i },
          }));
          await points.upsert(rows);
          await window.acknowledge(next + 50);
        }
      })();
    }, acknowledged);
    const wanted = acknowledged + 1_500 + 700 * round;
    while (newest < wanted) await new Promise((resolve) => setTimeout(resolve, 20));
    const cdp = await context.newCDPSession(page);
    await Promise.race([cdp.send("Page.crash").catch(() => {}), new Promise((resolve) => page.once("crash", resolve))]);
    acknowledged = newest;
    await page.close();
  }
  const page = await openPage(context);
  const report = await page.evaluate(async (count) => {
    const db = await window.hs.Hyperspace.open("killed");
    const points = await db.collection("points");
    const before = await points.stats();
    const missing = [];
    const notFound = [];
    for (let id = 0; id < count; id += 1) {
      const vector = window.vectorOf(id);
      const point = await points.get(id);
      if (point === undefined || point.metadata.n !== id || point.vector.some((x, i) => x !== vector[i]))
        missing.push(id);
      const [hit] = await points.search({ vector, topK: 1, exact: true });
      if (hit?.id !== id || hit.distance !== 0) notFound.push(id);
    }
    await points.indexed();
    let byGraph = 0;
    for (let id = 0; id < count; id += 1) {
      const [hit] = await points.search({ vector: window.vectorOf(id), topK: 1 });
      if (hit?.id === id) byGraph += 1;
    }
    await db.close();
    return { missing, notFound, byGraph, points: before.points, insertions: before.graphInsertions };
  }, acknowledged);
  console.log(`${acknowledged} acknowledged, ${report.points} there, ${report.byGraph} found by the graph`);
  assert.deepEqual(report.missing, [], "every acknowledged point is there as it was written");
  assert.deepEqual(report.notFound, [], "each finds itself in exact mode");
  assert.ok(report.byGraph >= acknowledged * 0.999, `${report.byGraph} of ${acknowledged} by the graph`);
  assert.equal(report.insertions, 0, "opening indexes nothing");
  await context.close();
});

test("with the indexer parked a thousand searches and upserts still finish", { timeout: 3 * MINUTES }, async () => {
  const context = await browser.newContext();
  const page = await openPage(context);
  const result = await page.evaluate(async () => {
    const db = await window.hs.Hyperspace.open("parked");
    const points = await db.collection("points", { dimension: 16, metric: "cosine" });
    await db.pauseIndexing(true);
    const vectors = new Float32Array(5_000 * 16);
    for (let i = 0; i < 5_000; i += 1) vectors.set(window.vectorOf(i), i * 16);
    await points.upsert({ ids: Array.from({ length: 5_000 }, (_, i) => i), vectors });
    let found = 0;
    for (let i = 5_000; i < 6_000; i += 1) {
      await points.upsert([{ id: i, vector: window.vectorOf(i) }]);
      const [hit] = await points.search({ vector: window.vectorOf(i), topK: 1 });
      if (hit.id === i) found += 1;
    }
    const parked = await points.stats();
    await db.pauseIndexing(false);
    await points.indexed();
    const after = await points.stats();
    await db.destroy();
    return {
      found,
      parked: [parked.indexed, parked.pending, parked.graphInsertions],
      after: [after.indexed, after.pending],
    };
  });
  assert.deepEqual(result, { found: 1_000, parked: [0, 6_000, 0], after: [6_000, 0] });
  await context.close();
});

test("bad input is a typed error and loses nothing", { timeout: 2 * MINUTES }, async () => {
  const context = await browser.newContext();
  const page = await openPage(context);
  const codes = await page.evaluate(async () => {
    const { Hyperspace, HyperspaceError } = window.hs;
    const db = await Hyperspace.open("strict");
    const flat = await db.collection("flat", { dimension: 2, metric: "cosine" });
    const ball = await db.collection("ball", { dimension: 2, metric: "poincare" });
    await flat.upsert([{ id: 1, vector: [1, 0], metadata: { lang: "en" } }]);
    const code = (call) =>
      call().then(
        () => "no error",
        (error) => (error instanceof HyperspaceError ? error.code : `foreign: ${error}`),
      );
    const result = {
      dimension: await code(() => flat.upsert([{ id: 2, vector: [1, 2, 3] }])),
      notANumber: await code(() => flat.upsert([{ id: 2, vector: [Number.NaN, 1] }])),
      zero: await code(() => flat.upsert([{ id: 2, vector: [0, 0] }])),
      outside: await code(() => ball.upsert([{ id: 2, vector: Float64Array.of(0.8, 0.6) }])),
      emptyId: await code(() => flat.upsert([{ id: "", vector: [1, 2] }])),
      longId: await code(() => flat.upsert([{ id: "x".repeat(129), vector: [1, 2] }])),
      fractionId: await code(() => flat.upsert([{ id: 1.5, vector: [1, 2] }])),
      negativeId: await code(() => flat.upsert([{ id: -1, vector: [1, 2] }])),
      hugeK: await code(() => flat.search({ vector: [1, 2], topK: 2 ** 31 })),
      zeroK: await code(() => flat.search({ vector: [1, 2], topK: 0 })),
      operator: await code(() => flat.search({ vector: [1, 2], filter: { lang: { $regex: "e" } } })),
      otherMetric: await code(() => db.collection("flat", { dimension: 2, metric: "l2" })),
      unknown: await code(() => db.collection("nothing")),
      quantized: await code(() => db.collection("flat", { dimension: 2, metric: "cosine", quantization: "scalar_i8" })),
      name: await code(() => db.collection("Not A Name", { dimension: 2, metric: "l2" })),
    };
    const left = await flat.count();
    await db.close();
    const closed = await code(() => flat.count());
    return { ...result, left, closed };
  });
  assert.deepEqual(codes, {
    dimension: "invalid_argument",
    notANumber: "invalid_argument",
    zero: "invalid_argument",
    outside: "invalid_argument",
    emptyId: "invalid_argument",
    longId: "invalid_argument",
    fractionId: "invalid_argument",
    negativeId: "invalid_argument",
    hugeK: "limit_exceeded",
    zeroK: "invalid_argument",
    operator: "invalid_argument",
    otherMetric: "already_exists",
    unknown: "not_found",
    quantized: "unsupported",
    name: "invalid_argument",
    left: 1,
    closed: "closed",
  });
  await context.close();
});

test("graphs over codes survive a reload: nothing is encoded or linked again, and the same is found", {
  timeout: 2 * MINUTES,
}, async () => {
  const context = await browser.newContext();
  const page = await openPage(context);
  const look = (isFirst) =>
    page.evaluate(async (isFirst) => {
      const { Hyperspace } = await import("/dist/index.js");
      const db = await Hyperspace.open("coded");
      const [dimension, points] = [24, 2000];
      const options = { dimension, metric: "cosine", quantization: "scalar_i8" };
      const notes = await (isFirst ? db.collection("notes", options) : db.collection("notes"));
      const vectors = Float32Array.from({ length: points * dimension }, (_, at) => Math.sin(at * at));
      if (isFirst) {
        await notes.upsert({ ids: Array.from({ length: points }, (_, id) => id), vectors });
        await notes.indexed();
        await db.flush();
      }
      const hits = [];
      for (let id = 0; id < points; id += 100) {
        hits.push(await notes.search({ vector: vectors.subarray(id * dimension, (id + 1) * dimension) }));
      }
      const { quantization, coded, bytesPerVector, graphInsertions, distances } = await notes.stats();
      if (!isFirst) await db.destroy();
      return { hits, stats: { quantization, coded, bytesPerVector, distances }, graphInsertions };
    }, isFirst);
  const before = await look(true);
  await page.reload();
  const seen = await look(false);
  assert.deepEqual([before.graphInsertions, seen.graphInsertions], [2000, 0]);
  assert.deepEqual(
    [before.stats.quantization, before.stats.coded, before.stats.bytesPerVector],
    ["scalar_i8", 2000, 28],
  );
  for (const [at, [first]] of before.hits.entries()) assert.equal(first.id, 100 * at);
  assert.deepEqual([seen.hits, seen.stats], [before.hits, before.stats]);
  await context.close();
});

test("everything survives a reload: ids of every kind, metadata, deletes, filters", {
  timeout: 2 * MINUTES,
}, async () => {
  const context = await browser.newContext();
  const page = await openPage(context);
  await page.evaluate(async () => {
    const db = await window.hs.Hyperspace.open("kept");
    const notes = await db.collection("notes", { dimension: 2, metric: "l2" });
    const { ids } = await notes.upsert([{ vector: [0, 0], metadata: { made: true } }]);
    localStorage.setItem("made", ids[0]);
    await notes.upsert([
      { id: 7, vector: [1, 0], metadata: { n: 1, tags: ["a", "b"], deep: { big: 2n ** 63n } } },
      { id: 2n ** 64n - 1n, vector: [2, 0], metadata: { n: 2.5 } },
      { id: "seven", vector: [3, 0] },
      { id: "gone", vector: [4, 0] },
    ]);
    await notes.delete("gone");
    await notes.upsert([{ id: 7, vector: [1, 1], metadata: { n: 3, tags: ["a", "c"], deep: { big: 2n ** 63n } } }]);
    await notes.indexed();
    await notes.upsert([{ id: "late", vector: [9, 9], metadata: { n: 9 } }]);
    await db.flush();
  });
  await page.reload();
  const seen = await page.evaluate(async () => {
    const { Hyperspace } = await import("/dist/index.js");
    const db = await Hyperspace.open("kept");
    const notes = await db.collection("notes");
    const plain = (value) => JSON.parse(JSON.stringify(value, (_, x) => (typeof x === "bigint" ? `${x}n` : x)));
    const hits = await notes.search({ vector: [0, 0], topK: 10 });
    const seven = await notes.get(7);
    const result = {
      ids: hits.map((hit) => (hit.id === localStorage.getItem("made") ? "made" : plain(hit.id))),
      first: hits[0].distance,
      seven: [plain(seven.metadata), [...seven.vector]],
      filtered: (await notes.search({ vector: [0, 0], filter: { tags: "c", n: { $gte: 2 } } })).map((hit) => hit.id),
      count: await notes.count({ n: { $exists: true } }),
      gone: (await notes.get("gone")) === undefined,
      insertions: (await notes.stats()).graphInsertions,
    };
    await db.destroy();
    return result;
  });
  assert.deepEqual(seen, {
    ids: ["made", 7, "18446744073709551615n", "seven", "late"],
    first: 0,
    seven: [{ n: 3, tags: ["a", "c"], deep: { big: "9223372036854775808n" } }, [1, 1]],
    filtered: [7],
    count: 3,
    gone: true,
    insertions: 0,
  });
  await context.close();
});
