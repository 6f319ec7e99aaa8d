/**
 * HyperspaceDB in the browser: a vector database in a worker, kept in IndexedDB.
 *
 * Importing this module does nothing: no fetch, no worker, no access to `window`.
 *
 * ```ts
 * const db = await Hyperspace.open("notes");
 * const notes = await db.collection("notes", { dimension: 384, metric: "cosine" });
 * await notes.upsert([{ id: "a1", vector, metadata: { lang: "en" } }]);
 * const hits = await notes.search({ vector: query, topK: 10, filter: { lang: "en" } });
 * ```
 */

import { HyperspaceError } from "./errors.js";
import { Database } from "./hyperspace.js";
import type { WasmSource } from "./protocol.js";
import { workerLink } from "./transport.js";
import type { OpenOptions } from "./types.js";

export { Collection } from "./collection.js";
export { type ErrorCode, type ErrorShape, HyperspaceError } from "./errors.js";
export type { Sync } from "./sync.js";
export type * from "./types.js";
export { uuidv7 } from "./uuid.js";

/**
 * A database of this origin. Any number of its tabs may open it: one of them runs the engine for all, and when it goes,
 * another one takes over.
 */
export class Hyperspace extends Database {
  private constructor(name: string) {
    super(name);
  }

  /**
   * Opens a database, creating it when it does not exist. Nothing is indexed anew: what was sealed is loaded.
   *
   * @throws `unavailable` when a tab runs another version of this package; `unsupported` where IndexedDB, Web Locks,
   * BroadcastChannel or workers are missing; `invalid_argument` when the engine's address answers something that is not WebAssembly.
   */
  static async open(name: string, options: OpenOptions = {}): Promise<Hyperspace> {
    const { signal, durability = "relaxed", fallback } = options;
    signal?.throwIfAborted();
    if (typeof name !== "string" || name === "") {
      throw new HyperspaceError("invalid_argument", "a database's name is a string that is not empty");
    }
    const worker = makeWorker(options.worker);
    const database = new Hyperspace(name);
    const body = { name, storage: "indexeddb", fallback, durability, wasm: wasmSource(options) } as const;
    await database.attach(workerLink(worker, database.client), body, signal);
    return database;
  }
}

function makeWorker(given: OpenOptions["worker"]): Worker {
  if (typeof given === "function") return given();
  if (given !== undefined) return given;
  if (typeof Worker === "undefined") {
    throw new HyperspaceError("unsupported", "there are no web workers here; `hyperspace-db/engine` runs without one");
  }
  return new Worker(new URL("./worker.js", import.meta.url), { type: "module" });
}

/** The page resolves the address: inside a bundled worker a relative one would point elsewhere. */
function wasmSource(options: OpenOptions): WasmSource {
  if (options.wasmModule !== undefined) return { module: options.wasmModule };
  if (options.wasmUrl !== undefined) {
    const base = typeof document === "undefined" ? undefined : document.baseURI;
    return { url: new URL(options.wasmUrl, base).href };
  }
  return { url: new URL("../pkg/hyperspace_wasm_bg.wasm", import.meta.url).href };
}
