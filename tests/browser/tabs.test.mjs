// Several tabs on one database: they see each other's writes, and whatever happens to the one that owns it, nothing that
// was acknowledged is lost, nothing is done twice, and every call of a tab that lives is answered.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { launch, servePackage, until } from "./support.mjs";
import { Model } from "./tabs-model.mjs";

const MINUTES = 60_000;
const NIGHTLY = process.env.HS_TEST_LEVEL !== undefined && process.env.HS_TEST_LEVEL !== "ci";
const ROUNDS = NIGHTLY ? 500 : 20;
const TABS = 5;
/** Streams of writes in each tab, and the points of each stream. */
const STREAMS = 3;
const POINTS = 8;
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

/** A page with the package; `open` opens a database in it as `window.db`, and its collection `notes`. */
async function openPage(context) {
  const page = await context.newPage();
  await page.goto(server.url);
  await page.evaluate(async () => {
    window.hs = await import("/dist/index.js");
    window.open = async (name, options) => {
      window.failures = [];
      window.db = await window.hs.Hyperspace.open(name, options);
      window.db.on("error", (error) => window.failures.push(error.code));
      window.notes = await window.db.collection("notes", { dimension: 2, metric: "l2" });
    };
    window.code = (call) =>
      call.then(
        () => "answered",
        (error) => error.code ?? String(error),
      );
  });
  return page;
}

async function openTab(context, name, options) {
  const page = await openPage(context);
  await page.evaluate(([name, options]) => window.open(name, options), [name, options]);
  return page;
}

/** Opens a database with a worker in which something goes wrong: a script is run beside it. */
function openSpoilt(page, name, script) {
  return page.evaluate(
    async ([name, script]) => {
      const modules = `import "${location.origin}/dist/worker.js";
        import { Engine } from "${location.origin}/pkg/hyperspace_wasm.js";`;
      const url = URL.createObjectURL(new Blob([modules, script], { type: "text/javascript" }));
      await window.open(name, { worker: new Worker(url, { type: "module" }) });
    },
    [name, script],
  );
}

/** Whether the engine runs in this page's worker: it holds the lock. */
function isOwner(page, name) {
  return page.workers()[0].evaluate(
    (name) =>
      navigator.locks.request(`probe-${Math.random()}`, async ({ name: probe }) => {
        const { held } = await navigator.locks.query();
        const holder = (lock) => held.find((info) => info.name === lock)?.clientId;
        return holder(`hyperspace:${name}`) === holder(probe);
      }),
    name,
  );
}

async function ownerOf(pages, name) {
  for (;;) {
    for (const page of pages) if (await isOwner(page, name)) return page;
  }
}

async function crash(context, page) {
  const cdp = await context.newCDPSession(page);
  const crashed = new Promise((resolve) => page.once("crash", resolve));
  cdp.send("Page.crash").catch(() => {});
  await crashed;
  await page.close();
}

test("tabs see each other's writes, and everything works from each of them", { timeout: 2 * MINUTES }, async () => {
  const context = await browser.newContext();
  const first = await openTab(context, "shared");
  const second = await openTab(context, "shared", { durability: "strict" });
  assert.ok(await isOwner(first, "shared"));
  await first.evaluate(() => window.notes.upsert([{ id: 1, vector: [1, 2], metadata: { by: "first" } }]));
  const seen = await second.evaluate(async () => {
    const { db, notes } = window;
    const before = (await notes.get(1)).metadata.by;
    const progress = [];
    db.on("progress", (one) => progress.push(one));
    await db.pauseIndexing(true);
    const { lsn } = await notes.upsert([{ id: 2, vector: [2, 2], metadata: { by: "second", big: 2n ** 60n } }]);
    await db.pauseIndexing(false);
    await notes.indexed();
    await db.flush();
    const [hit] = await notes.search({ vector: [2, 2], topK: 1, withVector: true });
    return {
      before,
      lsn,
      done: progress.at(-1)?.done,
      hit: [hit.id, hit.distance, hit.metadata.by, hit.metadata.big === 2n ** 60n, [...hit.vector]],
      indexed: (await notes.stats()).indexed,
      backend: (await db.storage()).backend,
      collections: (await db.collections()).map(({ name, points }) => [name, points]),
      wrong: await window.code(notes.upsert([{ id: 3, vector: [Number.NaN, 1] }])),
      none: await window.code(db.collection("none")),
    };
  });
  assert.deepEqual(seen, {
    before: "first",
    lsn: 2n,
    done: true,
    hit: [2, 0, "second", true, [2, 2]],
    indexed: 2,
    backend: "indexeddb",
    collections: [["notes", 2]],
    wrong: "invalid_argument",
    none: "not_found",
  });
  assert.deepEqual(await first.evaluate(() => window.notes.delete([1, 2, 3])), { deleted: 2, lsn: 3n });
  assert.equal(await second.evaluate(() => window.notes.count()), 0);
  await context.close();
});

test("a handle means the collection that it was got for, in every tab and under every owner", {
  timeout: 2 * MINUTES,
}, async () => {
  const context = await browser.newContext();
  const first = await openTab(context, "handles");
  const second = await openTab(context, "handles");
  const third = await openTab(context, "handles");
  await second.evaluate(async () => {
    await window.db.deleteCollection("notes");
    window.renewed = await window.db.collection("notes", { dimension: 3, metric: "dot" });
    await window.renewed.upsert([{ id: 1, vector: [1, 2, 3] }]);
  });
  for (const owner of [first, second]) {
    assert.ok(await isOwner(owner, "handles"));
    const message = await third.evaluate(() =>
      window.notes.count().catch((error) => `${error.code}: ${error.message}`),
    );
    assert.equal(message, "not_found: collection `notes` was deleted");
    await owner.evaluate(() => window.db.close());
    if (owner === first) assert.equal(await second.evaluate(() => window.renewed.count()), 1);
  }
  assert.equal(await third.evaluate(async () => (await window.db.collection("notes")).count()), 1);
  await context.close();
});

test("an owner that closes, crashes or reloads at random moments loses and doubles nothing", {
  timeout: (NIGHTLY ? 60 : 5) * MINUTES,
}, async () => {
  const seed = Number(process.env.HS_SEED ?? Date.now() % 2 ** 31);
  console.log(`HS_SEED=${seed}`);
  let state = seed >>> 0;
  const random = (below) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
  const name = "churn";
  const context = await browser.newContext();
  const model = new Model();
  await context.exposeFunction("intend", (op) => model.intend(op));
  await context.exposeFunction("acknowledge", (op, lsn) => model.acknowledge(op, lsn));
  let made = 0;
  const start = async () => {
    const page = await openTab(context, name);
    page.tab = made++;
    await write(page, page.tab, random(2 ** 31));
    return page;
  };
  const pages = [];
  for (let i = 0; i < TABS; i += 1) pages.push(await start());
  const events = { close: 0, crash: 0, reload: 0, handover: 0, bystander: 0 };
  const longest = { wait: 0 };
  for (let round = 0; round < ROUNDS; round += 1) {
    await model.progress(
      pages.map((page) => page.tab),
      5 + random(20),
      longest,
    );
    const owner = await ownerOf(pages, name);
    const kind = Object.keys(events)[round % 5];
    events[kind] += 1;
    const victim = kind === "bystander" ? pages.find((page) => page !== owner) : owner;
    pages.splice(pages.indexOf(victim), 1);
    if (kind === "close") await victim.close();
    else if (kind === "reload") await victim.reload().then(() => victim.close());
    else if (kind === "handover") await victim.evaluate(() => window.db.close()).then(() => victim.close());
    else await crash(context, victim);
    // Only now: until it had ended, it went on writing.
    model.leave(victim.tab);
    pages.push(await start());
  }
  await model.progress(
    pages.map((page) => page.tab),
    10,
    longest,
  );
  await Promise.all(pages.map((page) => page.evaluate(() => window.stopWriting())));
  pages.push(await openTab(context, name));
  const expected = model.settled();
  for (const page of pages) {
    const found = await page.evaluate(
      async (ids) => {
        const points = await window.notes.get(ids);
        return points.map((point) => point?.metadata.version ?? null);
      },
      expected.map(({ id }) => id),
    );
    const wrong = expected.filter(({ versions }, at) => !versions.includes(found[at]));
    assert.deepEqual(wrong, [], `tab ${page.tab}, HS_SEED=${seed}`);
  }
  const newest = await pages[0].evaluate(async () => (await window.notes.upsert([{ id: 0, vector: [0, 0] }])).lsn);
  const { acknowledged, unknown, upserts, numbers } = model;
  console.log(JSON.stringify({ rounds: ROUNDS, ...events, acknowledged, unknown, records: Number(newest) - 1 }));
  console.log(`the longest that a tab waited for an answer: ${longest.wait} ms`);
  assert.equal(numbers.size, upserts, "no two upserts have one number");
  const unaccounted = Number(newest) - 1 - acknowledged;
  assert.ok(unaccounted >= 0 && unaccounted <= unknown, `${unaccounted} records more, of ${unknown} unanswered writes`);
  assert.deepEqual(
    await Promise.all(pages.map((page) => page.evaluate(() => window.failures))),
    pages.map(() => []),
  );
  await context.close();
});

/** Has a page write, in several streams at once, until `stopWriting`. Every write is announced before it is sent. */
function write(page, tab, seed) {
  return page.evaluate(
    ([tab, seed, streams, points]) => {
      let state = seed;
      const random = (below) => {
        state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
        return Math.floor((state / 2 ** 32) * below);
      };
      let isWriting = true;
      const stream = async (number) => {
        const live = new Set();
        for (let version = 1; isWriting; version += 1) {
          const id = 1 + (tab * streams + number) * points + random(points);
          // Only what is there is deleted: then each write is one record of the log.
          const deletes = live.has(id) && random(4) === 0;
          // Cuts the log, so that what was answered is known from the row alone.
          if (random(30) === 0) await window.notes.indexed();
          const op = { tab, stream: number, id, version: deletes ? null : version };
          await window.intend(op);
          const { lsn, deleted } = deletes
            ? await window.notes.delete(id)
            : await window.notes.upsert([{ id, vector: [id, version], metadata: { version } }]);
          if (deletes && deleted !== 1) throw new Error(`tab ${tab} deleted ${id}, the answer is ${deleted}`);
          await window.acknowledge(op, Number(lsn));
          deletes ? live.delete(id) : live.add(id);
          const read = (await window.notes.get(id))?.metadata.version ?? null;
          if (read !== op.version) throw new Error(`tab ${tab} reads version ${read} of ${id}, it wrote ${op.version}`);
        }
      };
      const running = Promise.all(Array.from({ length: streams }, (_, number) => stream(number)));
      running.catch((error) => window.failures.push(String(error)));
      window.stopWriting = () => {
        isWriting = false;
        return running;
      };
    },
    [tab, seed, STREAMS, POINTS],
  );
}

test("a frozen owner is taken over from after ten seconds, and fenced off when it thaws", {
  timeout: 3 * MINUTES,
}, async () => {
  const context = await browser.newContext();
  const frozen = await openPage(context);
  // It hears late that its lock was stolen, and what other tabs say: it has to look by itself.
  await openSpoilt(
    frozen,
    "frozen",
    `const request = navigator.locks.request.bind(navigator.locks);
     const late = (reason) => new Promise((_, reject) => setTimeout(reject, 3_000, reason));
     navigator.locks.request = (...args) => request(...args).catch(late);
     const { set } = Object.getOwnPropertyDescriptor(BroadcastChannel.prototype, "onmessage");
     Object.defineProperty(BroadcastChannel.prototype, "onmessage", {
       set(hear) {
         set.call(this, (event) => setTimeout(hear, 3_000, event));
       },
     });`,
  );
  const other = await openTab(context, "frozen");
  await frozen.evaluate(() => window.notes.upsert([{ id: 1, vector: [1, 1], metadata: { by: "frozen" } }]));
  const thaw = await freeze(context, frozen);
  const waited = await other.evaluate(async () => {
    const from = performance.now();
    await window.notes.upsert([{ id: 1, vector: [2, 2], metadata: { by: "other" } }]);
    return performance.now() - from;
  });
  console.log(`taken over after ${Math.round(waited)} ms`);
  assert.ok(waited > 9_000 && waited < 30_000, `${waited} ms`);
  assert.ok(await isOwner(other, "frozen"));
  // Sent before the frozen worker learns anything.
  const late = frozen.evaluate(async () => {
    const read = (await window.notes.get(1)).metadata.by;
    await window.notes.upsert([{ id: 2, vector: [3, 3], metadata: { by: "frozen" } }]);
    return { read, failures: window.failures };
  });
  await thaw();
  assert.deepEqual(await late, { read: "other", failures: [] }, "it reads what the other wrote, and writes through it");
  const seen = await other.evaluate(async () => (await window.notes.get([1, 2])).map((point) => point.metadata.by));
  assert.deepEqual(seen, ["other", "frozen"]);
  assert.ok(await isOwner(other, "frozen"));
  await other.close();
  assert.equal(await frozen.evaluate(() => window.notes.count()), 2, "and it takes over again");
  await context.close();
});

/** Stops a page's worker in the middle of whatever it does; resolves to what lets it go on. */
async function freeze(context, page) {
  const cdp = await context.newCDPSession(page);
  const worker = new Promise((resolve) => cdp.once("Target.attachedToTarget", resolve));
  await cdp.send("Target.setAutoAttach", { autoAttach: true, waitForDebuggerOnStart: false, flatten: false });
  const { sessionId } = await worker;
  const send = (method, id) =>
    cdp.send("Target.sendMessageToTarget", { sessionId, message: JSON.stringify({ id, method, params: {} }) });
  await send("Debugger.enable", 1);
  await send("Debugger.pause", 2);
  return () => send("Debugger.resume", 3);
}

test("destroying a database ends it in every tab, and leaves nothing", { timeout: 2 * MINUTES }, async () => {
  const context = await browser.newContext();
  for (const byOwner of [true, false]) {
    const tabs = [await openTab(context, "gone"), await openTab(context, "gone"), await openTab(context, "gone")];
    assert.equal(await tabs[2].evaluate(() => window.notes.count()), 0, "nothing of the one before");
    await tabs[1].evaluate(() => window.notes.upsert([{ id: 1, vector: [1, 2] }]));
    const destroyer = byOwner ? tabs[0] : tabs[1];
    await destroyer.evaluate(() => window.db.destroy());
    for (const tab of tabs) {
      await until(tab, () => window.code(window.notes.count()).then((code) => code === "closed"));
      assert.deepEqual(await tab.evaluate(() => window.failures), tab === destroyer ? [] : ["closed"]);
    }
    const left = await tabs[2].evaluate(async () => (await indexedDB.databases()).map(({ name }) => name));
    assert.deepEqual(left, []);
    for (const tab of tabs) await tab.close();
  }
  await context.close();
});

test("a tab of another version is told so, and goes on when the other is gone", { timeout: 2 * MINUTES }, async () => {
  const context = await browser.newContext();
  const page = await openTab(context, "versions");
  // What another version of the package would say in its tab.
  const other = await openPage(context);
  await other.evaluate(() => {
    navigator.locks.request("hyperspace:versions", { steal: true }, () => new Promise(() => {}));
    const all = new BroadcastChannel("hyperspace:versions");
    const present = (tab) => {
      const channel = new BroadcastChannel(`hyperspace-tab:${tab}:versions`);
      channel.postMessage({ type: "owner", version: 1e9, epoch: 1e9, paused: false });
    };
    all.onmessage = ({ data }) => data.type === "hello" && present(data.tab);
  });
  const third = await openPage(context);
  const codes = [
    await third.evaluate(() => window.code(window.hs.Hyperspace.open("versions"))),
    await page.evaluate(() => window.code(window.notes.count())),
  ];
  assert.deepEqual(codes, ["unavailable", "unavailable"]);
  await other.close();
  assert.equal(await page.evaluate(() => window.notes.count()), 0);
  await context.close();
});

test("a request that makes engines fail ends with two of them, and the third tab goes on", {
  timeout: 2 * MINUTES,
}, async () => {
  const context = await browser.newContext();
  const name = "traps";
  const tabs = [];
  for (let i = 0; i < 4; i += 1) {
    const page = await openPage(context);
    await openSpoilt(
      page,
      name,
      `const search = Engine.prototype.search;
       Engine.prototype.search = function (space, vector, options) {
         if (options.topK === 666) throw new WebAssembly.RuntimeError("unreachable");
         return search.call(this, space, vector, options);
       };`,
    );
    tabs.push(page);
  }
  await tabs[3].evaluate(() => window.notes.upsert([{ id: 1, vector: [1, 2] }]));
  const waiting = tabs[2].evaluate(() => window.code(window.notes.search({ vector: [1, 2], topK: 666 })));
  assert.equal(await waiting, "internal");
  assert.equal(await tabs[3].evaluate(() => window.notes.count()), 1);
  assert.ok(await isOwner(tabs[2], name), "the engines of the first two have failed, this tab's has not");
  const failures = await Promise.all(tabs.map((page) => page.evaluate(() => window.failures)));
  assert.deepEqual(failures, [["internal"], ["internal"], [], []]);
  await context.close();
});

test("a write whose owner fails after the commit and before the answer is answered by the next, and there once", {
  timeout: 2 * MINUTES,
}, async () => {
  const context = await browser.newContext();
  const first = await openPage(context);
  await openSpoilt(
    first,
    "once",
    `const upsert = Engine.prototype.upsert;
     Engine.prototype.upsert = async function (...args) {
       await upsert.apply(this, args);
       throw new WebAssembly.RuntimeError("unreachable");
     };`,
  );
  const second = await openTab(context, "once");
  const numbers = await second.evaluate(async () => {
    const write = async (id) => Number((await window.notes.upsert([{ id, vector: [1, 2] }])).lsn);
    return [await write(1), await write(2)];
  });
  assert.deepEqual(numbers, [1, 2], "the record of the failed engine answers the first, and there is no other");
  assert.deepEqual(await first.evaluate(() => window.failures), ["internal"]);
  await context.close();
});
