// The engine in the calling thread: the built wasm behind the public API, without a worker and without IndexedDB.

import assert from "node:assert/strict";
import { test } from "node:test";
import { EmbeddedHyperspace } from "../dist/engine.js";

/** Numbers in [-1, 1) from a seed: the same on every machine. */
function numbers(seed, count) {
  let state = seed;
  return Float32Array.from({ length: count }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 31 - 1;
  });
}

async function rejects(promise, code, text) {
  await assert.rejects(promise, (error) => {
    assert.equal(error.name, "HyperspaceError");
    assert.equal(error.code, code, error.message);
    assert.match(error.message, text);
    return true;
  });
}

async function open(t) {
  const db = await EmbeddedHyperspace.open("test");
  t.after(() => db.close());
  return db;
}

test("a point is found by the next search, under the id that it was given", async (t) => {
  const db = await open(t);
  const notes = await db.collection("notes", { dimension: 3, metric: "l2" });
  const ids = [7, 2 ** 53 - 1, 2n ** 63n, "seven", "ü".repeat(64)];
  const { lsn } = await notes.upsert(ids.map((id, i) => ({ id, vector: [i, 0, 0], metadata: { i } })));
  assert.equal(lsn, 1n);
  for (const [i, id] of ids.entries()) {
    const [hit] = await notes.search({ vector: [i, 0, 0], topK: 1, withVector: true });
    assert.deepEqual(hit, { id, distance: 0, metadata: { i }, vector: Float32Array.of(i, 0, 0) });
  }
  assert.deepEqual(await notes.get([2n ** 63n, "nobody"]), [
    { id: 2n ** 63n, metadata: { i: 2 }, vector: Float32Array.of(2, 0, 0) },
    undefined,
  ]);
  assert.deepEqual(await notes.delete([7, "nobody"]), { deleted: 1, lsn: 2n });
  assert.equal(await notes.get(7), undefined);
  assert.equal(await notes.count(), 4);
});

test("an id that is absent is made before sending, and sorts in the order of making", async (t) => {
  const db = await open(t);
  const notes = await db.collection("notes", { dimension: 1, metric: "l2" });
  const { ids } = await notes.upsert(Array.from({ length: 100 }, (_, i) => ({ vector: [i] })));
  assert.equal(new Set(ids).size, 100);
  assert.deepEqual([...ids].sort(), ids);
  for (const id of ids) assert.match(id, /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
});

test("filters are exact, and columns are the same as rows", async (t) => {
  const db = await open(t);
  const notes = await db.collection("notes", { dimension: 8, metric: "cosine" });
  const metadata = Array.from({ length: 500 }, (_, i) => (i % 3 === 0 ? { lang: "en", year: 2000 + (i % 30) } : null));
  await notes.upsert({ ids: metadata.map((_, i) => i), vectors: numbers(1, 500 * 8), metadata });
  const filter = { lang: "en", year: { $gte: 2020 }, $or: [{ year: 2021 }, { year: { $in: [2024, 2027] } }] };
  const matching = metadata.flatMap((m, i) => (m && [2021, 2024, 2027].includes(m.year) ? [i] : []));
  assert.equal(await notes.count(filter), matching.length);
  const hits = await notes.search({ vector: numbers(2, 8), topK: 1000, filter });
  assert.deepEqual(
    hits.map((hit) => hit.id).sort((a, b) => a - b),
    matching,
  );
  assert.deepEqual(await notes.deleteWhere(filter), { deleted: matching.length, lsn: 2n });
  assert.equal(await notes.count(filter), 0);
  await rejects(notes.count({ year: { $near: 3 } }), "invalid_argument", /\$near/);
});

test("metadata comes back as it was given, and what JSON cannot say is refused", async (t) => {
  const db = await open(t);
  const notes = await db.collection("notes", { dimension: 1, metric: "l2" });
  const metadata = JSON.parse('{"__proto__":{"x":1},"list":[1,2.5,null,"ü",[true]],"deep":{"a":{"b":-7}}}');
  metadata.big = 2n ** 60n;
  metadata.negative = -(2n ** 63n);
  await notes.upsert([{ id: 1, vector: [1], metadata: { ...metadata, absent: undefined } }]);
  const { metadata: back } = await notes.get(1);
  assert.deepEqual(back, metadata);
  assert.deepEqual(Object.keys(back).sort(), Object.keys(metadata).sort());
  for (const [bad, text] of [
    [new Date(), /Date/],
    [Number.NaN, /finite|NaN/i],
    [new Map(), /Map/],
    [2n ** 64n, /bigint/],
  ]) {
    await rejects(notes.upsert([{ id: 2, vector: [1], metadata: { bad } }]), "invalid_argument", text);
  }
  assert.equal(await notes.count(), 1);
});

test("poincare distances are computed from the caller's 64-bit values", async (t) => {
  const db = await open(t);
  const tree = await db.collection("tree", { dimension: 2, metric: "poincare" });
  // So near the border that the rounded rows lie on it.
  const radius = 1 - 1e-9;
  const points = [0, 1, 2].map((i) => [radius * Math.cos(i), radius * Math.sin(i)]);
  await tree.upsert(points.map((vector, id) => ({ id, vector })));
  const hits = await tree.search({ vector: [0, 0], topK: 3 });
  const truth = 2 * Math.atanh(radius);
  for (const { distance } of hits) assert.ok(Math.abs(distance - truth) <= 1e-4 * truth, `${distance} for ${truth}`);
  await rejects(tree.upsert([{ vector: [1, 0] }]), "invalid_argument", /ball|norm|unit/i);
});

test("indexing goes on in the background, is reported, and an exported collection is not indexed again", async (t) => {
  const db = await open(t);
  const notes = await db.collection("notes", { dimension: 16, metric: "l2" });
  const vectors = numbers(3, 5000 * 16);
  const seen = [];
  const off = db.on("progress", (progress) => seen.push(progress));
  await notes.upsert({ ids: Array.from({ length: 5000 }, (_, i) => i), vectors });
  await notes.indexed();
  off();
  assert.deepEqual(seen.at(-1), { collection: "notes", indexed: 5000, pending: 0, done: true });
  const stats = await notes.stats();
  assert.equal(stats.indexed, 5000);
  assert.ok(stats.graphInsertions >= 5000);

  const image = await db.exportCollection("notes");
  assert.equal(
    image.segments.reduce((sum, { bytes }) => sum + bytes.length, 0),
    stats.segments.reduce((sum, { bytes }) => sum + bytes, 0),
  );
  const other = await open(t);
  await other.importCollection("copy", image);
  const copy = await other.collection("copy");
  for (let i = 0; i < 200; i++) {
    const query = { vector: vectors.subarray(i * 16, (i + 1) * 16), topK: 5 };
    assert.deepEqual(await copy.search(query), await notes.search(query));
  }
  assert.equal((await copy.stats()).graphInsertions, 0);
  await rejects(other.importCollection("copy", image), "already_exists", /copy/);
  image.segments[0].bytes[5000] ^= 1;
  await rejects(other.importCollection("bad", image), "corrupted", /./);
});

test("a database is exported as a blob and imported as a whole", async (t) => {
  const db = await open(t);
  const notes = await db.collection("notes", { dimension: 16, metric: "cosine", efSearch: 77 });
  const tree = await db.collection("tree", { dimension: 2, metric: "poincare" });
  await db.collection("empty", { dimension: 3, metric: "dot" });
  const vectors = numbers(5, 3000 * 16);
  const ids = Array.from({ length: 3000 }, (_, i) => (i === 1 ? 2n ** 64n - 1n : i % 3 === 0 ? `ü ${i}` : i));
  const metadata = ids.map((_, i) => ({
    i,
    big: 2n ** 60n,
    negative: -(2n ** 63n),
    deep: { list: [1, 2.5, null, "ü"] },
  }));
  await notes.upsert({ ids, vectors, metadata });
  await notes.indexed();
  await notes.delete(ids.slice(10, 20));
  // So near the border that the rounded rows lie on it.
  const near = [3, 6, 9, 12, 15].map((digits) => [1 - 10 ** -digits, 0]);
  await tree.upsert(near.map((vector, id) => ({ id, vector })));

  const exporting = db.export();
  await notes.upsert([{ id: "later", vector: vectors.subarray(0, 16) }]);
  const blob = await exporting;
  assert.ok(blob instanceof Blob);

  const other = await open(t);
  const expected = [
    { name: "empty", dimension: 3, metric: "dot", points: 0 },
    { name: "notes", dimension: 16, metric: "cosine", points: 2990 },
    { name: "tree", dimension: 2, metric: "poincare", points: 5 },
  ];
  assert.deepEqual(await other.import(blob), expected);
  assert.deepEqual(await other.collections(), expected);
  const [copy, twig] = [await other.collection("notes"), await other.collection("tree")];
  assert.deepEqual(await copy.get(ids), await notes.get(ids));
  assert.equal((await copy.stats()).efSearch, 77);
  await copy.indexed();
  assert.equal((await copy.stats()).indexed, 2990);
  for (let i = 0; i < 50; i++) {
    const query = { vector: vectors.subarray(i * 16, (i + 1) * 16), topK: 5, exact: true, filter: { i: { $gte: 0 } } };
    assert.deepEqual(await copy.search(query), await notes.search(query));
  }
  const query = { vector: [0, 0], topK: 5 };
  assert.deepEqual(await twig.search(query), await tree.search(query));

  await rejects(other.import(blob), "already_exists", /`empty` exists/);
  const third = await open(t);
  await rejects(third.import(blob.slice(0, blob.size - 1)), "corrupted", /ends after/);
  const bytes = new Uint8Array(await blob.arrayBuffer());
  bytes[bytes.length >> 1] ^= 1;
  await rejects(third.import(new Blob([bytes])), "corrupted", /checksum/);
  await rejects(third.import(new Blob([])), "invalid_argument", /no archive/);
  await rejects(third.import(bytes), "invalid_argument", /Blob/);
  assert.deepEqual(await third.collections(), []);
  await third.import(blob);
});

test("with indexing paused, searches and writes go on", async (t) => {
  const db = await open(t);
  const notes = await db.collection("notes", { dimension: 4, metric: "l2" });
  await db.pauseIndexing(true);
  const vectors = numbers(4, 3000 * 4);
  for (let i = 0; i < 1000; i++) {
    const vector = vectors.subarray(i * 4, (i + 1) * 4);
    await notes.upsert([{ id: i, vector }]);
    const [hit] = await notes.search({ vector, topK: 1 });
    assert.equal(hit.id, i);
  }
  let isDone = false;
  const indexed = notes.indexed().then(() => {
    isDone = true;
  });
  await new Promise((resolve) => setTimeout(resolve, 50));
  assert.equal(isDone, false);
  assert.equal((await notes.stats()).pending, 1000);
  await db.pauseIndexing(false);
  await indexed;
  assert.equal((await notes.stats()).indexed, 1000);
});

test("graphs over codes find what graphs over full vectors find, at the same distances, in a quarter of the memory", async (t) => {
  const db = await open(t);
  const [dimension, points] = [96, 3000];
  const vectors = numbers(7, points * dimension);
  const rowOf = (id) => vectors.subarray(id * dimension, (id + 1) * dimension);
  for (const metric of ["l2", "cosine"]) {
    const made = ["none", "scalar_i8"].map(async (quantization) => {
      const collection = await db.collection(`${metric}-${quantization}`, { dimension, metric, quantization });
      await collection.upsert({ ids: Array.from({ length: points }, (_, id) => id), vectors });
      const waiting = await collection.stats();
      assert.deepEqual([waiting.quantization, waiting.coded, waiting.bytesPerVector], [quantization, 0, 0]);
      await collection.indexed();
      return collection;
    });
    const [full, coded] = await Promise.all(made);
    const [fullStats, stats] = [await full.stats(), await coded.stats()];
    // Beside the row or its codes stand four bytes for cosine; for l2 nothing, or eight.
    assert.deepEqual([fullStats.coded, fullStats.bytesPerVector], [0, metric === "l2" ? 384 : 388]);
    assert.deepEqual([stats.coded, stats.bytesPerVector], [points, metric === "l2" ? 104 : 100]);
    let found = 0;
    for (let id = 0; id < points; id += 30) {
      const query = { vector: rowOf(id), topK: 10 };
      const exact = await full.search({ ...query, exact: true });
      assert.deepEqual(await coded.search({ ...query, exact: true }), exact);
      const hits = await coded.search(query);
      assert.equal(hits[0].id, id);
      for (const hit of hits) {
        const same = exact.find((other) => other.id === hit.id);
        if (same !== undefined) assert.equal(hit.distance, same.distance);
        found += same !== undefined;
      }
    }
    assert.ok(found >= ((0.95 * points) / 30) * 10, `${metric}: ${found} of ${points / 3}`);
    await rejects(
      db.collection(`${metric}-scalar_i8`, { dimension, metric, quantization: "none" }),
      "unsupported",
      /none/,
    );
    const again = await db.collection(`${metric}-scalar_i8`, { dimension, metric });
    assert.equal((await again.stats()).quantization, "scalar_i8");
  }
});

test("a collection is opened with the options that it has", async (t) => {
  const db = await open(t);
  await rejects(db.collection("notes"), "not_found", /notes/);
  await rejects(db.collection("Notes!", { dimension: 2, metric: "l2" }), "invalid_argument", /a-z0-9/);
  await rejects(db.collection("notes", { dimension: 2, metric: "l1" }), "invalid_argument", /l1/);
  await rejects(db.collection("notes", { dimension: 0, metric: "l2" }), "invalid_argument", /dimension/);
  const i4 = { dimension: 2, metric: "l2", quantization: "i4" };
  await rejects(db.collection("notes", i4), "invalid_argument", /`i4`.*`scalar_i8`/);
  await db.collection("notes", { dimension: 2, metric: "l2" });
  const i8 = { dimension: 2, metric: "l2", quantization: "scalar_i8" };
  await rejects(db.collection("notes", i8), "unsupported", /none.*scalar_i8/);
  await db.collection("notes", { dimension: 2, metric: "l2", efSearch: 77 });
  assert.equal((await (await db.collection("notes")).stats()).efSearch, 77);
  await rejects(db.collection("notes", { dimension: 3, metric: "l2" }), "already_exists", /2 dimensions.*3/);
  await rejects(db.collection("notes", { dimension: 2, metric: "l2", m: 50 }), "unsupported", /m /);
  assert.deepEqual(await db.collections(), [{ name: "notes", dimension: 2, metric: "l2", points: 0 }]);
  assert.equal(await db.deleteCollection("notes"), true);
  assert.equal(await db.deleteCollection("notes"), false);
  assert.deepEqual(await db.collections(), []);
});

test("a request that cannot be answered says what is wrong with both values", async (t) => {
  const db = await open(t);
  const notes = await db.collection("notes", { dimension: 3, metric: "cosine" });
  await rejects(notes.upsert([{ vector: [1, 2] }]), "invalid_argument", /2 dimensions.*`notes` expects 3/);
  await rejects(notes.upsert([{ vector: [0, 0, 0] }]), "invalid_argument", /no direction/);
  await rejects(notes.upsert([{ vector: [1, 2, Number.NaN] }]), "invalid_argument", /finite/);
  await rejects(notes.upsert([{ id: -1, vector: [1, 2, 3] }]), "invalid_argument", /-1/);
  await rejects(notes.upsert([{ id: 1.5, vector: [1, 2, 3] }]), "invalid_argument", /1\.5/);
  await rejects(notes.upsert([{ id: "", vector: [1, 2, 3] }]), "invalid_argument", /1 to 128 bytes/);
  await rejects(notes.upsert({ vectors: new Float32Array(4) }), "invalid_argument", /4 numbers.*3 dimensions/);
  await rejects(notes.upsert({ ids: [1], vectors: new Float32Array(6) }), "invalid_argument", /1 ids for 2/);
  await rejects(notes.search({ vector: [1, 2, 3], topK: 0 }), "invalid_argument", /top_k/);
  await rejects(notes.search({ vector: [1, 2, 3], topK: 1001 }), "limit_exceeded", /1000/);
  await rejects(notes.upsert([{ vector: [1, 2, 3] }], { durability: "eventual" }), "invalid_argument", /eventual/);
  assert.equal(await notes.count(), 0);
});

test("an aborted signal rejects with its reason", async (t) => {
  const db = await open(t);
  const notes = await db.collection("notes", { dimension: 1, metric: "l2" });
  const reason = new Error("enough");
  await assert.rejects(notes.search({ vector: [1], signal: AbortSignal.abort(reason) }), reason);
  const abort = new AbortController();
  await db.pauseIndexing(true);
  await notes.upsert([{ id: 1, vector: [1] }]);
  const waiting = notes.indexed({ signal: abort.signal });
  abort.abort(reason);
  await assert.rejects(waiting, reason);
});

test("after close every call fails with `closed`, and what waited is answered", async () => {
  const db = await EmbeddedHyperspace.open("test");
  const notes = await db.collection("notes", { dimension: 1, metric: "l2" });
  const writes = Array.from({ length: 20 }, (_, i) => notes.upsert([{ id: i, vector: [i] }]));
  await db.pauseIndexing(true);
  const waiting = notes.indexed();
  waiting.catch(() => {});
  await db.close();
  assert.equal((await Promise.all(writes)).length, 20);
  await rejects(waiting, "closed", /closed/);
  await rejects(notes.count(), "closed", /closed/);
  await db.close();
});
