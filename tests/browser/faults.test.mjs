// What happens to IndexedDB in a real Chromium: killed tabs, full quotas, cleared storage, deletion by another tab, a
// blocked upgrade, a trap between two puts. Whatever was acknowledged is there afterwards, and whoever asks is told why.

import assert from "node:assert/strict";
import { createServer } from "node:http";
import { after, before, test } from "node:test";
import { launch, servePackage } from "./support.mjs";

const MINUTES = 60_000;
const KILLS = { ci: 100, nightly: 2_000, release: 10_000 }[process.env.HS_TEST_LEVEL ?? "ci"];
const LANES = 4;
const TRAPS = 20;
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

async function openPage(context, url = server.url) {
  const page = await context.newPage();
  await page.goto(url);
  await page.evaluate(async () => {
    window.hs = await import("/dist/index.js");
    window.vectorOf = (seed, dimension = 8) => {
      let state = (seed * 2654435761 + 12345) >>> 0;
      return Float32Array.from({ length: dimension }, () => {
        state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
        return state / 2 ** 32 - 0.5;
      });
    };
    // A database that was killed a moment ago may still hold its lock.
    window.reopen = (name, options) => window.hs.Hyperspace.open(name, { wait: 20_000, ...options });
    window.code = (promise) =>
      promise.then(
        () => "no error",
        (error) => error.code ?? `foreign: ${error}`,
      );
  });
  return page;
}

const devTools = (page) => page.context().newCDPSession(page);
const until = async (condition) => {
  while (!(await condition())) await new Promise((resolve) => setTimeout(resolve, 5));
};

/** Writes until the tab is killed, and says what was acknowledged; then what is missing in the next life. */
async function killWhileWriting(context, lane, round, state) {
  const page = await openPage(context);
  let newest = state.acknowledged;
  await page.exposeFunction("acknowledge", (count) => {
    newest = count;
  });
  const durability = (lane + round) % 2 === 0 ? "relaxed" : "strict";
  const missing = await page.evaluate(
    async ({ from, durability }) => {
      const db = await window.reopen("killed", { durability });
      const points = await db.collection("points", { dimension: 8, metric: "l2" });
      const missing = [];
      // The newest ones, and some of the others.
      for (let id = 0; id < from; id += id < from - 100 ? 37 : 1) {
        const vector = window.vectorOf(id);
        const point = await points.get(id);
        const [hit] = await points.search({ vector, topK: 1, exact: true });
        if (point?.vector.some((x, i) => x !== vector[i]) !== false || hit?.id !== id || hit.distance !== 0) missing.push(id);
      }
      void (async () => {
        for (let next = from; ; next += 10) {
          const rows = Array.from({ length: 10 }, (_, i) => ({ id: next + i, vector: window.vectorOf(next + i) }));
          await points.upsert(rows);
          void window.acknowledge(next + 10);
        }
      })();
      return missing;
    },
    { from: state.acknowledged, durability },
  );
  assert.deepEqual(missing, [], `lane ${lane}, round ${round}: ${state.acknowledged} were acknowledged`);
  const wanted = state.acknowledged + 10 + 10 * ((lane * 7 + round * 3) % 11);
  await until(() => newest >= wanted);
  const cdp = await devTools(page);
  await Promise.race([cdp.send("Page.crash").catch(() => {}), new Promise((resolve) => page.once("crash", resolve))]);
  state.acknowledged = newest;
  await page.close();
}

test("tabs killed in the middle of ingestion lose nothing acknowledged", { timeout: 30 * MINUTES }, async () => {
  let kills = 0;
  let acknowledged = 0;
  const lanes = Array.from({ length: LANES }, async (_, lane) => {
    // A browser of its own: pages of one origin may share the process that is killed.
    const own = await launch();
    const context = await own.newContext();
    const state = { acknowledged: 0 };
    for (let round = 0; round < KILLS / LANES; round += 1) {
      await killWhileWriting(context, lane, round, state);
      kills += 1;
    }
    const page = await openPage(context);
    const report = await page.evaluate(async (count) => {
      const db = await window.reopen("killed");
      const points = await db.collection("points");
      const before = await points.stats();
      let found = 0;
      for (let id = 0; id < count; id += 1) {
        const [hit] = await points.search({ vector: window.vectorOf(id), topK: 1, exact: true });
        if (hit?.id === id && hit.distance === 0) found += 1;
      }
      await db.close();
      return { found, insertions: before.graphInsertions };
    }, state.acknowledged);
    assert.deepEqual(report, { found: state.acknowledged, insertions: 0 });
    acknowledged += state.acknowledged;
    await own.close();
  });
  await Promise.all(lanes);
  assert.equal(kills, KILLS);
  console.log(`tab kills: ${kills}; ${acknowledged} acknowledged points, all found`);
});

test("without room the database is read, and it is written again when there is some", {
  timeout: 3 * MINUTES,
}, async () => {
  const context = await browser.newContext();
  const page = await openPage(context);
  const cdp = await devTools(page);
  const origin = new URL(server.url).origin;
  await page.evaluate(async () => {
    window.db = await window.reopen("full");
    window.events = [];
    window.db.on("error", (error) => window.events.push(error.code));
    window.points = await window.db.collection("points", { dimension: 8, metric: "l2" });
    window.write = (id) => window.points.upsert([{ id, vector: window.vectorOf(id), metadata: { text: Array.from({ length: 1_500 }, () => crypto.randomUUID()).join("") } }]);
    await window.write(1);
  });
  await cdp.send("Storage.overrideQuotaForOrigin", { origin, quotaSize: 60_000 });
  const full = await page.evaluate(async () => {
    let error;
    let acknowledged = 1;
    for (let id = 2; error === undefined && id < 200; id += 1) {
      await window.write(id).then(
        () => {
          acknowledged = id;
        },
        (thrown) => {
          error = thrown;
        },
      );
    }
    const again = await window.code(window.write(999));
    const [hit] = await window.points.search({ vector: window.vectorOf(1), topK: 1, exact: true });
    return { acknowledged, message: error?.message, code: error?.code, again, found: hit.id };
  });
  console.log(`${full.acknowledged} acknowledged, then: ${full.message}`);
  assert.deepEqual([full.code, full.again, full.found], ["limit_exceeded", "limit_exceeded", 1]);
  assert.match(full.message, /\d{5} bytes were to be written, \d+ bytes are used of about \d+/);
  assert.deepEqual(await page.evaluate(() => window.events), ["limit_exceeded"], "one event");

  // A page that opens it now can read it.
  const second = await openPage(context);
  await page.close();
  const readOnly = await second.evaluate(async () => {
    window.db = await window.reopen("full");
    window.events = [];
    window.db.on("error", (error) => window.events.push(error.code));
    window.points = await window.db.collection("points");
    const [hit] = await window.points.search({ vector: window.vectorOf(1), topK: 1, exact: true });
    window.write = (id) => window.points.upsert([{ id, vector: window.vectorOf(id) }]);
    const refused = await window.code(window.write(1_000));
    return { count: await window.points.count(), found: hit.id, refused, events: window.events };
  });
  assert.deepEqual(readOnly, { count: full.acknowledged, found: 1, refused: "limit_exceeded", events: ["limit_exceeded"] });
  const fresh = await second.evaluate(() => window.code(window.reopen("another")));
  assert.equal(fresh, "limit_exceeded", "a new database has nothing to be read");

  await (await devTools(second)).send("Storage.overrideQuotaForOrigin", { origin });
  await cdp.detach().catch(() => {});
  await second.evaluate(() => window.write(1_000));
  await second.reload();
  const count = await second.evaluate(async () => {
    const { Hyperspace } = await import("/dist/index.js");
    const db = await Hyperspace.open("full", { wait: 20_000 });
    return (await db.collection("points")).count();
  });
  assert.equal(count, full.acknowledged + 1);
  await context.close();
});

/** Opens a database with a point in it and an ear for failures. */
async function openWithPoint(page, name) {
  await page.evaluate(async (name) => {
    window.db = await window.reopen(name);
    window.events = [];
    window.db.on("error", (error) => window.events.push([error.code, error.message]));
    window.points = await window.db.collection("points", { dimension: 8, metric: "l2" });
    await window.points.upsert([{ id: 1, vector: window.vectorOf(1) }]);
    window.write = () => window.code(window.points.upsert([{ id: 2, vector: window.vectorOf(2) }]));
    window.search = async () => (await window.points.search({ vector: window.vectorOf(1), topK: 1 }))[0].id;
  }, name);
}

test("storage that is cleared under an open database is noticed, and nothing begins anew", {
  timeout: 2 * MINUTES,
}, async () => {
  const context = await browser.newContext();
  const page = await openPage(context);
  await openWithPoint(page, "cleared");
  const cdp = await devTools(page);
  await cdp.send("Storage.clearDataForOrigin", { origin: new URL(server.url).origin, storageTypes: "indexeddb" });
  await page.waitForFunction(() => window.events.length > 0, undefined, { timeout: 20_000, polling: 50 });
  const seen = await page.evaluate(async () => ({
    events: window.events,
    write: await window.write(),
    search: await window.search(),
    left: (await indexedDB.databases()).length,
  }));
  assert.deepEqual([seen.write, seen.search, seen.left, seen.events.length], ["closed", 1, 0, 1]);
  assert.match(seen.events[0][1], /cleared/);
  await context.close();
});

test("a database lets go when another tab deletes or upgrades it, and says so", { timeout: 2 * MINUTES }, async () => {
  const context = await browser.newContext();
  for (const how of ["delete", "upgrade"]) {
    const page = await openPage(context);
    await openWithPoint(page, "taken");
    const other = await openPage(context);
    const outcome = await other.evaluate(
      (how) =>
        new Promise((resolve) => {
          const name = "hyperspace:taken";
          const request = how === "delete" ? indexedDB.deleteDatabase(name) : indexedDB.open(name, 2);
          request.onsuccess = () => {
            request.result?.close();
            resolve("done");
          };
          request.onblocked = () => resolve("blocked");
          request.onerror = () => resolve(String(request.error));
        }),
      how,
    );
    assert.equal(outcome, "done", how);
    await page.waitForFunction(() => window.events.length > 0, undefined, { timeout: 20_000, polling: 50 });
    const seen = await page.evaluate(async () => [await window.write(), await window.search(), window.events[0][0]]);
    assert.deepEqual(seen, ["closed", 1, "closed"], how);
    await page.close();
    if (how === "upgrade") {
      assert.equal(await other.evaluate(() => window.code(window.reopen("taken"))), "unsupported", "a later version");
    }
    await other.close();
  }
  await context.close();
});

test("an upgrade that an old page blocks is an error that asks to close it, and no empty shell is left", {
  timeout: 2 * MINUTES,
}, async () => {
  const context = await browser.newContext();
  const old = await openPage(context);
  // An old version of the page that does not let go.
  await old.evaluate(
    () =>
      new Promise((resolve) => {
        const request = indexedDB.open("hyperspace:old", 0.5 + 0.5);
        request.onsuccess = () => {
          window.kept = request.result;
          resolve();
        };
      }),
  );
  const page = await openPage(context);
  // It wants it gone, and waits for the old page; whoever opens it now waits behind.
  await page.evaluate(() => {
    indexedDB.deleteDatabase("hyperspace:old");
  });
  const began = Date.now();
  const error = await page.evaluate(() =>
    window.reopen("old").then(
      () => undefined,
      ({ code, message }) => ({ code, message }),
    ),
  );
  assert.equal(error.code, "unavailable", JSON.stringify(error));
  assert.ok(Date.now() - began < 60_000);
  await old.close();
  await page.evaluate(async () => {
    const db = await window.reopen("old");
    await db.collection("points", { dimension: 2, metric: "l2" });
    await db.destroy();
  });
  await context.close();
});

/** Serves the package with glue that throws out of the engine at the n-th put: what a trap does, in the same place. */
async function serveTraps() {
  const trap = (text) => {
    let patched = 0;
    const result = text.replace(/(__wbg_(?:put|add)_[0-9a-f]+: function\(\) \{ return handleError\()/g, (found) => {
      patched += 1;
      return found.replace(
        "function() {",
        "function() { if (globalThis.trapAt !== undefined && globalThis.trapAt-- === 0) throw new WebAssembly.RuntimeError('a trap between two puts');",
      );
    });
    if (patched < 2) throw new Error(`the glue has ${patched} functions that put`);
    return result;
  };
  const proxy = createServer(async (request, response) => {
    const answer = await fetch(new URL(request.url, server.url));
    let body = Buffer.from(await answer.arrayBuffer());
    if (request.url.endsWith("/hyperspace_wasm.js")) body = Buffer.from(trap(body.toString()));
    if (request.url.endsWith("/worker.js")) {
      const listen = "self.addEventListener('message', (event) => { if (event.data.trapAt !== undefined) { globalThis.trapAt = event.data.trapAt; event.stopImmediatePropagation(); } });\n";
      body = Buffer.concat([Buffer.from(listen), body]);
    }
    response.writeHead(answer.status, { "content-type": answer.headers.get("content-type") ?? "text/plain" }).end(body);
  });
  await new Promise((resolve) => proxy.listen(0, "127.0.0.1", resolve));
  return {
    url: `http://127.0.0.1:${proxy.address().port}/`,
    close: () => {
      proxy.closeAllConnections();
      return new Promise((resolve) => proxy.close(resolve));
    },
  };
}

test("a trap between two puts leaves the whole transaction or nothing of it", { timeout: 3 * MINUTES }, async () => {
  const traps = await serveTraps();
  const context = await browser.newContext();
  try {
    const page = await openPage(context, traps.url);
    const seen = await page.evaluate(async (count) => {
      // One write of many rows of the log, each below 60 KiB.
      const write = (points, batch) => {
        const vectors = new Float32Array(600 * 512).map((_, i) => Math.sin(i + batch));
        return points.upsert({ ids: Array.from({ length: 600 }, (_, i) => batch * 600 + i), vectors });
      };
      const outcomes = [];
      let worker;
      const open = () =>
        window.reopen("trapped", {
          worker: () => {
            worker = new Worker("/dist/worker.js", { type: "module" });
            return worker;
          },
        });
      for (let n = 0; n < count; n += 1) {
        let db = await open();
        let points = await db.collection("points", { dimension: 512, metric: "l2" });
        await db.pauseIndexing(true);
        await write(points, 0);
        const before = await points.count();
        worker.postMessage({ trapAt: n });
        const code = await window.code(write(points, n + 1));
        await db.close().catch(() => {});
        db = await open();
        points = await db.collection("points");
        const added = (await points.count()) - before;
        await db.destroy();
        outcomes.push([code, added]);
      }
      return outcomes;
    }, TRAPS);
    console.log(`traps between two puts: ${seen.length}`);
    assert.deepEqual(seen, Array.from({ length: TRAPS }, () => ["internal", 0]));
  } finally {
    await context.close();
    await traps.close();
  }
});

test("persistence is asked of the browser, and its answer is told", { timeout: MINUTES }, async () => {
  const context = await browser.newContext();
  const page = await openPage(context);
  await openWithPoint(page, "persistent");
  const granted = await page.evaluate(async () => {
    const asked = [];
    navigator.storage.persist = async () => asked.push("persist") > 0;
    navigator.storage.persisted = async () => asked.length > 0;
    const before = (await window.db.storageInfo()).persisted;
    const answer = await window.db.requestPersistence();
    const info = await window.db.storageInfo();
    const stats = await window.db.storage();
    return { before, answer, asked, after: info.persisted, stats: stats.persistent, knows: info.quota > info.usage };
  });
  assert.deepEqual(granted, { before: false, answer: true, asked: ["persist"], after: true, stats: true, knows: true });
  const real = await page.evaluate(async () => {
    delete navigator.storage.persist;
    return typeof (await window.db.requestPersistence());
  });
  assert.equal(real, "boolean");
  await context.close();
});
