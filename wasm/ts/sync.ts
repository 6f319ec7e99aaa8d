/** A database's session with a server, as callers see it. The engine's side is `replication.ts`. */

import { type ErrorShape, fromShape, HyperspaceError, toShape } from "./errors.js";
import { Listeners } from "./events.js";
import type { Client, Notice } from "./transport.js";
import type { SyncChange, SyncConflict, SyncOptions, SyncStatus } from "./types.js";

interface SyncEvents {
  /** The status is another one. */
  status: SyncStatus;
  /** Others' writes have arrived. */
  change: SyncChange;
  /** Writes of this device were given up: there are more conflicts than before. */
  conflict: { collection: string; conflicts: number };
  /** Something that the status shows went wrong. */
  error: HyperspaceError;
}

/** Keeps collections equal to those of a server. Got from {@link Hyperspace.sync}. */
export class Sync {
  readonly #client: Client;
  readonly #listeners = new Listeners<SyncEvents>({
    status: new Set(),
    change: new Set(),
    conflict: new Set(),
    error: new Set(),
  });
  #status = STOPPED;
  #token: SyncOptions["token"];
  /** Whether this tab wants it: what is told of it is told to all tabs. */
  #isWanted = false;
  /** Workers do not hear of it everywhere. */
  readonly #online = (): void => {
    if (this.#status.state === "offline") void this.resume().catch(() => {});
  };

  /** @internal */
  constructor(client: Client) {
    this.#client = client;
  }

  get status(): SyncStatus {
    return this.#status;
  }

  /** Listens; the answer stops listening. */
  on<E extends keyof SyncEvents>(event: E, listener: (event: SyncEvents[E]) => void): () => void {
    return this.#listeners.on(event, listener);
  }

  /** Resolves when the server has answered for all that was written before, and both sides were equal when last compared. */
  async caughtUp(): Promise<void> {
    await this.#client.call("caughtUp", {});
  }

  /** Writes of this device that lost what they were based on: the server's point stands. The oldest first. */
  async conflicts(collection: string): Promise<SyncConflict[]> {
    return this.#client.call("conflicts", { name: collection });
  }

  /** Forgets the oldest conflicts of a collection, once they are dealt with. */
  async settle(collection: string, count: number): Promise<void> {
    await this.#client.call("settle", { name: collection, count });
  }

  /** Says nothing to the server, in every tab, until it is resumed. */
  async pause(): Promise<void> {
    await this.#client.call("pauseSync", { paused: true });
  }

  /** Goes on, at once, also with what has failed. */
  async resume(): Promise<void> {
    await this.#client.call("pauseSync", { paused: false });
  }

  /** Ends it for this tab, and altogether unless another tab wants it. */
  async stop(): Promise<void> {
    if (this.#client.isOpen) await this.#client.call("stopSync", {});
    this.end();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  /** @internal */
  async begin({ url, token, collections }: SyncOptions): Promise<void> {
    if (!URL.canParse(url) || !/^https?:/.test(url)) {
      throw new HyperspaceError("invalid_argument", `a server's address is http://... or https://..., not ${url}`);
    }
    const before = this.#token;
    this.#token = token;
    this.#isWanted = true;
    const isFunction = typeof token === "function";
    try {
      const status = await this.#client.call("sync", {
        url: url.replace(/\/+$/, ""),
        collections: collections && [...collections].sort(),
        token: isFunction ? undefined : token,
        asks: isFunction,
        paused: false,
      });
      this.#become(status);
      globalThis.addEventListener?.("online", this.#online);
    } catch (error) {
      this.#token = before;
      this.#isWanted = this.#status.state !== "stopped";
      throw error;
    }
  }

  /** @internal */
  hear(notice: Notice): void {
    if (!this.#isWanted) return;
    if (notice.type === "sync") this.#become(notice.status);
    else if (notice.type === "change") this.#listeners.emit("change", notice.change);
    else if (typeof this.#token === "function") void this.#give(this.#token);
  }

  /** @internal */
  end(): void {
    globalThis.removeEventListener?.("online", this.#online);
    this.#isWanted = false;
    this.#become(STOPPED);
  }

  async #give(get: () => string | Promise<string>): Promise<void> {
    const given = await Promise.resolve()
      .then(get)
      .then(
        (token) => ({ token, error: undefined }),
        (thrown) => ({ token: undefined, error: toShape(thrown) }),
      );
    await this.#client.call("giveToken", given).catch(() => {});
  }

  #become(status: SyncStatus): void {
    const before = this.#status;
    this.#status = status;
    this.#listeners.emit("status", status);
    this.#complain(before.error, status.error);
    for (const { name, conflicts, error } of status.collections) {
      const old = before.collections.find((collection) => collection.name === name);
      if (conflicts > (old?.conflicts ?? 0)) this.#listeners.emit("conflict", { collection: name, conflicts });
      this.#complain(old?.error, error);
    }
  }

  #complain(before: ErrorShape | undefined, now: ErrorShape | undefined): void {
    if (now !== undefined && now.message !== before?.message) this.#listeners.emit("error", fromShape(now));
  }
}

const STOPPED: SyncStatus = { state: "stopped", pending: 0, collections: [] };
