// The session between the engine and a server, in Node: what it says and when, seen from a proxy that can get in its way.
// What browsers add to it is tested in tests/browser.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { promisify } from "node:util";
import { EmbeddedHyperspace } from "hyperspace-db/engine";
import { CLI } from "../../scripts/server.mjs";
import { proxied } from "./proxied.mjs";

const MINUTES = 60_000;
const ENDED_WELL = Buffer.concat([Buffer.from([0x80, 0, 0, 0, 15]), Buffer.from("grpc-status:0\r\n")]);
let folder;

before(() => {
  folder = mkdtempSync(join(tmpdir(), "hyperspace-sync-"));
});

after(() => rmSync(folder, { recursive: true, force: true }));

/** A device: a database in memory with the collection `notes`. */
async function device(context) {
  const db = await EmbeddedHyperspace.open("device");
  context.after(() => db.close());
  return { db, notes: await db.collection("notes", { dimension: 2, metric: "l2" }) };
}

const text = async (notes, id) => (await notes.get(id))?.metadata.text;
const put = (notes, id, text) => notes.upsert([{ id, vector: [1, 2], metadata: { text } }]);

/** Resolves when a status fulfils a condition. */
function until(sync, condition) {
  return new Promise((resolve) => {
    const look = (status) => condition(status) && resolve(off());
    const off = sync.on("status", look);
    look(sync.status);
  });
}

test("a collection takes its quantization along, to the server and from there to another device", {
  timeout: MINUTES,
}, async (context) => {
  const world = await proxied(context, folder);
  const here = await device(context);
  const made = await here.db.collection("coded", { dimension: 2, metric: "l2", quantization: "scalar_i8" });
  await put(made, 1, "from here");
  const sync = await here.db.sync({ url: world.url });
  await sync.caughtUp();
  const listed = await promisify(execFile)(CLI, ["--server", world.direct, "--json", "collections"]);
  assert.deepEqual(
    JSON.parse(listed.stdout).collections.map(({ name, quantization }) => [name, quantization]),
    [
      ["coded", "scalar_i8"],
      ["notes", "none"],
    ],
  );
  const there = await EmbeddedHyperspace.open("device");
  context.after(() => there.close());
  await (await there.sync({ url: world.url })).caughtUp();
  const [coded, notes] = [await there.collection("coded"), await there.collection("notes")];
  await coded.indexed();
  const [stats, others] = [await coded.stats(), await notes.stats()];
  assert.deepEqual([stats.quantization, stats.coded, others.quantization], ["scalar_i8", 1, "none"]);
  assert.equal(await text(coded, 1), "from here");
});

test("behind a proxy that holds streams back, a device asks again and again, and still hears of everything", {
  timeout: MINUTES,
}, async (context) => {
  const world = await proxied(context, folder);
  world.spoil = (method, response) => {
    if (method !== "Follow") return false;
    response.writeHead(200, { "content-type": "application/grpc-web+proto" }).end(ENDED_WELL);
    return true;
  };
  const [here, there] = [await device(context), await device(context)];
  const syncs = [await here.db.sync({ url: world.url }), await there.db.sync({ url: world.direct })];
  while (world.seen.filter((method) => method === "List").length < 5) {
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  await put(there.notes, 1, "from elsewhere");
  await new Promise((resolve) => syncs[0].on("change", resolve));
  assert.equal(await text(here.notes, 1), "from elsewhere");
  assert.equal(world.seen.filter((method) => method === "Follow").length, 3);
  assert.equal(syncs[0].status.state, "live");
});

test("a session that is paused says nothing, and what was written meanwhile is sent when it goes on", {
  timeout: MINUTES,
}, async (context) => {
  const world = await proxied(context, folder);
  const [here, there] = [await device(context), await device(context)];
  const sync = await here.db.sync({ url: world.url });
  const other = await there.db.sync({ url: world.direct });
  await sync.caughtUp();
  await sync.pause();
  const said = world.seen.length;
  await put(here.notes, 1, "while it is paused");
  await until(sync, ({ state, pending }) => state === "paused" && pending === 1);
  await put(there.notes, 2, "from elsewhere");
  await other.caughtUp();
  assert.equal(world.seen.length, said);
  assert.equal(await text(here.notes, 2), undefined);
  await sync.resume();
  await sync.caughtUp();
  await other.caughtUp();
  assert.equal(await text(here.notes, 2), "from elsewhere");
  assert.equal(await text(there.notes, 1), "while it is paused");
});

test("a collection that is deleted on the server fails alone and keeps its points here", {
  timeout: MINUTES,
}, async (context) => {
  const world = await proxied(context, folder);
  const here = await device(context);
  const kept = await here.db.collection("kept", { dimension: 2, metric: "l2" });
  await put(here.notes, 1, "stays here");
  const sync = await here.db.sync({ url: world.url });
  const errors = [];
  sync.on("error", ({ code }) => errors.push(code));
  await sync.caughtUp();
  await promisify(execFile)(CLI, ["--server", world.direct, "collections", "delete", "notes", "--yes"]);
  await until(sync, ({ collections }) => collections.some(({ state }) => state === "failed"));
  await put(kept, 1, "goes on");
  await until(sync, ({ state, pending }) => state === "live" && pending === 0);
  assert.deepEqual(
    sync.status.collections.map(({ name, state, error }) => [name, state, error?.code]),
    [
      ["kept", "live", undefined],
      ["notes", "failed", "not_found"],
    ],
  );
  assert.deepEqual(errors.at(-1), "not_found");
  assert.equal(await text(here.notes, 1), "stays here");
  await assert.rejects(sync.caughtUp(), { code: "not_found" });
});

test("a collection that is refused again and again at first is live when it is not any more", {
  timeout: MINUTES,
}, async (context) => {
  const world = await proxied(context, folder);
  const [here, there] = [await device(context), await device(context)];
  await here.db.collection("quiet", { dimension: 2, metric: "l2" });
  let refusals = 0;
  world.spoil = (method, response) => {
    if (method !== "Push" || refusals === 8) return false;
    refusals += 1;
    const conflict = { "grpc-status": "10", "hyperspace-error": "conflict", "hyperspace-retryable": "false" };
    response.writeHead(200, { "content-type": "application/grpc-web+proto", ...conflict }).end();
    return true;
  };
  await put(here.notes, 1, "refused at first");
  const sync = await here.db.sync({ url: world.url });
  const other = await there.db.sync({ url: world.direct });
  await sync.caughtUp();
  assert.equal(refusals, 8);
  await other.caughtUp();
  await put(there.notes, 2, "from elsewhere");
  await new Promise((resolve) => sync.on("change", resolve));
  assert.deepEqual([await text(here.notes, 2), await text(there.notes, 1)], ["from elsewhere", "refused at first"]);
});

test("a collection that is deleted here is synced no more, and the others go on", {
  timeout: MINUTES,
}, async (context) => {
  const world = await proxied(context, folder);
  const [here, there] = [await device(context), await device(context)];
  const gone = await here.db.collection("gone", { dimension: 2, metric: "l2" });
  await put(gone, 1, "kept by the server");
  const sync = await here.db.sync({ url: world.url });
  await sync.caughtUp();
  const other = await there.db.sync({ url: world.direct });
  await other.caughtUp();
  await here.db.deleteCollection("gone");
  await put(await there.db.collection("gone"), 2, "for a collection that is not there");
  await put(there.notes, 1, "for one that is");
  await other.caughtUp();
  await until(sync, ({ collections }) => collections.length === 1);
  await sync.caughtUp();
  assert.equal(await text(here.notes, 1), "for one that is");
  await sync.stop();
  const again = await here.db.sync({ url: world.url });
  await again.caughtUp();
  assert.equal(await (await here.db.collection("gone")).count(), 2);
});

test("an option that is wrong is refused, and another session beside one too", {
  timeout: MINUTES,
}, async (context) => {
  const world = await proxied(context, folder);
  const { db } = await device(context);
  for (const url of ["", "localhost:50051", "ftp://localhost", undefined]) {
    await assert.rejects(db.sync({ url }), { code: "invalid_argument" });
  }
  const sync = await db.sync({ url: `${world.url}/`, collections: ["notes"] });
  assert.equal(await db.sync({ url: world.url, collections: ["notes"] }), sync);
  for (const other of [{ url: world.url }, { url: world.direct, collections: ["notes"] }]) {
    await assert.rejects(db.sync(other), { code: "already_exists", message: /syncs notes with .* already, not / });
  }
  await sync.stop();
  assert.equal(sync.status.state, "stopped");
  await db.sync({ url: world.direct });
});

test("whatever single answer is lost, both sides end up equal", { timeout: 2 * MINUTES }, async (context) => {
  for (const lost of ["List", "Hello", "Pull", "Push", "Follow"]) {
    const world = await proxied(context, folder);
    const [here, there] = [await device(context), await device(context)];
    await put(there.notes, 1, "there");
    const other = await there.db.sync({ url: world.direct });
    await other.caughtUp();
    world.lost = lost;
    await put(here.notes, 2, "here");
    const sync = await here.db.sync({ url: world.url });
    await sync.caughtUp();
    await other.caughtUp();
    assert.equal(world.lost, "", `${lost} was called`);
    for (const { notes } of [here, there]) {
      assert.deepEqual([await text(notes, 1), await text(notes, 2)], ["there", "here"], `without ${lost}`);
    }
  }
});
