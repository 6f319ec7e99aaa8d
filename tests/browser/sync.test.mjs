// A database in the page and a server that keep each other equal: whatever the network, the server, the tabs and the tokens
// do meanwhile. Two profiles of the browser are two devices.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { promisify } from "node:util";
import { CLI, startServer } from "../../scripts/server.mjs";
import { launch, servePackage, until } from "./support.mjs";

const MINUTES = 60_000;
/** What is promised takes at most so long; a test waits ten times longer, and prints what it took. */
const EQUAL_MS = 2_000;
const SEEN_MS = 1_000;
const LENIENCE = 10;
let browser;
let pages;
let folder;

before(async () => {
  folder = mkdtempSync(join(tmpdir(), "hyperspace-sync-"));
  pages = await servePackage();
  browser = await launch();
});

after(async () => {
  await browser?.close();
  await pages?.close();
  rmSync(folder, { recursive: true, force: true });
});

/** A server that pages of the package may use, and that can be killed and started again where it was. */
async function serve(context, name, ...flags) {
  const data = join(folder, name);
  const start = (...more) => startServer(data, "--allowed-origins", new URL(pages.url).origin, ...flags, ...more);
  let server = await start();
  const { url } = server;
  context.after(() => server.kill());
  return {
    url,
    kill: () => server.kill(),
    restart: async () => {
      server = await start("--listen", new URL(url).host);
    },
  };
}

/** A device: a profile of its own. */
async function device(context) {
  const profile = await browser.newContext();
  context.after(() => profile.close());
  return profile;
}

/** A tab that has the database open, as `db`, with its collection `notes`. */
async function openTab(profile) {
  const page = await profile.newPage();
  await page.goto(pages.url);
  await page.evaluate(async () => {
    const { Hyperspace } = await import("/dist/index.js");
    window.db = await Hyperspace.open("notes");
    window.notes = await window.db.collection("notes", { dimension: 2, metric: "l2" });
    window.put = (id, text) => window.notes.upsert([{ id, vector: [id, 1], metadata: { text } }]);
    window.code = (call) =>
      call.then(
        () => "answered",
        (error) => error.code ?? String(error),
      );
    /** Every point there is, by its id. */
    window.all = async () => {
      const hits = await window.notes.search({ vector: [0, 0], topK: 1000, exact: true });
      return Object.fromEntries(hits.map(({ id, metadata }) => [id, metadata.text]));
    };
  });
  return page;
}

/** Begins to sync, as `sync`. */
async function sync(page, options) {
  await page.evaluate(async (options) => {
    window.failures = [];
    window.sync = await window.db.sync(options);
    window.sync.on("error", (error) => window.failures.push(error.code));
  }, options);
}

const all = (page) => page.evaluate(() => window.all());
const caughtUp = (page) => page.evaluate(() => window.sync.caughtUp());
const hasState = (page, state) => until(page, (state) => window.sync.status.state === state, state);

/** Resolves when two devices have the same points, and have nothing more to say. */
async function equal(...devices) {
  for (;;) {
    for (const page of devices) await caughtUp(page);
    const [first, second] = await Promise.all(devices.map(all));
    if (JSON.stringify(first) === JSON.stringify(second)) return;
  }
}

/** Waits until a promise is fulfilled, and says how long that took against what is promised. */
async function within(ms, what, promise) {
  const since = performance.now();
  const late = AbortSignal.timeout(ms * LENIENCE);
  const isLate = new Promise((_, reject) => {
    late.addEventListener("abort", () => reject(new Error(`${what}: not within ${ms * LENIENCE} ms`)));
  });
  const answer = await Promise.race([promise, isLate]);
  console.log(`${what}: ${(performance.now() - since).toFixed(0)} ms of ${ms}`);
  return answer;
}

test("two devices that were offline are equal when they are back, and the newest write of a point stands", {
  timeout: 2 * MINUTES,
}, async (context) => {
  const server = await serve(context, "offline");
  const profiles = [await device(context), await device(context)];
  const [first, second] = await Promise.all(profiles.map(openTab));
  await first.evaluate(async () => {
    for (let id = 1; id <= 6; id += 1) await window.put(id, "first");
  });
  await Promise.all([first, second].map((page) => sync(page, { url: server.url })));
  await caughtUp(first);
  await caughtUp(second);
  assert.deepEqual(await all(second), { 1: "first", 2: "first", 3: "first", 4: "first", 5: "first", 6: "first" });

  await Promise.all(profiles.map((profile) => profile.setOffline(true)));
  await first.evaluate(async () => {
    await window.put(1, "by the first device");
    await window.put(3, "by the first device, before the other");
    await window.notes.delete(4);
    await window.notes.delete(5);
    await window.put(7, "new on the first device");
  });
  await second.evaluate(async () => {
    await window.put(2, "by the second device");
    await window.put(3, "by the second device, behind the other");
    await window.put(4, "written behind a delete");
    await window.notes.delete(6);
    await window.put(8, "new on the second device");
  });
  await Promise.all([first, second].map((page) => hasState(page, "offline")));
  await until(first, () => window.sync.status.pending === 5);
  await Promise.all(profiles.map((profile) => profile.setOffline(false)));
  await within(EQUAL_MS, "two devices are equal again", equal(first, second));
  assert.deepEqual(await all(first), {
    1: "by the first device",
    2: "by the second device",
    3: "by the second device, behind the other",
    4: "written behind a delete",
    7: "new on the first device",
    8: "new on the second device",
  });
  await Promise.all([first, second].map(caughtUp));
  assert.equal(await first.evaluate(() => window.sync.status.pending), 0);
});

test("an edit of a point that was deleted so long ago that nobody knows is given up, told and kept until it is settled", {
  timeout: 2 * MINUTES,
}, async (context) => {
  const server = await serve(context, "forgotten", "--tombstone-seconds", "1");
  const profiles = [await device(context), await device(context)];
  const [first, second] = await Promise.all(profiles.map(openTab));
  await first.evaluate(() => Promise.all([1, 2].map((id) => window.put(id, "by both known"))));
  for (const page of [first, second]) {
    await sync(page, { url: server.url });
    await caughtUp(page);
  }
  await profiles[0].setOffline(true);
  await first.evaluate(async () => {
    window.told = [];
    window.sync.on("conflict", (conflict) => window.told.push(conflict));
    await window.put(2, "edited behind its delete");
  });
  await hasState(first, "offline");
  await second.evaluate(() => window.notes.delete(2));
  await caughtUp(second);
  const cli = async (...words) => (await promisify(execFile)(CLI, ["--server", server.url, "--json", ...words])).stdout;
  for (;;) {
    await cli("vacuum", "notes");
    if (JSON.parse(await cli("stats")).collections[0].tombstones === 0) break;
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
  await profiles[0].setOffline(false);
  await caughtUp(first);
  await until(first, () => window.told.length > 0);
  const seen = await first.evaluate(async () => ({
    told: window.told,
    conflicts: await window.sync.conflicts("notes"),
    counted: window.sync.status.collections[0].conflicts,
    all: await window.all(),
  }));
  const given = { id: 2, deleted: false, vector: [2, 1], metadata: { text: "edited behind its delete" } };
  assert.deepEqual(seen.told, [{ collection: "notes", conflicts: 1 }]);
  assert.deepEqual(
    seen.conflicts.map((conflict) => ({ ...conflict, vector: Object.values(conflict.vector) })),
    [given],
  );
  assert.deepEqual([seen.counted, seen.all], [1, { 1: "by both known" }]);
  await first.evaluate(() => window.sync.settle("notes", 1));
  assert.deepEqual(await first.evaluate(() => window.sync.conflicts("notes")), []);
  await equal(first, second);
});

test("what one device writes another one sees at once, and collections come and go along", {
  timeout: 2 * MINUTES,
}, async (context) => {
  const server = await serve(context, "live");
  const [first, second] = await Promise.all([await device(context), await device(context)].map(openTab));
  await sync(first, { url: server.url });
  await sync(second, { url: server.url });
  await Promise.all([first, second].map(caughtUp));
  const changes = await second.evaluateHandle(() => {
    const changes = [];
    window.sync.on("change", (change) => changes.push(change));
    return changes;
  });
  await second.evaluate(() => {
    window.seen = (async () => {
      while ((await window.notes.get("x")) === undefined) await new Promise((resolve) => setTimeout(resolve, 5));
    })();
  });
  await first.evaluate(() => window.notes.upsert([{ id: "x", vector: [1, 2] }]));
  await within(
    SEEN_MS,
    "another device's write is seen",
    second.evaluate(() => window.seen),
  );
  assert.deepEqual(await changes.jsonValue(), [{ collection: "notes", changed: 1 }]);

  await first.evaluate(async () => {
    const late = await window.db.collection("made-later", { dimension: 3, metric: "cosine" });
    await late.upsert([{ id: 1, vector: [1, 2, 3] }]);
    await window.sync.caughtUp();
  });
  const hasIt = until(second, async () => {
    const made = (await window.db.collections()).find(({ name }) => name === "made-later");
    return made?.points === 1;
  });
  await within(SEEN_MS, "another device's collection is seen", hasIt);
  const third = await openTab(await device(context));
  await sync(third, { url: server.url });
  await caughtUp(third);
  const made = await third.evaluate(() => window.db.collections());
  assert.deepEqual(made, [
    { name: "made-later", dimension: 3, metric: "cosine", points: 1 },
    { name: "notes", dimension: 2, metric: "l2", points: 1 },
  ]);
});

test("a collection that the server has in another shape fails alone", { timeout: 2 * MINUTES }, async (context) => {
  const server = await serve(context, "shapes");
  const [first, second] = await Promise.all([await device(context), await device(context)].map(openTab));
  await first.evaluate(() => window.db.collection("other", { dimension: 4, metric: "l2" }));
  await sync(first, { url: server.url });
  await caughtUp(first);
  await second.evaluate(() => window.db.collection("other", { dimension: 5, metric: "l2" }));
  await sync(second, { url: server.url });
  await until(second, () => window.failures.includes("conflict"));
  await second.evaluate(() => window.put(1, "all the same"));
  await until(first, () => window.notes.get(1));
  // It has been sent before its sender has heard of that.
  await until(second, () => window.sync.status.collections.find(({ name }) => name === "notes").state === "live");
  const states = await second.evaluate(() => window.sync.status.collections.map(({ name, state }) => [name, state]));
  assert.deepEqual(Object.fromEntries(states), { notes: "live", other: "failed" });
  assert.equal(await second.evaluate(() => window.code(window.sync.caughtUp())), "conflict");
  assert.deepEqual(await all(first), { 1: "all the same" });
});

test("the server is killed in the middle of a push: nothing is lost, nothing is doubled", {
  timeout: 2 * MINUTES,
}, async (context) => {
  const server = await serve(context, "killed");
  const profile = await device(context);
  let pushes = 0;
  let killed;
  await profile.route("**/hyperspace.v1.Sync/Push", async (route) => {
    pushes += 1;
    if (pushes !== 2) return route.continue();
    const answer = route.fetch().catch(() => {});
    killed = server.kill();
    await Promise.all([answer, killed]);
    return route.abort();
  });
  const first = await openTab(profile);
  const written = await first.evaluate(async () => {
    const ids = Array.from({ length: 12_000 }, (_, at) => at);
    const metadata = ids.map((id) => ({ text: `${id} ${"x".repeat(300)}` }));
    for (let at = 0; at < ids.length; at += 2_000) {
      const some = (list) => list.slice(at, at + 2_000);
      const vectors = Float32Array.from(some(ids).flatMap((id) => [id, -id]));
      await window.notes.upsert({ ids: some(ids), vectors, metadata: some(metadata) });
    }
    return ids.length;
  });
  await sync(first, { url: server.url });
  await hasState(first, "offline");
  await killed;
  await first.evaluate(() => window.notes.delete([0, 1, 2]));
  await server.restart();
  await caughtUp(first);
  assert.ok(pushes > 3, `${pushes} pushes: the second was not in the middle`);
  const second = await openTab(await device(context));
  await sync(second, { url: server.url });
  await caughtUp(second);
  const missing = await second.evaluate(async (written) => {
    const ids = Array.from({ length: written }, (_, at) => at);
    const points = await window.notes.get(ids);
    return ids.filter((id) => !points[id]?.metadata.text.startsWith(`${id} `) || points[id].vector[1] !== -id);
  }, written);
  assert.deepEqual(missing, [0, 1, 2]);
  for (const page of [first, second]) assert.equal(await page.evaluate(() => window.notes.count()), written - 3);
});

async function crash(profile, page) {
  const cdp = await profile.newCDPSession(page);
  const crashed = new Promise((resolve) => page.once("crash", resolve));
  cdp.send("Page.crash").catch(() => {});
  await crashed;
  await page.close();
}

for (const [what, end] of [
  ["crashes", crash],
  ["is closed", (_, page) => page.close()],
]) {
  test(`when the tab that owns the database ${what}, another one that wants the sync goes on with it`, {
    timeout: 2 * MINUTES,
  }, async (context) => {
    const server = await serve(context, `tabs-${what}`);
    const profile = await device(context);
    const owner = await openTab(profile);
    const heir = await openTab(profile);
    await sync(owner, { url: server.url });
    await sync(heir, { url: server.url });
    const elsewhere = { url: "http://localhost:1" };
    const refused = await heir.evaluate((options) => window.db.sync(options).catch(String), elsewhere);
    assert.match(
      refused,
      /syncs all collections with http:\/\/127[^ ]* already, not all collections with http:\/\/localhost:1$/,
    );
    await caughtUp(heir);
    await heir.evaluate(() => window.put(1, "under the first owner"));
    const writing = heir.evaluate(async () => {
      for (let id = 2; id <= 60; id += 1) await window.put(id, "under whoever owns it");
    });
    await until(heir, () => window.notes.get(10));
    await end(profile, owner);
    await writing;
    await caughtUp(heir);
    const other = await openTab(await device(context));
    await sync(other, { url: server.url });
    await caughtUp(other);
    assert.equal(Object.keys(await all(other)).length, 60);
    await other.evaluate(() => window.put(61, "from elsewhere"));
    await until(heir, () => window.notes.get(61));
    // Nobody wants it any more: the owner goes on without it, and another server may be had.
    const idle = await openTab(profile);
    await idle.evaluate(() => window.put(62, "by a tab that does not sync"));
    await heir.evaluate(() => window.sync.stop());
    assert.equal(await idle.evaluate((options) => window.code(window.db.sync(options)), elsewhere), "answered");
  });
}
test("a session ends with the last tab that wants it, however that tab ends", {
  timeout: 2 * MINUTES,
}, async (context) => {
  const server = await serve(context, "last");
  const profile = await device(context);
  const owner = await openTab(profile);
  const guest = await openTab(profile);
  await sync(guest, { url: server.url });
  await caughtUp(guest);
  await crash(profile, guest);
  const elsewhere = async () => {
    while ((await window.code(window.db.sync({ url: "http://localhost:1" }))) === "already_exists");
    return window.db.sync({ url: "http://localhost:1" }).then((sync) => sync.status.state);
  };
  assert.match(await owner.evaluate(elsewhere), /connecting|offline/);
});

test("a token that has expired is replaced, and a wrong one is a typed error", {
  timeout: 2 * MINUTES,
}, async (context) => {
  const server = await serve(context, "tokens");
  const cli = async (key, ...words) => {
    const as = key === undefined ? [] : ["--api-key", key];
    const { stdout } = await promisify(execFile)(CLI, ["--server", server.url, "--json", ...as, ...words]);
    return JSON.parse(stdout);
  };
  const { api_key: admin } = await cli(undefined, "keys", "create", "--scope", "admin");
  const { api_key: key } = await cli(admin, "keys", "create", "--scope", "read,write,sync", "--tenant", "ada");
  const tokens = [];
  const page = await openTab(await device(context));
  await page.exposeFunction("fetchToken", async () => {
    const { token } = await cli(key, "keys", "token", "--scope", "read,write,sync", "--ttl", "2s");
    tokens.push(token);
    return token;
  });
  await sync(page, { url: server.url, token: "hs_of_nobody" });
  await hasState(page, "failed");
  assert.deepEqual(await page.evaluate(() => [window.sync.status.error.code, window.failures]), [
    "unauthenticated",
    ["unauthenticated"],
  ]);
  assert.equal(await page.evaluate(() => window.code(window.sync.caughtUp())), "unauthenticated");

  await page.evaluate((url) => window.db.sync({ url, token: () => window.fetchToken() }), server.url);
  await caughtUp(page);
  assert.equal(tokens.length, 1);
  const expired = async () => {
    const asked = cli(tokens[0], "collections", "list");
    return asked.then(
      () => false,
      () => true,
    );
  };
  while (!(await expired()));
  await page.evaluate(() => window.put(1, "with a new token"));
  await caughtUp(page);
  assert.equal(tokens.length, 2);
  const {
    collections: [stored],
  } = await cli(key, "collections", "list");
  assert.equal(stored.points, 1);
  assert.deepEqual(await page.evaluate(() => [window.sync.status.error, window.failures]), [
    undefined,
    ["unauthenticated"],
  ]);
});

test("a database that is destroyed is synced no more, and the server keeps its points", {
  timeout: 2 * MINUTES,
}, async (context) => {
  const server = await serve(context, "destroyed");
  const page = await openTab(await device(context));
  await sync(page, { url: server.url });
  await page.evaluate(() => window.put(1, "kept"));
  await caughtUp(page);
  const state = await page.evaluate(async () => {
    await window.db.destroy();
    return [window.sync.status.state, await window.code(window.sync.caughtUp())];
  });
  assert.deepEqual(state, ["stopped", "closed"]);
  const again = await openTab(page.context());
  assert.deepEqual(await all(again), {});
  await sync(again, { url: server.url });
  await caughtUp(again);
  assert.deepEqual(await all(again), { 1: "kept" });
});
