/**
 * A tab's seat at a database that tabs share. One of them owns it and runs the engine, for itself and for the others,
 * which send it their requests; each of them waits for the owner's lock, and whoever gets it is the next owner.
 *
 * A request is kept until it is answered, and sent to every owner there is meanwhile. It carries its tab and its number
 * there, by which an owner knows whether one before it has done it already (`answers.rs`).
 *
 * The owner is called for by whoever waits for an answer, and says that it is there: no timer of its own is involved, which
 * the browser might hold back, and nothing is said while nobody waits. An owner that is called for and silent for ten
 * seconds is taken for frozen, and its lock is stolen.
 */

import { type ErrorShape, type HyperspaceError, toShape } from "./errors.js";
import { compile } from "./load.js";
import { alone, checkShareable, hold, isWanted, ownerLock, tabLock } from "./locks.js";
import { Owner } from "./owner.js";
import type { OpenBody, Request, Response } from "./protocol.js";
import { TABS_VERSION, type ToAll, type ToOwner, type ToTab } from "./tabs.js";
import type { Notice } from "./transport.js";

/** How often a tab that waits for an answer calls for the owner, and how many calls in a row may stay unanswered. */
const CALL_MS = 2_000;
const PATIENCE = 5;
/** How long a tab that could not open the database leaves it to others. */
const REST_MS = 1_000;
/** A request that was under way in so many engines that failed is not tried on another one. */
const MOST_FAILURES = 2;
/** For how long, and how often, whoever deleted a database looks whether tabs wait for it that have not heard of it. */
const FAREWELL_MS = 1_000;
const GLANCE_MS = 20;

type Send = (response: Response, transfer?: Transferable[]) => void;
type Answer = Extract<Response, { call: number }>;

/** A request that has no answer yet. */
interface Asked {
  request: Request;
  reply: (answer: Answer) => void;
  failures: number;
}

/** One time of holding the owner's lock. */
interface Turn {
  release(): void;
}

export class Seat {
  readonly #send: Send;
  readonly #tab = randomTab();
  /** In the order of their numbers. */
  readonly #asked = new Map<number, Asked>();
  #body: OpenBody | undefined;
  #module: WebAssembly.Module | undefined;
  /** The session with a server that this tab wants: said to every owner. */
  #session: Asked | undefined;
  #isOpen = false;
  #hasEnded = false;
  /** Between all tabs, and between this one and the owner. */
  #all: BroadcastChannel | undefined;
  #own: BroadcastChannel | undefined;
  /** Gives this tab's own lock back. */
  #leave = (): void => {};
  /** Ends the wait for the owner's lock. */
  #waiting = new AbortController();
  #turn: Turn | undefined;
  /** While the engine runs here. */
  #owner: Owner | undefined;
  /** The newest owner heard of, and whether it is heard by it. */
  #epoch = 0;
  #isHeard = false;
  #isPaused = false;
  #unanswered = 0;
  #calling: ReturnType<typeof setInterval> | undefined;
  /** Called after every answer, once the page closes the database. */
  #closing: (() => void) | undefined;

  constructor(send: Send) {
    this.#send = send;
  }

  /** Takes a request of the page. It is answered once; or else the page hears that the whole seat has ended. */
  async handle(request: Request): Promise<void> {
    const { call, kind, body } = request;
    const reply = (answer: Answer) => {
      this.#send(answer, answer.type === "value" ? transferable(answer.value) : []);
    };
    if (this.#closing !== undefined || this.#hasEnded) return reply(failure(call, CLOSED));
    if (kind === "close") return reply(await this.#close(call));
    const asked = { request, reply, failures: 0 };
    this.#asked.set(call, asked);
    if (kind === "open") return this.#sit(body);
    if ("durability" in body) body.durability ??= this.#body?.durability;
    this.#ask(asked);
  }

  /** Ends the seat after a failure that it cannot survive; every call that waits is rejected at the other end. */
  fail(error: HyperspaceError): void {
    if (this.#hasEnded) return;
    if (this.#owner !== undefined) this.#tellAll({ type: "failed", epoch: this.#epoch });
    this.#stand();
    this.#send({ type: "fatal", error: toShape(error) });
  }

  async #sit(body: OpenBody): Promise<void> {
    this.#body = body;
    const { name, storage } = body;
    try {
      // In every tab, though an owner alone needs it: when its turn comes, there may be no network.
      this.#module = await compile(body.wasm);
      if (storage === "memory") return await this.#run(storage);
      checkShareable();
      // Before the lock: an owner that sees the lock speaks on the channel.
      this.#own = listen(tabLock(name, this.#tab), (said: ToTab) => this.#hear(said));
      this.#all = listen(ownerLock(name), (said: ToAll) => this.#overhear(said));
      this.#leave = await hold(tabLock(name, this.#tab));
      this.#tellAll({ type: "hello", tab: this.#tab });
      this.#call();
      void this.#wait();
    } catch (thrown) {
      await this.#giveUpOpening(thrown);
    }
  }

  /** The database cannot be opened here: the page gets one in memory if it asked for that, or the reason. */
  async #giveUpOpening(thrown: unknown): Promise<void> {
    const { code } = toShape(thrown);
    const cannotBeHad = code === "unsupported" || code === "unavailable" || code === "limit_exceeded";
    this.#part();
    try {
      if (this.#body?.fallback !== "memory" || !cannotBeHad) throw thrown;
      await this.#run("memory");
    } catch (error) {
      this.#refuse(toShape(error));
      this.#hasEnded = true;
    }
  }

  /** Waits for the owner's lock, or steals it; resolves when this tab is the owner, or will not be. */
  async #wait(options?: LockOptions): Promise<void> {
    this.#waiting.abort();
    this.#waiting = new AbortController();
    const turn: Turn = { release: () => {} };
    try {
      const lock = ownerLock((this.#body as OpenBody).name);
      turn.release = await hold(lock, options ?? { signal: this.#waiting.signal }, () => this.#lose(turn));
    } catch {
      return; // Given up, for good or to steal the lock.
    }
    await this.#begin(turn);
  }

  async #begin(turn: Turn): Promise<void> {
    if (this.#hasEnded || this.#turn !== undefined) return turn.release();
    this.#turn = turn;
    try {
      await this.#run("indexeddb");
    } catch (thrown) {
      if (this.#turn !== turn) return;
      if (!this.#isOpen) return this.#giveUpOpening(thrown);
      this.#turn = undefined;
      turn.release();
      this.#refuse(toShape(thrown));
      setTimeout(() => this.#hasEnded || this.#wait(), REST_MS);
    }
  }

  /** Runs the engine here, and asks it whatever nobody has answered. */
  async #run(storage: "indexeddb" | "memory"): Promise<void> {
    const turn = this.#turn;
    const plan = {
      body: this.#body as OpenBody,
      storage,
      module: this.#module as WebAssembly.Module,
      tab: this.#tab,
      paused: this.#isPaused,
    };
    const owner = await Owner.start(plan, {
      notify: (notice) => this.#pass(notice),
      failed: (error) => this.fail(error),
      lost: () => turn && this.#lose(turn),
      destroyed: () => void this.#farewell(),
    });
    if (this.#hasEnded || this.#turn !== turn) return owner.close().catch(() => {});
    this.#owner = owner;
    this.#epoch = owner.epoch;
    this.#askAll();
  }

  /** Another tab has the owner's lock now, or may have it. */
  #lose(turn: Turn): void {
    if (this.#turn !== turn) return;
    this.#turn = undefined;
    const owner = this.#owner;
    this.#owner = undefined;
    this.#isHeard = false;
    // Whatever it has not written yet is fenced off.
    void owner?.close().catch(() => {});
    turn.release();
    if (this.#hasEnded) return;
    void this.#wait();
    this.#tellAll({ type: "hello", tab: this.#tab });
    this.#call();
  }

  #ask({ request }: Asked): void {
    if (request.kind === "open") {
      if (this.#owner === undefined && !this.#isHeard) return;
      this.#isOpen = true;
      this.#answer({ type: "value", call: request.call, value: { backend: this.#owner?.backend ?? "indexeddb" } });
      return;
    }
    const since = [...this.#asked.values()].find((asked) => !isLongWait(asked))?.request.call ?? request.call;
    if (this.#owner !== undefined) {
      void this.#owner.serve(request, this.#tab, since).then((answer) => answer && this.#answer(answer as Answer));
      return;
    }
    if (this.#isHeard) this.#own?.postMessage({ epoch: this.#epoch, since, request } satisfies ToOwner);
    this.#call();
  }

  #askAll(): void {
    // Before what is asked about it.
    if (this.#session !== undefined) this.#ask(this.#session);
    for (const asked of [...this.#asked.values()]) this.#ask(asked);
  }

  #answer(answer: Answer): void {
    const asked = this.#asked.get(answer.call);
    this.#asked.delete(answer.call);
    if (answer.type === "value") {
      if (asked?.request.kind === "sync") this.#session = asked;
      if (asked?.request.kind === "stopSync") this.#session = undefined;
    } else if (answer.call === this.#session?.request.call) {
      this.#endSession(answer.error);
    }
    asked?.reply(answer);
    this.#closing?.();
  }

  /** An owner does not take the session on. */
  #endSession(error: ErrorShape): void {
    this.#session = undefined;
    this.#send({ type: "sync", status: { state: "failed", error, pending: 0, collections: [] } });
  }

  /** Hands on what nobody asked for. */
  #pass(notice: Notice): void {
    if (notice.type === "sync" && this.#session?.request.kind === "sync") {
      this.#session.request.body.paused = notice.status.state === "paused";
    }
    this.#send(notice);
  }

  #refuse(error: ErrorShape): void {
    for (const call of [...this.#asked.keys()]) this.#answer(failure(call, error));
  }

  /** What the owner says to this tab. */
  #hear(said: ToTab): void {
    if (said.epoch < this.#epoch) return;
    this.#unanswered = 0;
    if (said.type === "response") {
      if (!this.#isHeard || said.epoch !== this.#epoch) return;
      if ("call" in said.response) this.#answer(said.response);
      else if (said.response.type !== "fatal") this.#pass(said.response);
      return;
    }
    if (this.#turn !== undefined) {
      // To its owner an engine speaks directly: this is another one.
      if (this.#owner !== undefined && said.epoch > this.#epoch) this.#lose(this.#turn);
      return;
    }
    if (said.version !== TABS_VERSION) {
      this.#isHeard = false;
      this.#refuse(OTHER_VERSION);
      return;
    }
    this.#isPaused = said.paused;
    if (this.#isHeard && said.epoch === this.#epoch) return;
    this.#epoch = said.epoch;
    this.#isHeard = true;
    this.#askAll();
  }

  /** What is said to all tabs. */
  #overhear(said: ToAll): void {
    switch (said.type) {
      case "hello":
        if (this.#owner !== undefined) this.#owner.greet(said.tab);
        else if (this.#turn !== undefined) this.#tellAll({ type: "opening" });
        break;
      case "opening":
        this.#unanswered = 0;
        break;
      case "failed":
        if (said.epoch === this.#epoch && this.#isHeard) this.#countFailures();
        break;
      case "destroyed":
        this.#over();
    }
  }

  #tellAll(said: ToAll): void {
    this.#all?.postMessage(said);
  }

  /** A request that makes engines fail must not go from tab to tab. */
  #countFailures(): void {
    for (const [call, asked] of [...this.#asked]) {
      asked.failures += 1;
      if (asked.failures >= MOST_FAILURES) this.#answer(failure(call, FAILED_TWICE));
    }
    if (this.#session !== undefined && ++this.#session.failures >= MOST_FAILURES) this.#endSession(FAILED_TWICE);
  }

  /** Calls for the owner, again and again, as long as somebody waits for an answer of it. */
  #call(): void {
    if (this.#calling !== undefined) return;
    this.#unanswered = 0;
    this.#calling = setInterval(() => {
      if (this.#turn !== undefined || this.#asked.size === 0) {
        clearInterval(this.#calling);
        this.#calling = undefined;
      } else if (this.#unanswered < PATIENCE) {
        // Calls are counted, not seconds: whoever was frozen itself has not been waiting.
        this.#unanswered += 1;
        this.#tellAll({ type: "hello", tab: this.#tab });
      } else {
        void this.#steal();
      }
    }, CALL_MS);
  }

  /** Takes the lock from an owner that does not answer; of several tabs one does. */
  async #steal(): Promise<void> {
    const { name } = this.#body as OpenBody;
    await alone(name, async () => {
      if (this.#unanswered >= PATIENCE && this.#turn === undefined && !this.#hasEnded)
        await this.#wait({ steal: true });
    });
    this.#unanswered = 0;
  }

  /** Answers what was asked before, has everything acknowledged flushed, and leaves the database to the other tabs. */
  async #close(call: number): Promise<Answer> {
    await new Promise<void>((resolve) => {
      this.#closing = () => [...this.#asked.values()].every(isLongWait) && resolve();
      this.#closing();
    });
    try {
      if (this.#owner !== undefined) {
        await this.#owner.close();
      } else if (!this.#hasEnded) {
        const answer = await this.#flush(call);
        if (answer.type === "error") return answer;
      }
      return { type: "value", call, value: undefined };
    } catch (thrown) {
      return failure(call, toShape(thrown));
    } finally {
      this.#stand();
    }
  }

  #flush(call: number): Promise<Answer> {
    return new Promise((reply) => {
      const asked: Asked = { request: { call, kind: "flush", body: {} }, reply, failures: 0 };
      this.#asked.set(call, asked);
      this.#ask(asked);
    });
  }

  /** The database is deleted: keeps its lock until no other tab can make an empty one in its place. */
  async #farewell(): Promise<void> {
    this.#tellAll({ type: "destroyed" });
    const { name } = this.#body as OpenBody;
    for (let waited = 0; this.#all !== undefined && waited < FAREWELL_MS; waited += GLANCE_MS) {
      if (!(await isWanted(name))) break;
      await new Promise((resolve) => setTimeout(resolve, GLANCE_MS));
    }
    this.#over();
  }

  #over(): void {
    if (this.#hasEnded) return;
    const ours = [...this.#asked].filter(([, { request }]) => request.kind === "destroy");
    for (const [call] of ours) this.#answer({ type: "value", call, value: undefined });
    this.#stand();
    if (ours.length === 0) this.#send({ type: "fatal", error: DESTROYED });
  }

  /** Ends the seat. The engine, if it runs here, has ended or has failed. */
  #stand(): void {
    this.#hasEnded = true;
    this.#part();
  }

  /** Leaves the other tabs. */
  #part(): void {
    clearInterval(this.#calling);
    this.#waiting.abort();
    this.#all?.close();
    this.#own?.close();
    this.#all = undefined;
    this.#owner = undefined;
    this.#turn?.release();
    this.#turn = undefined;
    this.#leave();
  }
}

const CLOSED: ErrorShape = { code: "closed", message: "the database is closed", retryable: false };
const DESTROYED: ErrorShape = { code: "closed", message: "another tab has destroyed the database", retryable: false };
const FAILED_TWICE: ErrorShape = {
  code: "internal",
  message: "the engine failed in two tabs at this request",
  retryable: false,
};
const OTHER_VERSION: ErrorShape = {
  code: "unavailable",
  message: "another tab has another version of hyperspace-db: close it or load it anew",
  retryable: true,
};

/** What may wait for longer than anybody should wait for it. */
function isLongWait({ request }: Asked): boolean {
  return request.kind === "indexed" || request.kind === "caughtUp";
}

function failure(call: number, error: ErrorShape): Answer {
  return { type: "error", call, error };
}

/** 53 random bits: a number that every language has, and that no two tabs have. */
function randomTab(): number {
  return Number((crypto.getRandomValues(new BigUint64Array(1))[0] as bigint) >> 11n);
}

function listen<T>(name: string, hear: (said: T) => void): BroadcastChannel {
  const channel = new BroadcastChannel(name);
  channel.onmessage = (event: MessageEvent<T>) => hear(event.data);
  return channel;
}

/** The buffers of an answer that can be handed over instead of copied. */
function transferable(value: unknown): Transferable[] {
  if (typeof value !== "object" || value === null) return [];
  const columns = value as { distances?: unknown; vectors?: unknown };
  const found: Transferable[] = [];
  for (const column of [columns.distances, columns.vectors]) {
    if (ArrayBuffer.isView(column)) found.push(column.buffer as ArrayBuffer);
  }
  return found;
}
