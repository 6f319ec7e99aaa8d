// The demo as a visitor meets it, in a real Chromium: fill, search, stop the server, reload, search again.

import assert from "node:assert/strict";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { hasModel, launch, root, serveFolder, until, watchErrors } from "./support.mjs";

const SHOTS = join(root, "target", "test-results");
const MINUTES = 60_000;

let browser;
let server;
let context;
let page;
let errors;

before(async () => {
  mkdirSync(SHOTS, { recursive: true });
  server = await serveFolder(join(root, "web-demo", "dist"));
  browser = await launch();
  context = await browser.newContext({ viewport: { width: 1200, height: 900 } });
  page = await context.newPage();
  errors = watchErrors(page);
});

after(async () => {
  await browser?.close();
  await server?.close();
});

async function search(words) {
  // What an earlier search has shown stays until this one is answered.
  await page.evaluate(() => {
    for (const hit of document.querySelectorAll("[data-testid=result]")) hit.dataset.earlier = "";
  });
  await page.getByTestId("search-input").fill(words);
  await page.getByTestId("search-input").press("Enter");
  await until(page, () => document.querySelector("[data-testid=result]:not([data-earlier])") !== null);
}

function shownHits() {
  return page.evaluate(() =>
    [...document.querySelectorAll("[data-testid=result]")].map((hit) => [
      hit.dataset.id,
      hit.querySelector("[data-testid=hit-distance]").textContent,
    ]),
  );
}

test("a first visit loads and indexes twenty thousand entries", { timeout: 12 * MINUTES }, async () => {
  await page.goto(server.url);
  await until(page, () => window.__demo !== undefined);
  const began = Date.now();
  assert.equal(await page.evaluate(() => window.__demo.ready), true);
  const { points, pending, indexed, graphInsertions } = await page.evaluate(() => window.__demo.wordnet.stats());
  console.log(`${points} points loaded and indexed in ${((Date.now() - began) / 1000).toFixed(1)} s`);
  assert.ok(points >= 20_000, `${points} points`);
  assert.deepEqual([pending, indexed], [0, points]);
  assert.ok(graphInsertions >= points);
  assert.equal(await page.evaluate(() => window.__demo.offline), true, "the page can start without its server");
});

test("typed words find what they mean", {
  skip: !hasModel() && "the embedding model is not here",
  timeout: 2 * MINUTES,
}, async () => {
  await search("a large striped wild cat");
  const lemma = await page.getByTestId("hit-lemma").first().textContent();
  assert.match(lemma, /tiger|leopard|cat|jaguar|ocelot/i, `the first hit is ${lemma}`);
  await page.screenshot({ path: join(SHOTS, "demo-search.png") });
});

test("an entry finds its neighbours, by the graph as by comparing all", { timeout: 2 * MINUTES }, async () => {
  const { graph, exact, ms } = await page.evaluate(async () => {
    const { wordnet } = window.__demo;
    const [first] = await wordnet.search({ vector: new Float32Array(384).fill(1), topK: 1, withVector: true });
    const began = performance.now();
    const graph = await wordnet.search({ vector: first.vector, topK: 10 });
    const ms = performance.now() - began;
    const exact = await wordnet.search({ vector: first.vector, topK: 10, exact: true });
    const plain = (hits) => hits.map((hit) => [String(hit.id), hit.distance]);
    return { graph: plain(graph), exact: plain(exact), ms };
  });
  console.log(`a search from the page took ${ms.toFixed(2)} ms`);
  assert.equal(graph[0][0], exact[0][0]);
  const exactIds = new Set(exact.map(([id]) => id));
  const found = graph.filter(([id]) => exactIds.has(id)).length;
  assert.ok(found >= 8, `${found} of the 10 nearest`);
});

test("a hundred more points write less than three times their size", { timeout: 2 * MINUTES }, async () => {
  const { written, size } = await page.evaluate(async () => {
    const { db, wordnet } = window.__demo;
    const vectors = new Float32Array(100 * 384).map(() => Math.random() - 0.5);
    const ids = Array.from({ length: 100 }, (_, i) => `extra-${i}`);
    const before = (await db.storage()).bytesWritten;
    await wordnet.upsert({ ids, vectors });
    await db.flush();
    return { written: (await db.storage()).bytesWritten - before, size: vectors.byteLength };
  });
  console.log(`100 points of ${size} bytes wrote ${written} bytes`);
  assert.ok(written >= size, "they are written");
  assert.ok(written < 3 * size, `${written} bytes for ${size}`);
  const deleted = await page.evaluate(() =>
    window.__demo.wordnet.delete(Array.from({ length: 100 }, (_, i) => `extra-${i}`)),
  );
  assert.equal(deleted.deleted, 100);
});

test("with the server stopped a reload shows the same results at once", { timeout: 3 * MINUTES }, async () => {
  await search("dog");
  const hits = await shownHits();
  const { bytesStored } = await page.evaluate(() => window.__demo.db.storage());
  await server.close();
  const began = Date.now();
  await page.reload();
  await until(page, () => window.__demo !== undefined);
  assert.equal(await page.evaluate(() => window.__demo.ready), true);
  console.log(`ready ${Date.now() - began} ms after the reload`);
  const [stats, mammals, storage] = await page.evaluate(async () => {
    const { db, wordnet, mammals } = window.__demo;
    return [await wordnet.stats(), await mammals.stats(), await db.storage()];
  });
  assert.deepEqual([stats.graphInsertions, mammals.graphInsertions], [0, 0], "nothing was indexed again");
  const share = storage.bytesRead / storage.bytesStored;
  console.log(`read ${storage.bytesRead} bytes of ${storage.bytesStored} stored (${bytesStored} before)`);
  assert.ok(share > 0.99 && share < 1.01, `bytes read = bytes stored, not ${share} times`);
  await search("dog");
  assert.deepEqual(await shownHits(), hits);
  await page.screenshot({ path: join(SHOTS, "demo-offline.png") });
});

test("the second geometry shows both lists", { timeout: 2 * MINUTES }, async () => {
  await page.getByTestId("tab-mammals").click();
  await page.getByTestId("mammals-input").fill("dog");
  await page.getByTestId("mammals-input").press("Enter");
  await until(page, () => document.querySelectorAll("[data-testid=mammals-poincare] > *").length > 0);
  await until(page, () => document.querySelectorAll("[data-testid=mammals-other] > *").length > 0);
  await page.screenshot({ path: join(SHOTS, "demo-mammals.png") });
});

test("nothing went wrong on the way", () => {
  // Requests that a stopped server cannot answer are logged by the browser itself.
  const own = errors.filter((text) => !/ERR_CONNECTION_REFUSED|Failed to load resource/.test(text));
  assert.deepEqual(own, []);
});
