/**
 * Drives one engine: answers requests, and gives it time for background work between them.
 *
 * Work is done in slices of a few milliseconds, each in a task of its own, so that a request waits for one slice at
 * most. A trap of the engine rejects every call: it never leaves one waiting.
 */

import initialise, { Engine, on_panic } from "../pkg/hyperspace_wasm.js";
import { HyperspaceError, toShape } from "./errors.js";
import { compile } from "./load.js";
import { own } from "./owner.js";
import type { Body, Calls, Kind, OpenBody, Reply, Request, Response } from "./protocol.js";

/** A slice while nobody asks for anything, and while requests keep coming. */
const IDLE_SLICE_MS = 8;
const BUSY_SLICE_MS = 2;
const BUSY_WINDOW_MS = 100;
/** Progress is for people: no more often than this. */
const PROGRESS_MS = 100;
/** How long a failed job rests before it is tried again. */
const RETRY_MS = 5_000;

type Send = (response: Response, transfer?: Transferable[]) => void;
type Handlers = { [K in Kind]: (body: Body<K>) => Promise<Reply<K>> | Reply<K> };

interface Waiter {
  handle: number;
  through: bigint;
  resolve(value: undefined): void;
  reject(reason: unknown): void;
}

export class EngineHost {
  readonly #send: Send;
  #engine: Engine | undefined;
  #release: (() => void) | undefined;
  #failed = false;
  #working = false;
  #lastRequest = 0;
  #lastProgress = 0;
  readonly #waiters = new Set<Waiter>();

  constructor(send: Send) {
    this.#send = send;
  }

  /** Answers one request, by a value or by an error. */
  async handle(request: Request): Promise<void> {
    const { call, kind, body } = request;
    this.#lastRequest = performance.now();
    try {
      const handler = this.#handlers[kind] as (body: unknown) => unknown;
      const value = await handler(body);
      if (!this.#failed) this.#send({ type: "value", call, value }, transferable(value));
    } catch (thrown) {
      if (isTrap(thrown)) this.fail(new HyperspaceError("internal", `the engine failed: ${String(thrown)}`));
      if (!this.#failed) this.#send({ type: "error", call, error: toShape(thrown) });
    }
  }

  /** Ends the engine after a failure that it cannot survive; every call that waits is rejected at the other end. */
  fail(error: HyperspaceError): void {
    if (this.#failed) return;
    this.#failed = true;
    this.#engine = undefined;
    this.#release?.();
    this.#send({ type: "fatal", error: toShape(error) });
  }

  get #open(): Engine {
    if (this.#engine === undefined) throw new HyperspaceError("closed", "the database is closed");
    return this.#engine;
  }

  readonly #handlers: Handlers = {
    open: (body) => this.#start(body),
    collection: async ({ name, options }) => {
      const reply = (await this.#open.collection(name, options)) as Calls["collection"][1];
      this.#work();
      return reply;
    },
    collections: () => this.#open.collections() as Promise<Calls["collections"][1]>,
    deleteCollection: ({ name }) => this.#open.deleteCollection(name),
    upsert: async ({ handle, ids, vectors, metadata, durability }) => {
      const lsn = (await this.#open.upsert(handle, ids, vectors, metadata, durability)) as bigint;
      this.#work();
      return { lsn };
    },
    delete: async ({ handle, ids, durability }) => {
      const reply = (await this.#open.delete(handle, ids, durability)) as Calls["delete"][1];
      this.#work();
      return reply;
    },
    deleteWhere: async ({ handle, filter, durability }) => {
      const reply = (await this.#open.deleteWhere(handle, filter, durability)) as Calls["deleteWhere"][1];
      this.#work();
      return reply;
    },
    get: ({ handle, ids }) => this.#open.get(handle, ids) as Calls["get"][1],
    search: (body) => this.#open.search(body.handle, body.vector, body) as Calls["search"][1],
    count: ({ handle, filter }) => this.#open.count(handle, filter),
    indexed: ({ handle }) => this.#indexed(handle),
    stats: ({ handle }) => this.#open.stats(handle) as Calls["stats"][1],
    flush: () => this.#open.flush() as Promise<undefined>,
    storage: () => this.#open.storage() as Calls["storage"][1],
    pauseIndexing: ({ paused }) => {
      this.#open.pauseIndexing(paused);
      this.#work();
      return undefined;
    },
    exportCollection: ({ handle }) => this.#open.exportCollection(handle) as Calls["exportCollection"][1],
    importCollection: async ({ name, image }) => {
      const segments = image.segments.map((segment) => segment.bytes);
      await this.#open.importCollection(name, image.manifest, segments);
      return undefined;
    },
    destroy: () => this.#stop((engine) => engine.destroy()),
    close: () => this.#stop((engine) => engine.close()),
  };

  async #start(body: OpenBody): Promise<Reply<"open">> {
    if (this.#engine !== undefined) throw new HyperspaceError("internal", "the engine is open already");
    const [module, release] = await Promise.all([
      compile(body.wasm),
      body.storage === "indexeddb" ? own(body.name, body.wait) : undefined,
    ]);
    try {
      await initialise({ module_or_path: module });
      on_panic((message: string) => this.fail(new HyperspaceError("internal", `the engine failed: ${message}`)));
      this.#engine = await this.#openStore(body);
    } catch (error) {
      release?.();
      throw error;
    }
    this.#release = release;
    return { backend: this.#engine.backend() as "indexeddb" | "memory" };
  }

  async #openStore({ name, storage, fallback, durability }: OpenBody): Promise<Engine> {
    try {
      return await Engine.open(name, storage, durability);
    } catch (error) {
      const { code } = toShape(error);
      const cannotBeHad = code === "unsupported" || code === "unavailable" || code === "limit_exceeded";
      if (fallback !== "memory" || !cannotBeHad) throw error;
      return Engine.open(name, "memory", durability);
    }
  }

  async #stop(how: (engine: Engine) => Promise<unknown>): Promise<undefined> {
    const engine = this.#engine;
    if (engine === undefined) return;
    this.#engine = undefined;
    try {
      await how(engine);
    } finally {
      this.#release?.();
      const error = new HyperspaceError("closed", "the database is closed");
      for (const waiter of [...this.#waiters]) waiter.reject(error);
      this.#waiters.clear();
    }
  }

  #indexed(handle: number): Promise<undefined> {
    return new Promise((resolve, reject) => {
      const through = this.#open.requestSeal(handle);
      this.#waiters.add({ handle, through, resolve, reject });
      this.#settle(this.#open);
      this.#work();
    });
  }

  /** Those who wait for something that is sealed by now. */
  #sealed(engine: Engine): Waiter[] {
    return [...this.#waiters].filter((waiter) => engine.sealedThrough(waiter.handle) >= waiter.through);
  }

  #settle(engine: Engine): void {
    for (const waiter of this.#sealed(engine)) {
      this.#waiters.delete(waiter);
      waiter.resolve(undefined);
    }
  }

  /** Runs slices until there is nothing more to do. One loop at a time. */
  #work(): void {
    if (this.#working || this.#failed) return;
    this.#working = true;
    this.#slices().then(
      () => {
        this.#working = false;
      },
      (thrown: unknown) => {
        this.#working = false;
        if (isTrap(thrown)) this.fail(new HyperspaceError("internal", `the engine failed: ${String(thrown)}`));
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
        // Whoever waits for the end hears of the end before it is answered.
        this.#report(engine, !more || this.#sealed(engine).length > 0);
        this.#settle(engine);
        if (!more) return;
      }
    } finally {
      turn.end();
    }
  }

  #report(engine: Engine, last: boolean): void {
    const now = performance.now();
    if (!last && now - this.#lastProgress < PROGRESS_MS) return;
    this.#lastProgress = now;
    for (const progress of engine.progress() as Extract<Response, { type: "progress" }>["progress"][]) {
      this.#send({ type: "progress", progress });
    }
  }

  /** The data is safe in the log. Those who wait learn it, the page gets an event, and the job is tried again later. */
  #jobFailed(thrown: unknown): void {
    this.#send({ type: "failure", error: toShape(thrown) });
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

/** The buffers of an answer that can be handed over instead of copied. */
function transferable(value: unknown): Transferable[] {
  if (typeof value !== "object" || value === null) return [];
  const columns = value as { distances?: unknown; vectors?: unknown; segments?: unknown };
  const found: Transferable[] = [];
  for (const column of [columns.distances, columns.vectors]) {
    if (ArrayBuffer.isView(column)) found.push(column.buffer as ArrayBuffer);
  }
  return found;
}
