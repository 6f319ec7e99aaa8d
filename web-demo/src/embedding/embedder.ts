// The page's side of the embedding worker.

import runtimeUrl from "onnxruntime-web/ort-wasm-simd-threaded.wasm?url";
import type { FromWorker, ModelUrls, ToWorker } from "./protocol.ts";

/** Bumped when the files of the model change: kept files of another version are not used. */
const MODEL_VERSION = "8199be6f";

export type ModelState =
  | { kind: "idle" }
  | { kind: "loading"; loaded: number; total: number }
  | { kind: "ready" }
  | { kind: "missing"; reason: string }
  | { kind: "failed"; reason: string };

export interface Embedding {
  vector: Float32Array;
  /** Inside the worker: tokens, model and pooling. */
  milliseconds: number;
}

interface Waiting {
  resolve: (embedding: Embedding) => void;
  reject: (reason: Error) => void;
}

export class Embedder {
  #state: ModelState = { kind: "idle" };
  #worker: Worker | undefined;
  #last = 0;
  readonly #waiting = new Map<number, Waiting>();
  readonly #onState: (state: ModelState) => void;
  readonly #settled = Promise.withResolvers<ModelState>();

  constructor(onState: (state: ModelState) => void) {
    this.#onState = onState;
  }

  get state(): ModelState {
    return this.#state;
  }

  /** Resolves when the model is ready, or known not to come. */
  get settled(): Promise<ModelState> {
    return this.#settled.promise;
  }

  /** The addresses of all files the worker asks for. */
  static urls(): ModelUrls {
    const at = (name: string): string => new URL(`model/${name}?v=${MODEL_VERSION}`, document.baseURI).href;
    return {
      model: at("model.onnx"),
      tokenizer: at("tokenizer.json"),
      tokenizerConfig: at("tokenizer_config.json"),
      runtime: new URL(runtimeUrl, document.baseURI).href,
    };
  }

  start(): void {
    const worker = new Worker(new URL("./worker.ts", import.meta.url), { type: "module", name: "embedding" });
    worker.onmessage = (event: MessageEvent<FromWorker>) => this.#receive(event.data);
    worker.onerror = (event) => this.#setState({ kind: "failed", reason: event.message || "the worker did not start" });
    this.#worker = worker;
    this.#setState({ kind: "loading", loaded: 0, total: 0 });
    this.#send({ kind: "load", urls: Embedder.urls() });
  }

  embed(text: string): Promise<Embedding> {
    const n = ++this.#last;
    return new Promise((resolve, reject) => {
      this.#waiting.set(n, { resolve, reject });
      this.#send({ kind: "embed", n, text });
    });
  }

  #send(message: ToWorker): void {
    this.#worker?.postMessage(message);
  }

  #receive(message: FromWorker): void {
    if (message.kind === "vector") {
      this.#waiting.get(message.n)?.resolve(message);
      this.#waiting.delete(message.n);
    } else if (message.kind === "refused") {
      this.#waiting.get(message.n)?.reject(new Error(message.reason));
      this.#waiting.delete(message.n);
    } else {
      this.#setState(message);
    }
  }

  #setState(state: ModelState): void {
    this.#state = state;
    if (state.kind !== "loading" && state.kind !== "idle") {
      this.#settled.resolve(state);
    }
    this.#onState(state);
  }
}
