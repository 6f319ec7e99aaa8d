// The page's side, with a stand-in for the worker: what happens when things go wrong at the other end.

import assert from "node:assert/strict";
import { createServer } from "node:http";
import { test } from "node:test";
import { EmbeddedHyperspace } from "../dist/engine.js";
import { Hyperspace, HyperspaceError } from "../dist/index.js";
import { uuidv7 } from "../dist/uuid.js";
import { Engine } from "../pkg/hyperspace_wasm.js";

/** Looks like a worker; answers as it is told. */
class StandIn extends EventTarget {
  sent = [];
  terminated = false;
  answer;

  constructor(answer) {
    super();
    this.answer = answer;
  }

  postMessage(request) {
    this.sent.push(request);
    const value = this.answer(request);
    if (value === undefined) return;
    queueMicrotask(() => this.say({ type: "value", call: request.call, value }));
  }

  say(data) {
    this.dispatchEvent(new MessageEvent("message", { data }));
  }

  terminate() {
    this.terminated = true;
  }
}

const replies = {
  open: { backend: "indexeddb" },
  collection: { space: 1, dimension: 1, metric: "l2" },
  close: null,
};

async function openStandIn() {
  const worker = new StandIn(({ kind }) => replies[kind]);
  const db = await Hyperspace.open("notes", { worker });
  return { worker, db, notes: await db.collection("notes") };
}

const withCode = (code) => (error) => error instanceof HyperspaceError && error.code === code;

test("importing the package does nothing, and opening without workers says so", async () => {
  await assert.rejects(Hyperspace.open("notes"), withCode("unsupported"));
});

test("when the worker dies, waiting calls fail with `internal` and later ones with `closed`", async () => {
  const { worker, db, notes } = await openStandIn();
  const events = [];
  db.on("error", (error) => events.push(error.code));
  const waiting = [notes.count(), notes.search({ vector: [1] }), db.flush()];
  const died = new Event("error");
  died.message = "out of memory";
  worker.dispatchEvent(died);
  for (const call of waiting) await assert.rejects(call, withCode("internal"));
  await assert.rejects(notes.count(), withCode("closed"));
  assert.deepEqual(events, ["internal"]);
  assert.ok(worker.terminated);
  await db.close();
});

test("closing terminates the worker, and a second close is the same", async () => {
  const { worker, db } = await openStandIn();
  await Promise.all([db.close(), db.close()]);
  assert.ok(worker.terminated);
  assert.equal(worker.sent.filter(({ kind }) => kind === "close").length, 1);
});

test("a status of the sync tells each error and each conflict once, and a token is fetched when it is asked for", async () => {
  const status = (more) => ({ state: "live", pending: 0, collections: [], ...more });
  const one = (conflicts, error) => ({ name: "notes", state: "live", pending: 0, conflicts, ...(error && { error }) });
  const worker = new StandIn(({ kind }) => ({ ...replies, sync: status(), giveToken: null })[kind]);
  const db = await Hyperspace.open("notes", { worker });
  const tokens = ["first", "second"];
  const token = () => tokens.shift() ?? Promise.reject(new Error("signed out"));
  const sync = await db.sync({ url: "https://vectors.example//", token });
  const { body } = worker.sent.find(({ kind }) => kind === "sync");
  assert.deepEqual(body, {
    url: "https://vectors.example",
    collections: undefined,
    token: undefined,
    asks: true,
    paused: false,
  });
  const told = [];
  sync.on("error", ({ code, message }) => told.push([code, message]));
  sync.on("conflict", ({ collection, conflicts }) => told.push([collection, conflicts]));
  sync.on("change", (change) => told.push(change));
  const late = { code: "unavailable", message: "no network", retryable: true };
  const shape = { code: "conflict", message: "another shape", retryable: false };
  for (const next of [
    status({ error: late }),
    status({ error: late, collections: [one(0)] }),
    status({ collections: [one(2)] }),
    status({ collections: [one(2, shape)] }),
    status({ collections: [one(1, shape)] }),
    status({ error: late }),
  ]) {
    worker.say({ type: "sync", status: next });
    assert.equal(sync.status, next);
  }
  worker.say({ type: "change", change: { collection: "notes", changed: 3 } });
  assert.deepEqual(told, [
    ["unavailable", "no network"],
    ["notes", 2],
    ["conflict", "another shape"],
    ["unavailable", "no network"],
    { collection: "notes", changed: 3 },
  ]);

  for (let asked = 0; asked < 3; asked += 1) worker.say({ type: "token" });
  await new Promise((resolve) => setTimeout(resolve));
  const given = worker.sent.filter(({ kind }) => kind === "giveToken").map(({ body }) => body);
  assert.deepEqual(
    given.map(({ token, error }) => [token, error?.message]),
    [
      ["first", undefined],
      ["second", undefined],
      [undefined, "Error: signed out"],
    ],
  );
  worker.say({ type: "fatal", error: { code: "internal", message: "gone", retryable: false } });
  assert.equal(sync.status.state, "stopped");
});

test("a tab that has stopped the sync hears no more of that of other tabs, until it wants it again", async () => {
  const status = { state: "live", pending: 0, collections: [] };
  const worker = new StandIn(({ kind }) => ({ ...replies, sync: status, stopSync: null })[kind]);
  const db = await Hyperspace.open("notes", { worker });
  const sync = await db.sync({ url: "http://localhost:50051" });
  await sync.stop();
  worker.say({ type: "sync", status });
  assert.equal(sync.status.state, "stopped");
  assert.equal(await db.sync({ url: "http://localhost:50051" }), sync);
  worker.say({ type: "sync", status: { ...status, pending: 1 } });
  assert.equal(sync.status.pending, 1);
});

test("opening can be given up", async () => {
  const worker = new StandIn(() => undefined);
  const abort = new AbortController();
  const opening = Hyperspace.open("notes", { worker, signal: abort.signal });
  abort.abort(new Error("no longer"));
  await assert.rejects(opening, /no longer/);
  assert.ok(worker.terminated);
});

test("the page tells the worker an absolute address of the wasm", async () => {
  const { worker } = await openStandIn();
  assert.match(worker.sent[0].body.wasm.url, /^file:\/\/.*hyperspace_wasm_bg\.wasm$/);
});

test("a trap of the engine fails every waiting call and closes the database", async (t) => {
  const db = await EmbeddedHyperspace.open("test");
  const notes = await db.collection("notes", { dimension: 1, metric: "l2" });
  await db.pauseIndexing(true);
  await notes.upsert([{ id: 1, vector: [1] }]);
  const search = Engine.prototype.search;
  t.after(() => {
    Engine.prototype.search = search;
  });
  Engine.prototype.search = () => {
    throw new WebAssembly.RuntimeError("unreachable");
  };
  const waiting = notes.indexed();
  waiting.catch(() => {});
  await assert.rejects(notes.search({ vector: [1] }), withCode("internal"));
  await assert.rejects(waiting, withCode("internal"));
  await assert.rejects(notes.count(), withCode("closed"));
});

test("an address that answers a page instead of WebAssembly is an error that says what to do", async (t) => {
  const server = createServer((request, response) => {
    const isMissing = request.url === "/missing";
    response.writeHead(isMissing ? 404 : 200, { "content-type": "text/html" });
    response.end("<!doctype html><title>the app</title>");
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.after(() => server.close());
  const at = (path) => EmbeddedHyperspace.open("test", { wasmUrl: `http://127.0.0.1:${server.address().port}${path}` });
  await assert.rejects(at("/assets/x.wasm"), (error) => {
    assert.equal(error.code, "invalid_argument");
    assert.match(error.message, /text\/html instead of WebAssembly.*wasmUrl/);
    return true;
  });
  await assert.rejects(at("/missing"), (error) => error.code === "unavailable" && /404/.test(error.message));
});

test("uuids of one millisecond rise, past its counter too", () => {
  const made = Array.from({ length: 10_000 }, () => uuidv7(1_700_000_000_000));
  assert.deepEqual([...made].sort(), made);
  assert.equal(new Set(made).size, made.length);
});
