// What the page and the embedding worker say to each other.

export interface ModelUrls {
  model: string;
  tokenizer: string;
  tokenizerConfig: string;
  runtime: string;
}

export type ToWorker = { kind: "load"; urls: ModelUrls } | { kind: "embed"; n: number; text: string };

export type FromWorker =
  | { kind: "loading"; loaded: number; total: number }
  | { kind: "ready" }
  | { kind: "missing"; reason: string }
  | { kind: "failed"; reason: string }
  | { kind: "vector"; n: number; vector: Float32Array; milliseconds: number }
  | { kind: "refused"; n: number; reason: string };
