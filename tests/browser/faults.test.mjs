// What happens to IndexedDB in a real Chromium: killed tabs, full quotas, cleared storage, deletion by another tab, a
// blocked upgrade, a trap between two puts. Whatever was acknowledged is there afterwards, and whoever asks is told why.
// Tabs that share a database and end in other ways are in `tabs.test.mjs`.

import assert from "node:assert/strict";
import { createServer } from "node:http";
import { after, before, test } from "node:test";
import { launch, servePackage, until } from "./support.mjs";

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
      let state = (Math.imul(seed, 2654435761) + 12345) >>> 0;
      return Float32Array.from({ length: dimension }, () => {
        state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
        return state / 2 ** 32 - 0.5;
      });
    };
    window.reopen = (name, options) => window.hs.Hyperspace.open(name, options);
    window.code = (promise) =>
      promise.then(
        () => "no error",
        (error) => error.code ?? `foreign: ${error}`,
      );
  });
  return page;
}

const devTools = (page) => page.context().newCDPSession(page);

/** Points of one tab; the next one's follow. */
const SHARE = 100_000;

/** Opens a tab that writes until it is killed, and says what was acknowledged. */
async function openWriter(context, tab) {
  const page = await openPage(context);
  await page.evaluate(
    async ([tab, share, durability]) => {
      const db = await window.reopen("killed", { durability });
      window.failures = [];
      db.on("error", (error) => window.failures.push(error.code));
      window.points = await db.collection("points", { dimension: 8, metric: "l2" });
      let count = 0;
      const write = async () => {
        for (window.isWriting = true; window.isWriting; count += 10) {
          const ids = Array.from({ length: 10 }, (_, i) => tab * share + count + i);
          await window.points.upsert(ids.map((id) => ({ id, vector: window.vectorOf(id) })));
          await window.acknowledge(tab, count + 10);
        }
      };
      window.begin = () => void write().catch((error) => window.failures.push(String(error)));
    },
    [tab, SHARE, tab % 2 === 0 ? "relaxed" : "strict"],
  );
  return { page, tab };
}

/** Which points, of those that were acknowledged, are not there or do not find themselves; all, or the newest ones. */
function missing({ page }, acknowledged, newest = Number.POSITIVE_INFINITY) {
  return page.evaluate(
    async ([counts, share, newest]) => {
      const missing = [];
      for (const [tab, count] of counts) {
        const ids = Array.from({ length: Math.min(count, newest) }, (_, i) => tab * share + count - 1 - i);
        const points = await window.points.get(ids);
        for (const [at, id] of ids.entries()) {
          const vector = window.vectorOf(id);
          const [hit] = await window.points.search({ vector, topK: 1, exact: true });
          const isStored = points[at]?.vector.every((x, i) => x === vector[i]) === true;
          if (!isStored || hit?.id !== id || hit.distance !== 0) missing.push(id);
        }
      }
      return { missing, failures: window.failures };
    },
    [[...acknowledged], SHARE, newest],
  );
}

/** Kills tabs of one browser in turn, the owner of the database and one that only asks it; two are open at any time. */
async function killInTurn(lane, kills) {
  // A browser of its own: pages of one origin may share the process that is killed.
  const own = await launch();
  const context = await own.newContext();
  const acknowledged = new Map();
  let heard = () => {};
  await context.exposeFunction("acknowledge", (tab, count) => {
    acknowledged.set(tab, count);
    heard();
  });
  const progress = async ({ tab }, points) => {
    const wanted = (acknowledged.get(tab) ?? 0) + points;
    while ((acknowledged.get(tab) ?? 0) < wanted) {
      await new Promise((resolve) => {
        heard = resolve;
      });
    }
  };
  let owner = await openWriter(context, 0);
  let other = await openWriter(context, 1);
  for (let round = 0; round < kills; round += 1) {
    const victim = round % 2 === 0 ? owner : other;
    for (const { page } of [owner, other]) await page.evaluate(() => window.begin());
    await progress(victim, 10 * (1 + ((lane * 7 + round * 3) % 7)));
    const cdp = await devTools(victim.page);
    const crashed = new Promise((resolve) => victim.page.once("crash", resolve));
    cdp.send("Page.crash").catch(() => {});
    await crashed;
    const survivor = victim === owner ? other : owner;
    await survivor.page.evaluate(() => {
      window.isWriting = false;
    });
    const counts = [...acknowledged].slice(-3);
    const seen = await missing(survivor, counts, 30);
    assert.deepEqual(seen, { missing: [], failures: [] }, `lane ${lane}, round ${round}`);
    await victim.page.close();
    owner = survivor;
    other = await openWriter(context, round + 2);
  }
  await owner.page.close();
  await other.page.close();
  const last = await openWriter(context, kills + 2);
  assert.deepEqual(await missing(last, acknowledged), { missing: [], failures: [] }, `lane ${lane}`);
  await own.close();
  return [...acknowledged.values()].reduce((sum, count) => sum + count, 0);
}

test("tabs killed in the middle of ingestion lose nothing acknowledged", { timeout: 30 * MINUTES }, async () => {
  const kills = KILLS / LANES;
  const acknowledged = await Promise.all(Array.from({ length: LANES }, (_, lane) => killInTurn(lane, kills)));
  const points = acknowledged.reduce((sum, count) => sum + count, 0);
  console.log(
    `tab kills: ${LANES * kills}, ${LANES * Math.ceil(kills / 2)} of them of owners; ${points} points, all found`,
  );
  assert.equal(LANES * kills, KILLS);
  assert.ok(points >= 10 * KILLS, `${points} points`);
});

test("without room the database is read, and it is written again when there is some", {
  timeout: 3 * MINUTES,
}, async () => {
  const context = await browser.newContext();
  const page = await openPage(context);
  const origin = new URL(server.url).origin;
  const setQuota = async (page, quotaSize) =>
    (await devTools(page)).send("Storage.overrideQuotaForOrigin", { origin, ...(quotaSize && { quotaSize }) });
  // Before the database is opened: the browser asks for the quota once and goes by that for half a minute.
  await setQuota(page, 600_000);
  const open = async (page) => {
    await page.evaluate(async () => {
      window.db = await window.reopen("full");
      window.events = [];
      window.db.on("error", (error) => window.events.push(error.code));
      window.points = await window.db.collection("points", { dimension: 8, metric: "l2" });
      window.write = (id, words) => {
        // Random, or the browser would compress it.
        const text = Array.from({ length: words }, () => crypto.randomUUID()).join("");
        return window.points.upsert([{ id, vector: window.vectorOf(id), metadata: { text } }]);
      };
      window.search = async () =>
        (await window.points.search({ vector: window.vectorOf(1), topK: 1, exact: true }))[0].id;
    });
  };
  await open(page);
  const full = await page.evaluate(async () => {
    let acknowledged = 0;
    const fill = async (words) => {
      for (let id = acknowledged + 1; id < 2_000; id += 1) {
        try {
          await window.write(id, words);
          acknowledged = id;
        } catch ({ code, message }) {
          return { code, message };
        }
      }
    };
    const error = await fill(1_500);
    const again = await window.code(window.write(9_999, 1_500));
    const events = [...window.events];
    // Until there is no room for anything.
    await fill(100);
    await fill(1);
    return { acknowledged, ...error, again, events, found: await window.search(), count: await window.points.count() };
  });
  console.log(`writes until the quota was used up: ${full.acknowledged}; ${full.message}`);
  assert.deepEqual([full.code, full.again, full.found], ["limit_exceeded", "limit_exceeded", 1]);
  assert.deepEqual([full.events, full.count], [["limit_exceeded"], full.acknowledged], "one event, nothing half done");
  assert.ok(full.acknowledged > 5, `${full.acknowledged}`);
  assert.match(full.message, /5\d{4} bytes were to be written, \d+ bytes are used of about \d+/);

  // A page that opens it now can read it.
  const second = await openPage(context);
  await setQuota(second, 1_000);
  await page.close();
  await open(second);
  await until(second, () => window.code(window.write(9_999, 1)).then((code) => code === "limit_exceeded"));
  const before = await second.evaluate(() => window.points.count());
  await second.evaluate(() => window.db.close().catch(() => {}));
  await open(second);
  const seen = await second.evaluate(async () => ({
    found: await window.search(),
    count: await window.points.count(),
    refused: await window.code(window.write(9_998, 1)),
    events: window.events,
    another: await window.code(window.reopen("another")),
  }));
  const { count, ...rest } = seen;
  assert.equal(count, before);
  assert.ok(count - full.acknowledged <= 1, "what fitted in at the end");
  const refused = "limit_exceeded";
  assert.deepEqual(
    rest,
    { found: 1, refused, events: [refused], another: refused },
    "a new one has nothing to be read",
  );

  await setQuota(second);
  await second.evaluate(() => window.write(10_000, 1));
  const third = await openPage(context);
  await second.close();
  await open(third);
  assert.equal(await third.evaluate(() => window.points.count()), count + 1);
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
  // The browser says nothing of it: whoever uses the storage next finds out.
  const write = await page.evaluate(() => window.write());
  await page.waitForFunction(() => window.events.length > 0, undefined, { timeout: 20_000, polling: 50 });
  const seen = await page.evaluate(
    async (write) => ({
      write,
      events: window.events,
      search: await window.search(),
      left: (await indexedDB.databases()).length,
    }),
    write,
  );
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

/** How the glue's functions that put begin. */
const PUTS = /(?<=\(\.\.\.all\) => )(?=handleError\(\([^)]*\) => \{\s+const ret = arg0\.(?:put|add)\()/g;
const TRAP = `const trapIfDue = () => {
  if (globalThis.trapAt !== undefined && globalThis.trapAt-- === 0) throw new WebAssembly.RuntimeError("a trap between two puts");
};
`;

/** Serves the package with glue that throws out of the engine at the n-th put: what a trap does, in the same place. */
async function serveTraps() {
  const trap = (text) => {
    let patched = 0;
    const result = text.replace(PUTS, () => {
      patched += 1;
      return "trapIfDue() ?? ";
    });
    if (patched < 2) throw new Error(`the glue has ${patched} functions that put`);
    return TRAP + result;
  };
  const proxy = createServer(async (request, response) => {
    const answer = await fetch(new URL(request.url, server.url));
    let body = Buffer.from(await answer.arrayBuffer());
    if (request.url.endsWith("/hyperspace_wasm.js")) body = Buffer.from(trap(body.toString()));
    if (request.url.endsWith("/worker.js")) {
      const listen =
        "self.addEventListener('message', (event) => { if (event.data.trapAt !== undefined) { globalThis.trapAt = event.data.trapAt; event.stopImmediatePropagation(); } });\n";
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
        outcomes.push({ code, added });
      }
      return outcomes;
    }, TRAPS);
    console.log(`traps between two puts: ${seen.length}`);
    const told = (code) => seen.filter((outcome) => outcome.code === code).length;
    for (const { code, added } of seen) {
      assert.ok(added === 0 || added === 600, `${added} of 600 points are there: ${JSON.stringify(seen)}`);
      assert.notEqual(code, "no error", `a write that was trapped is not answered as done: ${JSON.stringify(seen)}`);
    }
    // On a busy machine the abort of the transaction may be heard of before the trap.
    assert.ok(told("internal") > TRAPS / 2, JSON.stringify(seen));
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
