// Graphs are built in a worker of their own: searches go on, and whatever becomes of it, every point is indexed.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { launch, servePackage, watchErrors } from "./support.mjs";

const MINUTES = 60_000;
const DIMENSION = 64;

/** The package's worker, telling of every worker that it starts. */
const COUNTING = `
import "/dist/worker.js";
const Native = Worker;
const channel = new BroadcastChannel("builders");
globalThis.Worker = function (...given) {
  channel.postMessage(given[1].name);
  return new Native(...given);
};
`;
const FAILING = `${COUNTING}
if (name === "hyperspace-builder") onmessage = () => { throw new Error("out of memory, on purpose"); };
`;

let browser;
let server;

before(async () => {
  server = await servePackage({ "/counting.js": COUNTING, "/failing.js": FAILING });
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
  await page.evaluate(async (dimension) => {
    const { Hyperspace } = await import("/dist/index.js");
    window.started = [];
    new BroadcastChannel("builders").onmessage = ({ data }) => window.started.push(data);
    window.rows = (first, count) => {
      let state = (first * 2654435761 + 12345) >>> 0;
      return Float32Array.from({ length: count * dimension }, () => {
        state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
        return state / 2 ** 32 - 0.5;
      });
    };
    window.open = async (script) => {
      const worker = () => new Worker(script, { type: "module" });
      window.db = await Hyperspace.open("builders", { worker });
      window.points = await window.db.collection("points", { dimension, metric: "l2" });
    };
    window.put = (first, count) => {
      const ids = Array.from({ length: count }, (_, i) => first + i);
      return window.points.upsert({ ids, vectors: window.rows(first, count) });
    };
    /** How many of some points of a batch are the nearest to themselves. */
    window.selfHits = async (first, count, exact) => {
      const rows = window.rows(first, count);
      let hits = 0;
      for (let i = 0; i < count; i += count / 100) {
        const vector = rows.subarray(i * dimension, (i + 1) * dimension);
        const [hit] = await window.points.search({ vector, topK: 1, exact });
        hits += hit.id === first + i ? 1 : 0;
      }
      return hits;
    };
  }, DIMENSION);
  return page;
}

test("a graph is built elsewhere while searches are answered, and is there when the tab comes back", {
  timeout: 4 * MINUTES,
}, async () => {
  const context = await browser.newContext();
  const page = await openPage(context);
  const seen = await page.evaluate(async () => {
    await window.open("/counting.js");
    const progress = [];
    window.db.on("progress", ({ indexed, pending }) => progress.push([indexed, pending]));
    await window.put(0, 8_000);
    let isIndexed = false;
    const indexing = window.points.indexed().then(() => (isIndexed = true));
    let meanwhile = 0;
    // Deleted, written and looked for while the builder is at work.
    await window.points.delete([3]);
    while (!isIndexed) {
      meanwhile += (await window.selfHits(0, 100, false)) > 98 ? 1 : 0;
    }
    await indexing;
    const { indexed, pending, graphInsertions } = await window.points.stats();
    const hits = await window.selfHits(0, 8_000, false);
    const started = window.started;
    await window.db.close();
    return { indexed, pending, graphInsertions, hits, started, meanwhile, progress };
  });
  console.log(`# ${seen.meanwhile} rounds of a hundred searches while the builder was at work`);
  assert.deepEqual(seen.started, ["hyperspace-builder"]);
  assert.deepEqual([seen.indexed, seen.pending, seen.graphInsertions], [7_999, 0, 8_000]);
  assert.ok(seen.meanwhile > 0 && seen.hits === 100, JSON.stringify(seen));
  assert.ok(
    seen.progress.some(([indexed, pending]) => indexed > 0 && pending > 0),
    "there is progress to see",
  );
  assert.deepEqual(page.errors, []);
  await page.close();
  const again = await openPage(context);
  const after = await again.evaluate(async () => {
    await window.open("/counting.js");
    const hits = await window.selfHits(0, 8_000, false);
    const { indexed, graphInsertions } = await window.points.stats();
    return { hits, indexed, graphInsertions, started: window.started.length };
  });
  assert.deepEqual(after, { hits: 100, indexed: 7_999, graphInsertions: 0, started: 0 });
  await context.close();
});

test("a builder that fails is not asked again, and its job is done by the engine", {
  timeout: 4 * MINUTES,
}, async () => {
  const context = await browser.newContext();
  const page = await openPage(context);
  const seen = await page.evaluate(async () => {
    await window.open("/failing.js");
    for (const first of [0, 5_000]) {
      await window.put(first, 5_000);
      await window.points.indexed();
    }
    const { indexed, pending } = await window.points.stats();
    return { indexed, pending, started: window.started.length, hits: await window.selfHits(5_000, 5_000, false) };
  });
  assert.deepEqual(seen, { indexed: 10_000, pending: 0, started: 1, hits: 100 });
  assert.deepEqual(page.errors, []);
  await context.close();
});

test("a tab that closes while its builder works loses nothing", { timeout: 4 * MINUTES }, async () => {
  const context = await browser.newContext();
  const page = await openPage(context);
  await page.evaluate(async () => {
    await window.open("/counting.js");
    await window.put(0, 10_000);
    void window.points.indexed().catch(() => {});
    while (window.started.length === 0) await new Promise((resolve) => setTimeout(resolve, 5));
    await window.db.close();
  });
  assert.deepEqual(page.errors, []);
  const again = await openPage(context);
  const seen = await again.evaluate(async () => {
    await window.open("/counting.js");
    const waiting = (await window.points.stats()).pending;
    const exact = await window.selfHits(0, 10_000, true);
    await window.points.indexed();
    const { indexed, pending } = await window.points.stats();
    return { waiting, exact, indexed, pending, hits: await window.selfHits(0, 10_000, false) };
  });
  assert.deepEqual(seen, { waiting: 10_000, exact: 100, indexed: 10_000, pending: 0, hits: 100 });
  await context.close();
});
