/**
 * One engine: answers requests, and gets time for background work between them. Knows no tabs and no page.
 *
 * Work is done in slices of a few milliseconds, each in a task of its own, so that a request waits for one slice at
 * most. A trap ends the engine and is reported; no call is left waiting for it.
 */

import { Engine, initSync, on_panic } from "../pkg/hyperspace_wasm.js";
import { hasBuilders, lend } from "./builder.js";
import { HyperspaceError, toShape } from "./errors.js";
import type { Body, Calls, EngineKind, Handle, OpenBody, Reply, Response } from "./protocol.js";
import { Replication, stopped } from "./replication.js";
import type { Notice } from "./transport.js";

/** A slice while nobody asks for anything, and while requests keep coming. */
const IDLE_SLICE_MS = 8;
const BUSY_SLICE_MS = 2;
const BUSY_WINDOW_MS = 100;
/** Progress is for people: no more often than this. */
const PROGRESS_MS = 100;
/** How long a failed job rests before it is tried again. */
const RETRY_MS = 5_000;

/** Which request of which tab a change answers, `[tab, n, since]`: see `answers.rs`. */
export type Asked = Float64Array | undefined;

type Handlers = { [K in EngineKind]: (body: Body<K>, asked: Asked) => Promise<Reply<K>> | Reply<K> };

export interface Surroundings {
  /** Something went on, or failed, that nobody asked for. */
  notify(notice: Notice): void;
  /** The engine is gone. */
  failed(error: HyperspaceError): void;
}

interface Waiter {
  handle: Handle;
  through: number;
  resolve(value: undefined): void;
  reject(reason: unknown): void;
}

export class EngineHost {
  readonly #surroundings: Surroundings;
  #engine: Engine | undefined;
  #working = false;
  #lastRequest = 0;
  #lastProgress = 0;
  /** The collections that this engine has loaded, or is loading, by their space. */
  readonly #reached = new Map<number, Promise<unknown>>();
  readonly #waiters = new Set<Waiter>();
  /** The conversation with a server, if there is one. */
  #replication: Replication | undefined;
  /** Ends the builder, if there is one. */
  #recall = (): void => {};
  /** When the one before has nothing under way any more. */
  #ended = Promise.resolve();
  readonly backend: "indexeddb" | "memory";
  readonly epoch: number;

  private constructor(
    engine: Engine,
    private readonly module: WebAssembly.Module,
    surroundings: Surroundings,
  ) {
    this.#engine = engine;
    this.#surroundings = surroundings;
    engine.lend(hasBuilders());
    this.backend = engine.backend() as "indexeddb" | "memory";
    this.epoch = engine.epoch();
    on_panic((message: string) => this.#fail(message));
  }

  static async open(
    { name, durability }: OpenBody,
    storage: "indexeddb" | "memory",
    module: WebAssembly.Module,
    surroundings: Surroundings,
  ): Promise<EngineHost> {
    initSync({ module });
    const notify = (thrown: unknown) => surroundings.notify({ type: "failure", error: toShape(thrown) });
    const early: unknown[] = [];
    let tell = (thrown: unknown): unknown => early.push(thrown);
    let host: EngineHost | undefined;
    const engine = await Engine.open(
      name,
      storage,
      durability,
      (thrown: unknown) => tell(thrown),
      (space: number, pulled: number) => host?.changed(space, pulled),
    );
    tell = notify;
    // Behind the answer: listeners are added when the page has it.
    setTimeout(() => early.forEach(notify));
    host = new EngineHost(engine, module, surroundings);
    return host;
  }

  /** Answers one request. */
  async serve<K extends EngineKind>(kind: K, body: Body<K>, asked?: Asked): Promise<Reply<K>> {
    this.#lastRequest = performance.now();
    try {
      return await this.#handlers[kind](body, asked);
    } catch (thrown) {
      if (isTrap(thrown)) this.#fail(String(thrown));
      throw thrown;
    }
  }

  /** Says which tabs may ask again for what they asked before. */
  keepTabs(tabs: number[]): void {
    this.#engine?.keepTabs(Float64Array.from(tabs));
  }

  /** Points of a space were written here, or pulled. The engine is still at it: it must not be called from here. */
  changed(space: number, pulled: number): void {
    queueMicrotask(() => this.#replication?.changed(space, pulled));
  }

  /** Ends the engine; flushed, as long as it owns the database. */
  close(): Promise<void> {
    return this.#stop((engine) => engine.close());
  }

  /** Ends the engine and deletes the database. */
  destroy(): Promise<void> {
    return this.#stop((engine) => engine.destroy());
  }

  #fail(message: string): void {
    if (this.#engine === undefined) return;
    this.#endSync();
    this.#recall();
    this.#engine = undefined;
    this.#surroundings.failed(new HyperspaceError("internal", `the engine failed: ${message}`));
  }

  get #open(): Engine {
    if (this.#engine === undefined) throw new HyperspaceError("closed", "the database is closed");
    return this.#engine;
  }

  /** The engine, once it has the collection loaded. Whoever asks first is served first. */
  async #with({ name, space }: Handle): Promise<Engine> {
    let reached = this.#reached.get(space);
    if (reached === undefined) {
      reached = this.#open.reach(name, space);
      this.#reached.set(space, reached);
      reached.catch(() => this.#reached.delete(space));
    }
    await reached;
    return this.#open;
  }

  readonly #handlers: Handlers = {
    collection: async ({ name, options }) => {
      const reply = (await this.#open.collection(name, options)) as Calls["collection"][1];
      this.#replication?.met(reply.space, name);
      this.#work();
      return reply;
    },
    collections: () => this.#open.collections() as Promise<Calls["collections"][1]>,
    deleteCollection: async ({ name }, asked) => {
      this.#replication?.drop(name);
      const deleted = await this.#open.deleteCollection(name, asked);
      // Who still has a handle of it is told its name.
      this.#reached.clear();
      return deleted;
    },
    upsert: async ({ handle, ids, vectors, metadata, durability }, asked) => {
      const engine = await this.#with(handle);
      const lsn = (await engine.upsert(handle.space, ids, vectors, metadata, durability, asked)) as bigint;
      this.#work();
      return { lsn };
    },
    delete: async ({ handle, ids, durability }, asked) => {
      const engine = await this.#with(handle);
      const reply = await engine.delete(handle.space, ids, durability, asked);
      this.#work();
      return reply as Calls["delete"][1];
    },
    deleteWhere: async ({ handle, filter, durability }, asked) => {
      const engine = await this.#with(handle);
      const reply = await engine.deleteWhere(handle.space, filter, durability, asked);
      this.#work();
      return reply as Calls["deleteWhere"][1];
    },
    get: async ({ handle, ids }) => (await this.#with(handle)).get(handle.space, ids) as Calls["get"][1],
    search: async (body) => {
      const { handle, vector } = body;
      return (await this.#with(handle)).search(handle.space, vector, body) as Calls["search"][1];
    },
    count: async ({ handle, filter }) => (await this.#with(handle)).count(handle.space, filter),
    indexed: ({ handle }) => this.#indexed(handle),
    stats: async ({ handle }) => (await this.#with(handle)).stats(handle.space) as Calls["stats"][1],
    flush: () => this.#open.flush() as Promise<undefined>,
    storage: () => this.#open.storage() as Calls["storage"][1],
    pauseIndexing: ({ paused }) => {
      this.#open.pauseIndexing(paused);
      this.#work();
      return undefined;
    },
    export: () => this.#export(),
    import: async ({ archive }) => {
      let at = 0;
      const next = (wanted: number) => {
        at += wanted;
        return archive.slice(at - wanted, at).arrayBuffer();
      };
      const made = (await this.#open.readArchive(next)) as Calls["import"][1];
      this.#replication?.again();
      this.#work();
      return made;
    },
    exportCollection: async ({ handle }) =>
      (await this.#with(handle)).exportCollection(handle.space) as Calls["exportCollection"][1],
    importCollection: async ({ name, image }, asked) => {
      const segments = image.segments.map((segment) => segment.bytes);
      await this.#open.importCollection(name, image.manifest, segments, asked);
      this.#replication?.again();
      return undefined;
    },
    sync: (plan) => {
      if (this.#replication === undefined) this.#replication = this.#replicate(plan);
      else this.#replication.join(plan);
      return this.#replication.status();
    },
    stopSync: () => void this.#endSync(),
    pauseSync: ({ paused }) => void (paused ? this.#syncing.end("paused") : this.#syncing.resume()),
    giveToken: (given) => void this.#replication?.give(given),
    caughtUp: () => this.#syncing.caughtUp(),
    conflicts: async ({ name }) => this.#open.syncConflicts(await this.#spaceOf(name)) as Calls["conflicts"][1],
    settle: async ({ name, count }) => this.#open.syncSettle(await this.#spaceOf(name), count) as Promise<undefined>,
  };

  async #spaceOf(name: string): Promise<number> {
    return ((await this.#open.collection(name, undefined)) as Calls["collection"][1]).space;
  }

  get #syncing(): Replication {
    if (this.#replication === undefined) throw stopped();
    return this.#replication;
  }

  #replicate(plan: Body<"sync">): Replication {
    const home = {
      engine: () => this.#open,
      work: () => this.#work(),
      check: (thrown: unknown) => isTrap(thrown) && this.#fail(String(thrown)),
      notify: this.#surroundings.notify,
    };
    return new Replication(home, plan, this.#ended);
  }

  #endSync(): void {
    this.#ended = this.#replication?.end("stopped") ?? this.#ended;
    this.#replication = undefined;
  }

  async #stop(how: (engine: Engine) => Promise<unknown>): Promise<void> {
    const engine = this.#engine;
    if (engine === undefined) return;
    this.#endSync();
    this.#recall();
    this.#engine = undefined;
    try {
      await how(engine);
    } finally {
      const error = new HyperspaceError("closed", "the database is closed");
      for (const waiter of [...this.#waiters]) waiter.reject(error);
      this.#waiters.clear();
    }
  }

  async #indexed(handle: Handle): Promise<undefined> {
    const engine = await this.#with(handle);
    return new Promise((resolve, reject) => {
      const through = engine.requestSeal(handle.space);
      this.#waiters.add({ handle, through, resolve, reject });
      this.#settle(engine);
      this.#work();
    });
  }

  /** Each piece becomes a blob of its own at once, which the browser may keep on disk. Requests come in between. */
  async #export(): Promise<Blob> {
    const pieces: Blob[] = [];
    const turn = makeTurn();
    try {
      await this.#open.writeArchive((piece: Uint8Array<ArrayBuffer>) => {
        pieces.push(new Blob([piece]));
        return turn.next();
      });
    } finally {
      turn.end();
    }
    return new Blob(pieces, { type: "application/octet-stream" });
  }

  /** Those who wait for something that is sealed by now. */
  #sealed(engine: Engine): Waiter[] {
    return [...this.#waiters].filter(({ handle, through }) => engine.sealedThrough(handle.space) >= through);
  }

  #settle(engine: Engine): void {
    for (const waiter of this.#sealed(engine)) {
      this.#waiters.delete(waiter);
      waiter.resolve(undefined);
    }
  }

  /** Runs slices until there is nothing more to do. One loop at a time. */
  #work(): void {
    if (this.#working || this.#engine === undefined) return;
    this.#working = true;
    this.#slices().then(
      () => {
        this.#working = false;
      },
      (thrown: unknown) => {
        this.#working = false;
        if (isTrap(thrown)) this.#fail(String(thrown));
        else if (this.#engine !== undefined) this.#jobFailed(thrown);
      },
    );
  }

  async #slices(): Promise<void> {
    const turn = makeTurn();
    try {
      for (;;) {
        await turn.next();
        const engine = this.#engine;
        if (engine === undefined) return;
        const isBusy = performance.now() - this.#lastRequest < BUSY_WINDOW_MS;
        const more = await engine.work(isBusy ? BUSY_SLICE_MS : IDLE_SLICE_MS);
        if (this.#engine === undefined) return;
        this.#lend(engine);
        // Whoever waits for the end hears of the end before it is answered.
        this.#report(engine, !more || this.#sealed(engine).length > 0);
        this.#settle(engine);
        if (!more) return;
      }
    } finally {
      turn.end();
    }
  }

  /** Hands a job that is offered to a builder. */
  #lend(engine: Engine): void {
    const rows = engine.lent();
    if (rows === undefined) return;
    this.#recall();
    let isOver = false;
    const end = lend(this.module, rows, (said) => {
      if (isOver) return;
      engine.givenBack(said);
      if (typeof said === "number") return this.#report(engine, false);
      this.#recall();
      this.#work();
    });
    this.#recall = () => {
      isOver = true;
      end();
    };
  }

  #report(engine: Engine, last: boolean): void {
    const now = performance.now();
    if (!last && now - this.#lastProgress < PROGRESS_MS) return;
    this.#lastProgress = now;
    for (const progress of engine.progress() as Extract<Response, { type: "progress" }>["progress"][]) {
      this.#surroundings.notify({ type: "progress", progress });
    }
  }

  /** The data is safe in the log, and the engine has told the page. Those who wait learn it; the job is tried again later. */
  #jobFailed(thrown: unknown): void {
    for (const waiter of [...this.#waiters]) waiter.reject(thrown);
    this.#waiters.clear();
    const timer = setTimeout(() => this.#work(), RETRY_MS);
    // A Node process must not stay alive for this.
    (timer as { unref?: () => void }).unref?.();
  }
}

/** A wasm trap: the instance cannot be used any more. */
function isTrap(thrown: unknown): boolean {
  return thrown instanceof WebAssembly.RuntimeError;
}

/** Yields to the event loop without the four milliseconds that nested timers are held back in browsers. */
function makeTurn(): { next(): Promise<void>; end(): void } {
  const { port1, port2 } = new MessageChannel();
  let wake: (() => void) | undefined;
  port1.onmessage = () => wake?.();
  return {
    next: () =>
      new Promise<void>((resolve) => {
        wake = resolve;
        port2.postMessage(undefined);
      }),
    end: () => port1.close(),
  };
}
