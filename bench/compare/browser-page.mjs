// The contestants inside the tab, each with the same five steps. Runs in Chromium, served by browser.mjs.

import { EdgeVec, EdgeVecConfig, default as loadEdgeVec } from "/npm/edgevec/edgevec.js";
import { loadHnswlib, syncFileSystem } from "/npm/hnswlib-wasm/dist/hnswlib.js";
import { Hyperspace } from "/ours/dist/index.js";

const TOP_K = 10;
const M = 16;
const EF_CONSTRUCTION = 100;
/** Of EdgeVec, which takes it when an index is made and not with a search. */
const FIXED_EF = 100;
const INDEX_FILE = "bench.dat";
/** As many points as one call of ours takes. */
const BATCH = 10_000;

async function fetched(path) {
  return new Float32Array(await (await fetch(path)).arrayBuffer());
}

/** The package, as an application has it: the engine in its worker, every vector and segment in IndexedDB. */
class Ours {
  name = "ours";

  async open(dimension) {
    this.db ??= await Hyperspace.open("bench");
    this.points = await this.db.collection("points", { dimension, metric: "cosine" });
  }

  async build(vectors, count) {
    const dimension = vectors.length / count;
    for (let first = 0; first < count; first += BATCH) {
      const end = Math.min(first + BATCH, count);
      const ids = Array.from({ length: end - first }, (_, i) => first + i);
      await this.points.upsert({ ids, vectors: vectors.subarray(first * dimension, end * dimension) });
    }
    await this.points.indexed();
  }

  async search(vector, efSearch, exact = false) {
    const hits = await this.points.search({ vector, topK: TOP_K, efSearch, exact });
    return hits.map((hit) => hit.id);
  }

  /** A written point is a stored point, so writing is kept for `save`. */
  async add(vectors, first, count) {
    this.waiting = { ids: Array.from({ length: count }, (_, i) => first + i), vectors };
  }

  async save() {
    if (this.waiting) await this.points.upsert(this.waiting);
    await this.db.flush();
  }

  async reopen(dimension) {
    await this.db.close();
    this.db = undefined;
    await this.open(dimension);
  }
}

class HnswlibWasm {
  name = "hnswlib-wasm";

  async open(dimension) {
    this.lib ??= await loadHnswlib("IDBFS");
    this.index = new this.lib.HierarchicalNSW("cosine", dimension, ""); // a name would have it saved at every insert
  }

  async build(vectors, count) {
    this.count = count + more;
    this.index.initIndex(this.count, M, EF_CONSTRUCTION, 100);
    await this.add(vectors, 0, count);
  }

  async search(vector, ef) {
    this.index.setEfSearch(ef);
    return [...this.index.searchKnn(vector, TOP_K, undefined).neighbors];
  }

  async add(vectors, first, count) {
    const dimension = vectors.length / count;
    for (let i = 0; i < count; i += 1) {
      this.index.addPoint(vectors.subarray(i * dimension, (i + 1) * dimension), first + i, false);
    }
  }

  async save() {
    await this.index.writeIndex(INDEX_FILE);
    await syncFileSystem("write");
  }

  async reopen(dimension) {
    await this.open(dimension);
    await syncFileSystem("read");
    await this.index.readIndex(INDEX_FILE, this.count);
  }
}

class EdgeVecWasm {
  name = "edgevec";
  /** It chooses ids itself. */
  rows = new Map();

  async open(dimension) {
    await loadEdgeVec();
    const config = new EdgeVecConfig(dimension);
    // Its "cosine" returns the farthest; the rows have norm 1, so that by l2 the nearest are the same.
    Object.assign(config, { metric: "l2", m: M, m0: 2 * M, ef_construction: EF_CONSTRUCTION, ef_search: FIXED_EF });
    this.index = new EdgeVec(config);
  }

  async build(vectors, count) {
    await this.add(vectors, 0, count);
  }

  async search(vector) {
    return [...this.index.search(vector, TOP_K)].map((hit) => this.rows.get(hit.id));
  }

  async add(vectors, first, count) {
    const dimension = vectors.length / count;
    for (let i = 0; i < count; i += 1) {
      this.rows.set(this.index.insert(vectors.subarray(i * dimension, (i + 1) * dimension)), first + i);
    }
  }

  save() {
    return this.index.save("bench");
  }

  async reopen() {
    this.index = await EdgeVec.load("bench");
  }
}

const contestants = [new Ours(), new HnswlibWasm(), new EdgeVecWasm()];
const [ours] = contestants;
const { dimension, count, more, queries: asked } = await (await fetch("/data/shape")).json();
const base = await fetched("/data/base");
const all = await fetched("/data/queries");
const queries = Array.from({ length: asked }, (_, i) => all.subarray(i * dimension, (i + 1) * dimension));
let truth;

async function milliseconds(work) {
  const began = performance.now();
  await work();
  return performance.now() - began;
}

/** Inserts a second, really indexed. */
export async function build(at) {
  await contestants[at].open(dimension);
  return count / ((await milliseconds(() => contestants[at].build(base.subarray(0, count * dimension), count))) / 1e3);
}

/** Recall and median milliseconds of all queries, one after the other. */
export async function search(at, ef) {
  truth ??= await Promise.all(queries.map((query) => ours.search(query, undefined, true)));
  const times = [];
  let found = 0;
  for (const [i, query] of queries.entries()) {
    const began = performance.now();
    const ids = await contestants[at].search(query, ef);
    times.push(performance.now() - began);
    found += ids.filter((id) => truth[i].includes(id)).length;
  }
  times.sort((a, b) => a - b);
  return { recall: found / (queries.length * TOP_K), median: times[times.length >> 1] };
}

export const names = contestants.map(({ name }) => name);

/** Milliseconds to store a few vectors more (ours: to write them as well), and to open all and search once. */
export async function keep(at) {
  const one = contestants[at];
  try {
    await one.save();
    await one.add(base.subarray(count * dimension), count, more);
    const save = await milliseconds(() => one.save());
    const open = await milliseconds(async () => {
      await one.reopen(dimension);
      await one.search(queries[0], 64);
    });
    return { save, open };
  } catch (error) {
    return { failed: `cannot be kept: ${error?.message ?? JSON.stringify(error)}` };
  }
}
