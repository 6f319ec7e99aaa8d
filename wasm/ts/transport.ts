/** How requests reach the engine and answers come back: to a worker, or in the calling thread. */

import { type ErrorShape, fromShape, HyperspaceError, toShape } from "./errors.js";
import type { Body, Kind, Reply, Request, Response } from "./protocol.js";

/** One way to an engine. */
export interface Link {
  post(request: Request, transfer: Transferable[]): void;
  /** Ends the engine without asking it. */
  end(): void;
}

interface Pending {
  resolve(value: unknown): void;
  reject(reason: unknown): void;
}

export type Notice = Exclude<Response, { call: number } | { type: "fatal" }>;

/** Numbers calls, matches answers to them, and fails every one of them when the engine dies. */
export class Client {
  #link: Link | undefined;
  #next = 1;
  #dead: ErrorShape | undefined;
  readonly #pending = new Map<number, Pending>();
  readonly #notify: (notice: Notice) => void;

  constructor(notify: (notice: Notice) => void) {
    this.#notify = notify;
  }

  attach(link: Link): void {
    this.#link = link;
  }

  get isOpen(): boolean {
    return this.#dead === undefined;
  }

  call<K extends Kind>(
    kind: K,
    body: Body<K>,
    options: { transfer?: Transferable[]; signal?: AbortSignal | undefined } = {},
  ): Promise<Reply<K>> {
    const { transfer = [], signal } = options;
    return new Promise<Reply<K>>((resolve, reject) => {
      signal?.throwIfAborted();
      if (this.#dead !== undefined || this.#link === undefined) {
        throw new HyperspaceError("closed", "the database is closed");
      }
      const call = this.#next++;
      const abort = () => settle(() => reject(signal?.reason));
      const settle = (how: () => void) => {
        this.#pending.delete(call);
        signal?.removeEventListener("abort", abort);
        how();
      };
      signal?.addEventListener("abort", abort);
      this.#pending.set(call, {
        resolve: (value) => settle(() => resolve(value as Reply<K>)),
        reject: (reason) => settle(() => reject(reason)),
      });
      try {
        this.#link.post({ call, kind, body } as Request, transfer);
      } catch (cause) {
        settle(() => reject(unsendable(cause)));
      }
    });
  }

  receive(response: Response): void {
    switch (response.type) {
      case "value":
        this.#pending.get(response.call)?.resolve(response.value);
        break;
      case "error":
        this.#pending.get(response.call)?.reject(fromShape(response.error));
        break;
      case "fatal":
        this.die(response.error);
        // Not what the caller did: somebody has to tell.
        if (response.error.code === "closed") this.#notify({ type: "failure", error: response.error });
        break;
      default:
        this.#notify(response);
    }
  }

  /** Ends everything: what waits is rejected with the error, what comes later with `closed`. */
  die(error: ErrorShape): void {
    if (this.#dead !== undefined) return;
    this.#dead = error;
    this.#link?.end();
    for (const pending of [...this.#pending.values()]) pending.reject(fromShape(error));
    if (error.code !== "closed") this.#notify({ type: "failure", error });
  }
}

function unsendable(cause: unknown): HyperspaceError {
  const isClone = cause instanceof DOMException && cause.name === "DataCloneError";
  if (!isClone) return new HyperspaceError("internal", toShape(cause).message, { cause });
  return new HyperspaceError("invalid_argument", `metadata and filters hold JSON only: ${cause.message}`, { cause });
}

/** A worker that runs the engine. */
export function workerLink(worker: Worker, client: Client): Link {
  worker.addEventListener("message", (event: MessageEvent<Response>) => client.receive(event.data));
  worker.addEventListener("messageerror", () => {
    client.die({ code: "internal", message: "an answer of the worker cannot be read", retryable: false });
  });
  worker.addEventListener("error", (event) => {
    event.preventDefault();
    const detail = event.message || "its script cannot be loaded; pass a `worker` if the bundler does not emit it";
    client.die({ code: "internal", message: `the worker failed: ${detail}`, retryable: false });
  });
  return {
    post: (request, transfer) => worker.postMessage(request, transfer),
    end: () => worker.terminate(),
  };
}
