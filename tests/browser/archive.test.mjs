// A whole database as a Blob, in real tabs: from one that owns it, from one that does not, and into another database.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { launch, servePackage } from "./support.mjs";

const MINUTES = 60_000;
const POINTS = 3_000;
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

async function openTab(context, name) {
  const page = await context.newPage();
  await page.goto(server.url);
  await page.evaluate(async (name) => {
    window.hs = await import("/dist/index.js");
    window.db = await window.hs.Hyperspace.open(name);
  }, name);
  return page;
}

/** What a search answers, with all that a hit has. */
function search(page) {
  return page.evaluate(async () => {
    const notes = await window.db.collection("notes");
    const vector = Float32Array.from({ length: 8 }, (_, at) => at / 8);
    const hits = await notes.search({ vector, topK: 50, withVector: true, filter: { odd: true } });
    return JSON.stringify(hits.map((hit) => ({ ...hit, vector: [...hit.vector] })));
  });
}

test("a database goes through a Blob into another one, from a tab that owns neither", {
  timeout: 3 * MINUTES,
}, async () => {
  const context = await browser.newContext();
  const [owner, other] = [await openTab(context, "from"), await openTab(context, "from")];
  await owner.evaluate(async (points) => {
    const notes = await window.db.collection("notes", { dimension: 8, metric: "cosine" });
    const numbers = Float32Array.from({ length: points * 8 }, (_, at) => Math.sin(at * 12.9898) * 0.5 + 0.6);
    const ids = Array.from({ length: points }, (_, at) => (at % 2 ? at : `note ${at}`));
    const metadata = ids.map((_, at) => ({ odd: at % 2 === 1, at }));
    await notes.upsert({ ids, vectors: numbers, metadata });
    await notes.indexed();
    await notes.delete(ids.slice(0, 10));
    await window.db.collection("empty", { dimension: 3, metric: "l2" });
  }, POINTS);
  const expected = await search(owner);

  const size = await other.evaluate(async () => {
    window.archive = await window.db.export();
    return window.archive.size;
  });
  assert.ok(size > POINTS * 32, `${size} bytes`);
  const refused = await other.evaluate(() => window.db.import(window.archive).catch((error) => error.code));
  assert.equal(refused, "already_exists");

  // The other database belongs to the first tab; the second one, which has the file, asks it to take it in.
  await owner.evaluate(async () => {
    window.db = await window.hs.Hyperspace.open("to");
  });
  const imported = await other.evaluate(async () => {
    window.db = await window.hs.Hyperspace.open("to");
    const damaged = new Blob([window.archive.slice(0, -1)]);
    const code = await window.db.import(damaged).catch((error) => error.code);
    const left = await window.db.collections();
    return { code, left: left.length, summary: await window.db.import(window.archive) };
  });
  assert.deepEqual([imported.code, imported.left], ["corrupted", 0], "a file that was cut off leaves nothing behind");
  const counts = imported.summary.map(({ name, points }) => [name, points]);
  assert.deepEqual(counts.sort(), [
    ["empty", 0],
    ["notes", POINTS - 10],
  ]);
  for (const page of [owner, other]) assert.equal(await search(page), expected, "equal to the last digit");
  await context.close();
});

test("what was imported is on the disk when the import resolves", { timeout: 3 * MINUTES }, async () => {
  const context = await browser.newContext();
  const page = await openTab(context, "from");
  await page.evaluate(async () => {
    const notes = await window.db.collection("notes", { dimension: 8, metric: "l2" });
    const vectors = Float32Array.from({ length: 80 }, (_, at) => at / 80);
    await notes.upsert({ vectors, metadata: Array.from({ length: 10 }, (_, at) => ({ odd: at % 2 === 1 })) });
    const archive = await window.db.export();
    window.db = await window.hs.Hyperspace.open("to");
    await window.db.import(archive);
  });
  const expected = await search(page);
  const cdp = await context.newCDPSession(page);
  const crashed = new Promise((resolve) => page.once("crash", resolve));
  cdp.send("Page.crash").catch(() => {});
  await crashed;
  const next = await openTab(context, "to");
  assert.equal(await search(next), expected);
  await context.close();
});
