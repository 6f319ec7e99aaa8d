/** A database as callers see it. Knows no worker and no IndexedDB: only a client that answers calls. */

import { Collection } from "./collection.js";
import { fromShape, HyperspaceError } from "./errors.js";
import { Listeners } from "./events.js";
import type { OpenBody } from "./protocol.js";
import { Sync } from "./sync.js";
import { Client, type Link, type Notice } from "./transport.js";
import type {
  CollectionOptions,
  CollectionSummary,
  IndexProgress,
  Metadata,
  StorageInfo,
  StorageStats,
  SyncOptions,
} from "./types.js";

interface Events {
  /** Indexing went on. */
  progress: IndexProgress;
  /** Something failed in the background: a job, a lost connection, the engine itself. */
  error: HyperspaceError;
}

/** The client's ways to the browser's storage manager; absent outside browsers. */
function storageManager(): StorageManager | undefined {
  return typeof navigator === "undefined" ? undefined : navigator.storage;
}

/** What {@link Hyperspace} and the embedded engine have in common. */
export abstract class Database {
  readonly name: string;
  /** @internal */
  readonly client: Client;
  #backend: "indexeddb" | "memory" = "memory";
  #closing: Promise<void> | undefined;
  #sync: Sync | undefined;
  readonly #listeners = new Listeners<Events>({ progress: new Set(), error: new Set() });

  /** @internal */
  protected constructor(name: string) {
    this.name = name;
    this.client = new Client((notice) => this.#notice(notice));
  }

  /** @internal Opens the database at the other end of a link. */
  async attach(link: Link, body: OpenBody, signal?: AbortSignal): Promise<void> {
    this.client.attach(link);
    try {
      const { backend } = await this.client.call("open", body, { signal });
      this.#backend = backend;
    } catch (error) {
      this.client.die({ code: "closed", message: "the database could not be opened", retryable: false });
      throw error;
    }
  }

  /**
   * Opens a collection; creates it when options are given and there is none.
   *
   * @throws `not_found` when there is none and no options are given; `already_exists` when it has another dimension
   * or metric.
   */
  async collection<M = Metadata>(name: string, options?: CollectionOptions): Promise<Collection<M>> {
    const reply = await this.client.call("collection", { name, options });
    const owner = {
      client: this.client,
      onProgress: (listener: (progress: IndexProgress) => void) => this.on("progress", listener),
    };
    return new Collection<M>(owner, { name, ...reply });
  }

  /** Every collection with its count; opens those that are not open yet. */
  async collections(): Promise<CollectionSummary[]> {
    return this.client.call("collections", {});
  }

  /** Deletes a collection with all its points; false when there is none. */
  async deleteCollection(name: string): Promise<boolean> {
    return this.client.call("deleteCollection", { name });
  }

  /**
   * All collections as they are at one moment, as one file; writes go on meanwhile. `hyperspace-cli import` reads it too.
   */
  async export(): Promise<Blob> {
    return this.client.call("export", {});
  }

  /**
   * Makes the collections of an exported file, all or none, and lists them. When it resolves they are on the disk;
   * indexing goes on in the background.
   *
   * @throws `already_exists` when there is a collection of the same name; `corrupted` when the file is damaged or not
   * whole; `unsupported` when a later version wrote it.
   */
  async import(archive: Blob): Promise<CollectionSummary[]> {
    if (!(archive instanceof Blob)) throw new HyperspaceError("invalid_argument", "an archive is a Blob");
    return this.client.call("import", { archive });
  }

  /** Resolves when everything acknowledged so far is on the disk, whatever its durability was. */
  async flush(): Promise<void> {
    await this.client.call("flush", {});
  }

  /** What went in and out of the store since it was opened. */
  async storage(): Promise<StorageStats> {
    const reply = await this.client.call("storage", {});
    return { ...reply, persistent: await this.#persisted() };
  }

  /** What the browser says of this origin; its numbers are rough on purpose. */
  async storageInfo(): Promise<StorageInfo> {
    const estimate = await storageManager()?.estimate();
    const info: StorageInfo = { persisted: await this.#persisted(), backend: this.#backend };
    if (estimate?.usage !== undefined) info.usage = estimate.usage;
    if (estimate?.quota !== undefined) info.quota = estimate.quota;
    return info;
  }

  /** Asks the browser not to evict this origin; some browsers ask the user. Never called by the library itself. */
  async requestPersistence(): Promise<boolean> {
    return (await storageManager()?.persist?.()) ?? false;
  }

  /** Listens; the answer stops listening. */
  on<E extends keyof Events>(event: E, listener: (event: Events[E]) => void): () => void {
    return this.#listeners.on(event, listener);
  }

  /**
   * Holds background indexing back, or lets it go on. Nothing depends on it: points that wait are searched exactly,
   * and the log keeps them.
   */
  async pauseIndexing(paused: boolean): Promise<void> {
    await this.client.call("pauseIndexing", { paused });
  }

  /**
   * Keeps collections equal to those of a server, from now on and in both directions. Resolves when the engine has taken it
   * on, without waiting for the network: what is written meanwhile is sent when there is one.
   *
   * A database is synced with one server; any of its tabs may ask for it, and it goes on while one of these is open.
   *
   * @throws `invalid_argument` when an option is wrong; `already_exists` when another server or other collections are synced.
   */
  async sync(options: SyncOptions): Promise<Sync> {
    this.#sync ??= new Sync(this.client);
    await this.#sync.begin(options);
    return this.#sync;
  }

  /** Closes and deletes the database. */
  async destroy(): Promise<void> {
    await this.client.call("destroy", {});
    this.#end();
  }

  /** Flushes and ends the engine. Calls that are under way are answered first; later ones fail with `closed`. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    if (!this.client.isOpen) return;
    try {
      await this.client.call("close", {});
    } finally {
      this.#end();
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  #end(): void {
    this.client.die({ code: "closed", message: "the database is closed", retryable: false });
    this.#sync?.end();
  }

  async #persisted(): Promise<boolean> {
    return (await storageManager()?.persisted?.()) ?? false;
  }

  #notice(notice: Notice): void {
    if (notice.type === "progress") this.#listeners.emit("progress", notice.progress);
    else if (notice.type !== "failure") this.#sync?.hear(notice);
    else {
      if (!this.client.isOpen) this.#sync?.end();
      this.#listeners.emit("error", fromShape(notice.error));
    }
  }
}
