/**
 * What the page and the worker say to each other. Internal: both sides come from one package and one version.
 *
 * Every call is a request with a number and answered once, by a value or by an error. Vectors travel in typed arrays
 * whose buffers are transferred; metadata and filters by structured clone.
 */

import type { ErrorShape } from "./errors.js";
import type {
  CollectionOptions,
  CollectionStats,
  CollectionSummary,
  Durability,
  Filter,
  IndexProgress,
  Metric,
  PointId,
  StorageStats,
} from "./types.js";

/** Where the engine's code comes from: an absolute URL that the page resolved, or the compiled module. */
export type WasmSource = { url: string } | { module: WebAssembly.Module };

export interface OpenBody {
  name: string;
  storage: "indexeddb" | "memory";
  fallback: "memory" | undefined;
  durability: Durability;
  wait: boolean | number;
  wasm: WasmSource;
}

export interface CollectionReply {
  /** The number by which later requests name the collection. */
  handle: number;
  dimension: number;
  metric: Metric;
}

export interface UpsertBody {
  handle: number;
  ids: PointId[];
  vectors: Float32Array | Float64Array;
  metadata: unknown[] | undefined;
  durability: Durability | undefined;
}

export interface SearchBody {
  handle: number;
  vector: Float32Array | Float64Array;
  topK: number | undefined;
  filter: Filter | undefined;
  efSearch: number | undefined;
  exact: boolean;
  withVector: boolean;
  withMetadata: boolean;
}

/** Hits in columns, nearest first. */
export interface SearchReply {
  ids: PointId[];
  distances: Float64Array;
  metadata: unknown[] | undefined;
  vectors: Float32Array | undefined;
}

/** Points in the order asked for; a missing one has `undefined` in `found`. */
export interface GetReply {
  found: (PointId | undefined)[];
  metadata: unknown[];
  vectors: Float32Array;
}

export type StorageReply = Omit<StorageStats, "persistent">;

/** A collection as bytes: its manifest and its sealed segments. */
export interface CollectionImage {
  manifest: Uint8Array;
  segments: { id: string; bytes: Uint8Array }[];
}

/** Every call: what it takes and what it gives. */
export interface Calls {
  open: [OpenBody, { backend: "indexeddb" | "memory" }];
  collection: [{ name: string; options: CollectionOptions | undefined }, CollectionReply];
  collections: [Record<string, never>, CollectionSummary[]];
  deleteCollection: [{ name: string }, boolean];
  upsert: [UpsertBody, { lsn: bigint }];
  delete: [{ handle: number; ids: PointId[]; durability: Durability | undefined }, { deleted: number; lsn: bigint }];
  deleteWhere: [
    { handle: number; filter: Filter; durability: Durability | undefined },
    { deleted: number; lsn: bigint },
  ];
  get: [{ handle: number; ids: PointId[] }, GetReply];
  search: [SearchBody, SearchReply];
  count: [{ handle: number; filter: Filter | undefined }, number];
  indexed: [{ handle: number }, undefined];
  stats: [{ handle: number }, CollectionStats];
  flush: [Record<string, never>, undefined];
  storage: [Record<string, never>, StorageReply];
  pauseIndexing: [{ paused: boolean }, undefined];
  exportCollection: [{ handle: number }, CollectionImage];
  importCollection: [{ name: string; image: CollectionImage }, undefined];
  destroy: [Record<string, never>, undefined];
  close: [Record<string, never>, undefined];
}

export type Kind = keyof Calls;
export type Body<K extends Kind> = Calls[K][0];
export type Reply<K extends Kind> = Calls[K][1];

export type Request = { [K in Kind]: { call: number; kind: K; body: Body<K> } }[Kind];

export type Response =
  | { type: "value"; call: number; value: unknown }
  | { type: "error"; call: number; error: ErrorShape }
  | { type: "progress"; progress: IndexProgress }
  | { type: "failure"; error: ErrorShape }
  /** The engine is gone: nothing sent from now on is answered. */
  | { type: "fatal"; error: ErrorShape };
