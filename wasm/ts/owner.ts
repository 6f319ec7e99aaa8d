/**
 * The owner of a database that tabs share: the engine, and the other tabs that it answers for. A database in memory has
 * an owner too, which is alone.
 *
 * Only the present owner answers. What fails because it is not the owner any more is not answered by it: the tab will ask
 * the next one. An owner that may have been frozen looks whether it still has its lock before it answers anything; a write
 * would fail by itself, for it looks at the owner's epoch in its own transaction.
 */

import { type ErrorShape, toShape } from "./errors.js";
import { EngineHost, type Surroundings } from "./host.js";
import { hold, isOwner, livingTabs, tabLock } from "./locks.js";
import type { Body, EngineKind, OpenBody, Request, Response } from "./protocol.js";
import { TABS_VERSION, type ToOwner, type ToTab } from "./tabs.js";

/** An owner that has not looked for so long may have been frozen and robbed: less than what a thief waits. */
const DOUBT_MS = 5_000;

export interface OwnerEvents extends Surroundings {
  /** Another tab owns the database now, or nobody does. */
  lost(): void;
  /** The database is deleted. */
  destroyed(): void;
}

export interface OwnerPlan {
  body: OpenBody;
  storage: "indexeddb" | "memory";
  module: WebAssembly.Module;
  /** The tab that it runs in. */
  tab: number;
  paused: boolean;
}

export class Owner {
  readonly #plan: OwnerPlan;
  readonly #host: EngineHost;
  readonly #events: OwnerEvents;
  /** This end of the channel of each other tab. */
  readonly #others = new Map<number, BroadcastChannel>();
  /** The tabs that want the database to be synced. */
  readonly #syncing = new Set<number>();
  #paused: boolean;
  #isOver = false;
  #lookedAt = performance.now();
  #isOwner = Promise.resolve(true);

  private constructor(plan: OwnerPlan, host: EngineHost, events: OwnerEvents) {
    this.#plan = plan;
    this.#host = host;
    this.#events = events;
    this.#paused = plan.paused;
  }

  /** Opens the database, with its lock held, and says so to every tab that uses it. */
  static async start(plan: OwnerPlan, events: OwnerEvents): Promise<Owner> {
    const { body, storage, module } = plan;
    const tabs = storage === "indexeddb" ? await livingTabs(body.name) : [];
    const host = await EngineHost.open(body, storage, module, {
      notify: (notice) => void owner.#notify(notice),
      failed: (error) => {
        // What was under way is the next owner's.
        owner.#isOver = true;
        events.failed(error);
      },
    });
    const owner = new Owner(plan, host, events);
    host.keepTabs(tabs);
    if (plan.paused) await host.serve("pauseIndexing", { paused: true });
    for (const tab of tabs) owner.#meet(tab);
    owner.#present();
    return owner;
  }

  get backend(): "indexeddb" | "memory" {
    return this.#host.backend;
  }

  get epoch(): number {
    return this.#host.epoch;
  }

  /** Answers a request of a tab, or leaves it to the next owner. */
  async serve(request: Request, tab: number, since: number): Promise<Response | undefined> {
    const { call, kind, body } = request;
    try {
      if (!(await this.#standing())) return undefined;
      if (kind === "destroy") return void (await this.#destroy());
      if (kind === "stopSync") return { type: "value", call, value: await this.#unsync(tab) };
      const asked = this.backend === "indexeddb" ? Float64Array.of(tab, call, since) : undefined;
      const value = await this.#host.serve(kind as EngineKind, body as Body<EngineKind>, asked);
      if (kind === "pauseIndexing") {
        this.#paused = body.paused;
        this.#present();
      }
      if (kind === "sync") this.#sync(tab);
      return { type: "value", call, value };
    } catch (thrown) {
      const error = toShape(thrown);
      return (await this.#isLost(error)) ? undefined : { type: "error", call, error };
    }
  }

  /** Answers a tab that calls for the owner. */
  greet(tab: number): void {
    if (!this.#others.has(tab)) {
      this.#meet(tab);
      void this.#forgetTheDead();
    }
    this.#present([tab]);
  }

  /** Ends the engine, flushed as long as it owns the database. What is not answered by then is left to the next owner. */
  async close(): Promise<void> {
    this.#isOver = true;
    try {
      await this.#host.close();
    } finally {
      for (const channel of this.#others.values()) channel.close();
      this.#others.clear();
    }
  }

  #meet(tab: number): void {
    if (tab === this.#plan.tab) return;
    const channel = new BroadcastChannel(tabLock(this.#plan.body.name, tab));
    channel.onmessage = async ({ data }: MessageEvent<ToOwner>) => {
      if (data.epoch !== this.epoch) return;
      const response = await this.serve(data.request, tab, data.since);
      if (response !== undefined) this.#tell(channel, { type: "response", epoch: this.epoch, response });
    };
    this.#others.set(tab, channel);
  }

  /** A tab wants the database to be synced, as long as it lives: then its lock can be had. */
  #sync(tab: number): void {
    if (this.#syncing.has(tab)) return;
    this.#syncing.add(tab);
    if (tab === this.#plan.tab) return;
    void hold(tabLock(this.#plan.body.name, tab)).then((release) => {
      release();
      if (!this.#isOver) void this.#unsync(tab);
    });
  }

  async #unsync(tab: number): Promise<undefined> {
    if (this.#syncing.delete(tab) && this.#syncing.size === 0) await this.#host.serve("stopSync", {});
  }

  #tell(channel: BroadcastChannel | undefined, said: ToTab): void {
    channel?.postMessage(said);
  }

  #present(tabs: Iterable<number> = this.#others.keys()): void {
    const presence = { type: "owner", version: TABS_VERSION, epoch: this.epoch, paused: this.#paused } as const;
    for (const tab of tabs) this.#tell(this.#others.get(tab), presence);
  }

  /** Only a tab that lives asks for anything again. One that came while the lock manager was asked lives as well. */
  async #forgetTheDead(): Promise<void> {
    const before = [...this.#others.keys()];
    const living = await livingTabs(this.#plan.body.name);
    for (const tab of before) {
      if (living.includes(tab)) continue;
      this.#others.get(tab)?.close();
      this.#others.delete(tab);
    }
    this.#host.keepTabs([...living, ...this.#others.keys()]);
  }

  async #notify(notice: Parameters<Surroundings["notify"]>[0]): Promise<void> {
    if (notice.type === "failure" && (await this.#isLost(notice.error))) return;
    this.#events.notify(notice);
    for (const channel of this.#others.values()) {
      this.#tell(channel, { type: "response", epoch: this.epoch, response: notice });
    }
  }

  /** Whether it still is the owner, by a look that is not too old; those who wait for one look go on in their order. */
  #standing(): Promise<boolean> {
    const now = performance.now();
    if (this.backend === "indexeddb" && now - this.#lookedAt > DOUBT_MS) {
      this.#lookedAt = now;
      this.#isOwner = isOwner(this.#plan.body.name, this.#plan.tab);
      void this.#isOwner.then((is) => is || this.#lose());
    }
    return this.#isOwner.then((is) => is && !this.#isOver);
  }

  /** Whether an error only says that somebody else owns the database, or that this engine was closed for another tab. */
  async #isLost({ code }: ErrorShape): Promise<boolean> {
    if (this.backend === "indexeddb" && (code === "conflict" || code === "closed")) {
      this.#lookedAt = Number.NEGATIVE_INFINITY;
      await this.#standing();
    }
    return this.#isOver;
  }

  #lose(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#events.lost();
  }

  async #destroy(): Promise<void> {
    try {
      await this.#host.destroy();
      this.#isOver = true;
      this.#events.destroyed();
    } catch (error) {
      // It is there still, and has to be opened anew.
      queueMicrotask(() => this.#lose());
      throw error;
    }
  }
}
