/**
 * A database's conversation with a server: which collections are kept equal to it, when to speak, and when to be silent.
 * What is said is the engine's; `rpc.ts` carries it. Knows no tabs.
 *
 * A round begins with the server's collections, goes on with each of them until both sides are at rest, and then listens to
 * one stream for all. Whatever breaks a round ends it as a whole, and the next one begins anew: what is stored is all that
 * counts. An error that is one collection's leaves the others alone.
 */

import type { Engine } from "../pkg/hyperspace_wasm.js";
import { type ErrorShape, HyperspaceError, toShape } from "./errors.js";
import type { SyncBody } from "./protocol.js";
import { ask, type Call, messages } from "./rpc.js";
import type { Notice } from "./transport.js";
import type { CollectionSummary, CollectionSyncStatus, SyncState, SyncStatus } from "./types.js";

const PACKAGE = "/hyperspace.v1.";
const LIST = `${PACKAGE}Collections/List`;
const SYNC = `${PACKAGE}Sync/`;
/** A question may take long to send; a stream tells every 20 seconds that it lives. */
const ANSWER_MS = 120_000;
const SILENCE_MS = 50_000;
/** How long a page of the application may take to give a token. */
const TOKEN_MS = 30_000;
/** A status is for people, and costs a look at every point: no more often than this. */
const STATUS_MS = 100;
/** Without collections there is no stream to hear of others: the server is asked. */
const EMPTY_MS = 5_000;
/** Writes that come so close together are offered together. */
const GROUP_MS = 5;
/** The wait before a new round: full jitter below a bound that doubles. */
const FIRST_WAIT_MS = 250;
const LONGEST_WAIT_MS = 30_000;
/** So many streams in a row that end well and at once are held back by something in between: from then on it is polled. */
const MOST_SHORT = 3;
const SHORT_MS = 1_000;
/** Of one collection, the first failures are ordinary: more was written while both sides compared. */
const EASY = 5;
/** What does not get better by being asked again. */
const FINAL = ["invalid_argument", "not_found", "permission_denied", "unsupported", "corrupted"];

/** Of several collections, the state that the first of these is: one that failed leaves the others alone. */
const STATES = ["syncing", "live", "failed"] as const;

/** What replication needs of the engine's host. */
export interface Home {
  /** @throws `closed` */
  engine(): Engine;
  /** Rows were written. */
  work(): void;
  /** The engine may have failed. */
  check(thrown: unknown): void;
  notify(notice: Notice): void;
}

/** A collection that takes part. */
interface Member {
  name: string;
  space: number;
  /** The end of what is being said; whoever has something to say comes behind it. */
  turn: Promise<void>;
  isWoken: boolean;
  failures: number;
  /** It was not at rest in time for the stream: once it is, there has to be another one. */
  isLate: boolean;
  error: ErrorShape | undefined;
}

interface Step {
  kind: "ask" | "wait";
  /** Of the service, or a path. */
  method: string;
  body: Uint8Array | string;
}

export class Replication {
  readonly #home: Home;
  readonly #plan: SyncBody;
  readonly #members = new Map<number, Member>();
  /** Deleted here: not to be made again because the server has them. */
  readonly #dropped = new Set<string>();
  /** The end of what is being said of those: if one comes back at once, nobody else speaks of it. */
  #leaving = Promise.resolve();
  #state: SyncState = "paused";
  #error: ErrorShape | undefined;
  #round = new AbortController();
  #running: Promise<void>;
  /** Ends the wait between two rounds. */
  #hurry = (): void => {};
  #token: string | undefined;
  /** While a token is waited for. */
  #asked: Promise<void> | undefined;
  #given = (_: ErrorShape | undefined): void => {};
  #isTelling = false;
  #told = "";
  /** Called when anything may have changed. */
  #watchers: (() => void)[] = [];

  /** Says nothing before `earlier` has ended: of two that speak of one collection, each would take what the other is told. */
  constructor(home: Home, plan: SyncBody, earlier: Promise<void>) {
    this.#home = home;
    this.#plan = plan;
    this.#token = plan.token;
    this.#running = earlier;
    if (!plan.paused) this.resume();
  }

  /** Another tab wants it too. */
  join(plan: SyncBody): void {
    const said = ({ url, collections }: SyncBody) => `${collections?.join(", ") ?? "all collections"} with ${url}`;
    const [here, there] = [said(this.#plan), said(plan)];
    if (here !== there) throw new HyperspaceError("already_exists", `the database syncs ${here} already, not ${there}`);
    this.#plan.asks ||= plan.asks;
    this.#token = plan.token ?? this.#token;
    if (this.#state === "failed") this.resume();
  }

  status(): SyncStatus {
    const here = this.#state;
    const collections = [...this.#members.values()].map(({ name, space, error }): CollectionSyncStatus => {
      const { pending, conflicts, isAtRest } = this.#home.engine().syncStatus(space);
      const state = error ? "failed" : here === "live" && !isAtRest ? "syncing" : here;
      return { name, state, pending, conflicts, ...(error && { error }) };
    });
    const states = collections.map(({ state }) => state);
    return {
      state: (here === "live" && STATES.find((state) => states.includes(state))) || here,
      pending: collections.reduce((sum, { pending }) => sum + pending, 0),
      collections,
      ...(this.#error && { error: this.#error }),
    };
  }

  /** Begins, begins anew, or begins earlier. */
  resume(): void {
    for (const member of this.#members.values()) member.error = undefined;
    if (this.#isOver) {
      this.#become("connecting");
      this.#running = this.#running.then(() => this.#run());
    } else {
      this.again();
    }
  }

  /** Ends the round, and what is under way with it; resolves when nothing is. */
  end(state: "paused" | "stopped" | "failed"): Promise<void> {
    this.#become(state);
    this.again();
    this.#given(toShape(stopped()));
    return this.#running;
  }

  /** Begins a new round at once. */
  again(): void {
    this.#round.abort(AGAIN);
    this.#hurry();
  }

  /** A collection is there, and perhaps was not before. */
  met(space: number, name: string): void {
    this.#dropped.delete(name);
    if (!this.#members.has(space) && this.#wants(name)) this.again();
  }

  /** A collection is deleted here. */
  drop(name: string): void {
    this.#dropped.add(name);
    for (const { name: own, space, turn } of this.#members.values()) {
      if (own !== name) continue;
      this.#members.delete(space);
      this.#leaving = this.#leaving.then(() => turn);
    }
  }

  /** Points were written here, or pulled. Writes that come within a few milliseconds are offered together. */
  changed(space: number, pulled: number): void {
    const member = this.#members.get(space);
    if (member === undefined) return;
    if (pulled > 0) this.#home.notify({ type: "change", change: { collection: member.name, changed: pulled } });
    if (pulled > 0 || member.isWoken) return;
    member.isWoken = true;
    setTimeout(() => {
      member.isWoken = false;
      if (this.#state === "syncing" || this.#state === "live") void this.#speak(member, this.#round);
    }, GROUP_MS);
    this.#tell();
  }

  /** What a page answers when it was asked for a token. */
  give({ token, error }: { token: string | undefined; error: ErrorShape | undefined }): void {
    this.#token = token;
    this.#given(error);
  }

  /** Resolves when all that was written before is answered for, and both sides were equal when compared after that. */
  async caughtUp(): Promise<undefined> {
    for (;;) {
      if (this.#state === "failed") throw this.#error;
      if (this.#state === "stopped") throw stopped();
      const round = this.#round;
      const members = [...this.#members.values()];
      if (this.#state === "live") {
        const compared = members.map(async (member) => {
          await this.#speak(member, round);
          await this.#speak(member, round, true);
        });
        await Promise.all(compared);
        const failed = members.find(({ error }) => error !== undefined);
        if (failed !== undefined) throw failed.error;
        if (!round.signal.aborted && members.every(({ failures }) => failures === 0)) return void this.#say();
      }
      await new Promise<void>((resolve) => this.#watchers.push(resolve));
    }
  }

  get #isOver(): boolean {
    return this.#state === "paused" || this.#state === "stopped" || this.#state === "failed";
  }

  #wants(name: string): boolean {
    return this.#plan.collections?.includes(name) ?? true;
  }

  async #run(): Promise<void> {
    let failures = 0;
    let short = 0;
    while (!this.#isOver) {
      const round = new AbortController();
      this.#round = round;
      let rest = 0;
      try {
        await this.#gather(round);
        failures = 0;
        const since = performance.now();
        this.#become("live");
        if (short < MOST_SHORT) await this.#listen(round);
        short = performance.now() - since < SHORT_MS ? short + 1 : 0;
        rest = SHORT_MS * (0.5 + Math.random());
      } catch (thrown) {
        if (!this.#isOver && thrown !== AGAIN) {
          this.#home.check(thrown);
          this.#error = toShape(thrown);
          short = 0;
          rest = backOff(failures++);
          if (this.#error.code === "unauthenticated") void this.end("failed");
          else this.#become("offline");
        }
      }
      round.abort(AGAIN);
      for (const { turn } of this.#members.values()) await turn;
      if (rest > 0 && !this.#isOver) await this.#pause(rest);
    }
  }

  /** Ends when the time is over, or when it shall go on at once. */
  #pause(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.#hurry = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  /** Finds out which collections there are, makes those that only the server has, and brings each of them up to date. */
  async #gather(round: AbortController): Promise<void> {
    await this.#enrol();
    await this.#list(round);
    this.#error = undefined;
    if (this.#state !== "live") this.#become("syncing");
    await Promise.all([...this.#members.values()].map((member) => this.#speak(member, round, true)));
    round.signal.throwIfAborted();
  }

  /** Makes what only the server has. */
  async #list({ signal }: AbortController): Promise<void> {
    try {
      const listed = await this.#ask(LIST, new Uint8Array(), signal);
      await this.#home.engine().syncListed(listed, this.#plan.collections, [...this.#dropped]);
    } catch (thrown) {
      // Whoever may sync and not read goes on with what is here.
      if (toShape(thrown).code !== "permission_denied") throw thrown;
    }
    await this.#enrol();
  }

  async #enrol(): Promise<void> {
    const engine = this.#home.engine();
    const gone = new Set(this.#members.keys());
    for (const { name } of (await engine.collections()) as CollectionSummary[]) {
      if (!this.#wants(name)) continue;
      const { space } = (await engine.collection(name, undefined)) as { space: number };
      if (gone.delete(space)) continue;
      const turn = this.#leaving;
      this.#members.set(space, { name, space, turn, isWoken: false, failures: 0, isLate: false, error: undefined });
    }
    for (const space of gone) this.#members.delete(space);
    this.#tell();
  }

  /** Listens for what others write, until the stream ends. */
  async #listen({ signal }: AbortController): Promise<void> {
    const members = [...this.#members.values()].filter(({ error }) => error === undefined);
    if (members.length === 0) return this.#pause(EMPTY_MS);
    await this.#bearing(async (token) => {
      const body = this.#home.engine().syncFollow(Float64Array.from(members, ({ space }) => space));
      for await (const message of messages(this.#call(`${SYNC}Pull`, body, token, signal, SILENCE_MS))) {
        const member = this.#members.get(this.#home.engine().syncPage(message) ?? Number.NaN);
        if (member !== undefined) {
          await this.#speak(member, this.#round);
          continue;
        }
        // Without a page, it lives, or has other collections than before. One that came needs a stream.
        const before = this.#members.size;
        await this.#list(this.#round);
        if (this.#members.size > before) throw AGAIN;
      }
    });
  }

  /** Asks and answers for a collection until both sides are at rest, behind whatever is being said of it already. */
  #speak(member: Member, round: AbortController, isAnew = false): Promise<void> {
    member.turn = member.turn.then(async () => {
      if (round.signal.aborted || member.error !== undefined) return;
      let method = "";
      try {
        if (isAnew || member.failures > 0) this.#home.engine().syncRestart(member.space);
        for (;;) {
          const step = (await this.#home.engine().syncNext(member.space)) as Step;
          this.#tell();
          if (step.kind === "wait") break;
          method = step.method;
          const answer = await this.#ask(method[0] === "/" ? method : SYNC + method, step.body, round.signal);
          await this.#home.engine().syncReceive(member.space, method, answer);
          this.#home.work();
        }
        member.failures = 0;
        if (member.isLate && this.#state === "live") this.again();
        member.isLate = false;
      } catch (thrown) {
        if (round.signal.aborted) return;
        this.#home.check(thrown);
        this.#blame(member, round, method, thrown);
      }
      this.#tell();
    });
    return member.turn;
  }

  /** An error is everybody's, or the collection's for good, or the collection's until it is tried again. */
  #blame(member: Member, round: AbortController, method: string, thrown: unknown): void {
    const error = toShape(thrown);
    const { code } = error;
    member.failures += 1;
    member.isLate ||= this.#state !== "live";
    if (code === "unavailable" || code === "unauthenticated") round.abort(thrown);
    else if (FINAL.includes(code) || (code === "conflict" && method === "Hello")) member.error = error;
    else setTimeout(() => void this.#speak(member, round), backOff(member.failures - EASY));
  }

  #ask(method: string, body: Uint8Array | string, signal: AbortSignal): Promise<Uint8Array> {
    return this.#bearing((token) => ask(this.#call(method, body, token, signal, ANSWER_MS)));
  }

  #call(
    method: string,
    body: Uint8Array | string,
    token: string | undefined,
    signal: AbortSignal,
    patienceMs: number,
  ): Call {
    return { url: this.#plan.url + method, body, token, signal, patienceMs };
  }

  /** Does something with a token, once more with a new one when the server refuses it. */
  async #bearing<T>(work: (token: string | undefined) => Promise<T>): Promise<T> {
    const token = await this.#credential();
    try {
      return await work(token);
    } catch (thrown) {
      if (!this.#plan.asks || toShape(thrown).code !== "unauthenticated") throw thrown;
      if (this.#token === token) this.#token = undefined;
      return work(await this.#credential());
    }
  }

  async #credential(): Promise<string | undefined> {
    if (this.#token === undefined && this.#plan.asks) {
      this.#asked ??= new Promise((resolve, reject) => {
        const timer = setTimeout(() => this.#given(NO_TOKEN), TOKEN_MS);
        this.#given = (error) => {
          clearTimeout(timer);
          this.#asked = undefined;
          if (error === undefined) resolve();
          else reject(error);
        };
        this.#home.notify({ type: "token" });
      });
      await this.#asked;
    }
    return this.#token;
  }

  #become(state: SyncState): void {
    this.#state = state;
    this.#tell();
  }

  /** Says the status if it is another one, soon. */
  #tell(): void {
    for (const watcher of this.#watchers.splice(0)) watcher();
    if (this.#isTelling) return;
    this.#isTelling = true;
    setTimeout(() => {
      this.#isTelling = false;
      this.#say();
    }, STATUS_MS);
  }

  #say(): void {
    if (this.#state === "stopped") return;
    try {
      const status = this.status();
      const told = JSON.stringify(status);
      if (told !== this.#told) this.#home.notify({ type: "sync", status });
      this.#told = told;
    } catch (thrown) {
      this.#home.check(thrown);
    }
  }
}

/** Why a round ends that has not failed. */
const AGAIN = Symbol();
const NO_TOKEN = new HyperspaceError("unavailable", "no page gave a token in time");

export function stopped(): HyperspaceError {
  return new HyperspaceError("closed", "the sync is stopped");
}

/** A random time below a bound that doubles with every failure. */
function backOff(failures: number): number {
  return Math.random() * Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** failures);
}
