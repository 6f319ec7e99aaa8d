/**
 * The same engine in the calling thread, without a worker: for Node, for tests and tools, and for workers of your own.
 *
 * Searches and indexing block the thread for as long as they take (indexing in slices of a few milliseconds). In
 * memory by default; `storage: "indexeddb"` needs a browser's context, and is shared with other tabs. A panic of the engine ends every database that
 * this thread holds.
 */

import { HyperspaceError } from "./errors.js";
import { Database } from "./hyperspace.js";
import type { CollectionImage, WasmSource } from "./protocol.js";
import { Seat } from "./seat.js";
import type { Link } from "./transport.js";
import type { Durability } from "./types.js";

export { Collection } from "./collection.js";
export { type ErrorCode, type ErrorShape, HyperspaceError } from "./errors.js";
export type { CollectionImage } from "./protocol.js";
export type { Sync } from "./sync.js";
export type * from "./types.js";

export interface EngineOptions {
  /** Default `memory`. */
  storage?: "memory" | "indexeddb";
  durability?: Durability;
  wasmUrl?: string | URL;
  wasmModule?: WebAssembly.Module;
}

/** A database whose engine runs here. */
export class EmbeddedHyperspace extends Database {
  private constructor(name: string) {
    super(name);
  }

  /** Opens a database; in memory it is always a new one. */
  static async open(name: string, options: EngineOptions = {}): Promise<EmbeddedHyperspace> {
    if (typeof name !== "string" || name === "") {
      throw new HyperspaceError("invalid_argument", "a database's name is a string that is not empty");
    }
    const { storage = "memory", durability = "relaxed" } = options;
    const database = new EmbeddedHyperspace(name);
    const body = { name, storage, fallback: undefined, durability, wasm: await wasmSource(options) };
    await database.attach(directLink(database), body);
    return database;
  }

  /** The sealed segments and the manifest of a collection, as bytes. Points that are not sealed yet are not in it: await `indexed()` first. */
  async exportCollection(name: string): Promise<CollectionImage> {
    const { space } = await this.client.call("collection", { name, options: undefined });
    return this.client.call("exportCollection", { handle: { name, space } });
  }

  /**
   * Makes a collection of exported bytes; everything is checked before it is used, nothing is indexed anew.
   *
   * @throws `already_exists` when there is a collection of this name; `corrupted` when the bytes fail their checks.
   */
  async importCollection(name: string, image: CollectionImage): Promise<void> {
    await this.client.call("importCollection", { name, image });
  }
}

function directLink(database: Database): Link {
  const seat = new Seat((response) => database.client.receive(response));
  return { post: (request) => void seat.handle(request), end: () => {} };
}

async function wasmSource({ wasmModule, wasmUrl }: EngineOptions): Promise<WasmSource> {
  if (wasmModule !== undefined) return { module: wasmModule };
  const url = wasmUrl === undefined ? new URL("../pkg/hyperspace_wasm_bg.wasm", import.meta.url) : new URL(wasmUrl);
  if (url.protocol === "file:") return { module: await WebAssembly.compile(await readFile(url)) };
  return { url: url.href };
}

/** Node has no fetch for file addresses. Asked for at run time, so that no bundler follows it. */
function readFile(url: URL): Promise<Uint8Array<ArrayBuffer>> {
  const { process } = globalThis as unknown as { process: { getBuiltinModule(name: string): FileSystem } };
  return process.getBuiltinModule("node:fs/promises").readFile(url);
}

interface FileSystem {
  readFile(path: URL): Promise<Uint8Array<ArrayBuffer>>;
}
