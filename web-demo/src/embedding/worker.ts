// Embeds text with all-MiniLM-L6-v2 (int8 ONNX) in a worker of its own: onnxruntime-web on WebAssembly, one thread.
//
// As the shipped vectors were made: one text a call, no padding, at most 128 tokens, the mean over all tokens including
// [CLS] and [SEP], unit norm. Needs no COOP/COEP headers. Says "missing" when the model is not served.

import { Tokenizer } from "@huggingface/tokenizers";
import * as ort from "onnxruntime-web/wasm";
import type { FromWorker, ModelUrls, ToWorker } from "./protocol.ts";

declare const self: DedicatedWorkerGlobalScope;

const MAX_TOKENS = 128;

/** The model is not served: typed queries are off, and nothing is broken. */
class ModelMissing extends Error {}

interface Model {
  session: ort.InferenceSession;
  tokenizer: Tokenizer;
}

let model: Model | undefined;
/** Calls run one after another: a session takes one run at a time. */
let queue: Promise<void> = Promise.resolve();

self.onmessage = (event: MessageEvent<ToWorker>) => {
  const message = event.data;
  queue = queue.then(() => (message.kind === "load" ? load(message.urls) : embed(message.n, message.text)));
};

function say(message: FromWorker, transfer: Transferable[] = []): void {
  self.postMessage(message, transfer);
}

async function load(urls: ModelUrls): Promise<void> {
  try {
    const [tokenizerJson, tokenizerConfig, bytes] = await Promise.all([
      fetchModelFile(urls.tokenizer).then((response) => response.json() as Promise<object>),
      fetchModelFile(urls.tokenizerConfig).then((response) => response.json() as Promise<object>),
      fetchModelFile(urls.model).then(readWithProgress),
    ]);
    ort.env.wasm.numThreads = 1;
    ort.env.wasm.proxy = false;
    ort.env.wasm.wasmPaths = { wasm: urls.runtime };
    const session = await ort.InferenceSession.create(bytes, { executionProviders: ["wasm"] });
    model = { session, tokenizer: new Tokenizer(tokenizerJson, tokenizerConfig) };
    await vectorOf(model, "warm");
    say({ kind: "ready" });
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    say({ kind: error instanceof ModelMissing ? "missing" : "failed", reason });
  }
}

async function embed(n: number, text: string): Promise<void> {
  if (!model) {
    say({ kind: "refused", n, reason: "the embedding model is not loaded" });
    return;
  }
  try {
    const start = performance.now();
    const vector = await vectorOf(model, text);
    say({ kind: "vector", n, vector, milliseconds: performance.now() - start }, [vector.buffer]);
  } catch (error) {
    say({ kind: "refused", n, reason: error instanceof Error ? error.message : String(error) });
  }
}

async function vectorOf({ session, tokenizer }: Model, text: string): Promise<Float32Array> {
  const ids = truncate(tokenizer.encode(text).ids);
  const shape = [1, ids.length];
  const tensor = (values: BigInt64Array): ort.Tensor => new ort.Tensor("int64", values, shape);
  const inputs = {
    input_ids: tensor(BigInt64Array.from(ids, BigInt)),
    attention_mask: tensor(new BigInt64Array(ids.length).fill(1n)),
    token_type_ids: tensor(new BigInt64Array(ids.length)),
  };
  const hidden = (await session.run(inputs, ["last_hidden_state"])).last_hidden_state;
  if (!(hidden?.data instanceof Float32Array)) {
    throw new Error("the model's last_hidden_state is not float32");
  }
  return meanOfUnitNorm(hidden.data, ids.length);
}

/** Keeps the last token, [SEP], in its place, as the tokenizer's own truncation does. */
function truncate(ids: number[]): number[] {
  const last = ids.at(-1);
  return ids.length > MAX_TOKENS && last !== undefined ? [...ids.slice(0, MAX_TOKENS - 1), last] : ids;
}

function meanOfUnitNorm(hidden: Float32Array, tokens: number): Float32Array {
  const dimension = hidden.length / tokens;
  const sum = new Float64Array(dimension);
  for (let at = 0; at < hidden.length; at++) {
    const i = at % dimension;
    sum[i] = (sum[i] ?? 0) + (hidden[at] ?? 0);
  }
  const norm = Math.sqrt(sum.reduce((total, x) => total + x * x, 0));
  return Float32Array.from(sum, (x) => x / norm);
}

async function fetchModelFile(url: string): Promise<Response> {
  let response: Response;
  try {
    response = await fetch(url);
  } catch {
    throw new ModelMissing("the server cannot be reached, and the model is not kept from an earlier visit");
  }
  // A dev server answers index.html for what it does not have.
  if (!response.ok || (response.headers.get("content-type") ?? "").startsWith("text/html")) {
    throw new ModelMissing(`the server has no ${new URL(url).pathname}`);
  }
  return response;
}

async function readWithProgress(response: Response): Promise<Uint8Array> {
  const total = Number(response.headers.get("content-length") ?? 0);
  if (!response.body || total === 0) {
    return new Uint8Array(await response.arrayBuffer());
  }
  const chunks: Uint8Array[] = [];
  let loaded = 0;
  for (const reader = response.body.getReader(); ; ) {
    const { done, value } = await reader.read();
    if (done) {
      break;
    }
    chunks.push(value);
    loaded += value.length;
    say({ kind: "loading", loaded, total });
  }
  const bytes = new Uint8Array(loaded);
  let at = 0;
  for (const chunk of chunks) {
    bytes.set(chunk, at);
    at += chunk.length;
  }
  return bytes;
}
