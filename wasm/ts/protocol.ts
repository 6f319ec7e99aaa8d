/**
 * What the page and the worker say to each other. Internal: both sides come from one package and one version. What tabs
 * say to each other carries the same requests and answers, see `tabs.ts`.
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
  SyncChange,
  SyncConflict,
  SyncStatus,
} from "./types.js";

/** Where the engine's code comes from: an absolute URL that the page resolved, or the compiled module. */
export type WasmSource = { url: string } | { module: WebAssembly.Module };

export interface OpenBody {
  name: string;
  storage: "indexeddb" | "memory";
  fallback: "memory" | undefined;
  durability: Durability;
  wasm: WasmSource;
}

/** A collection, in every engine that ever opens the database: its name and its number in the store. */
export interface Handle {
  name: string;
  space: number;
}

export interface CollectionReply {
  space: number;
  dimension: number;
  metric: Metric;
}

export interface UpsertBody {
  handle: Handle;
  ids: PointId[];
  vectors: Float32Array | Float64Array;
  metadata: unknown[] | undefined;
  durability: Durability | undefined;
}

export interface SearchBody {
  handle: Handle;
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

/** A session with a server, as every tab that wants it says it to every owner. */
export interface SyncBody {
  url: string;
  /** In order; absent: all. */
  collections: string[] | undefined;
  token: string | undefined;
  /** Whether the page can be asked for a token. */
  asks: boolean;
  paused: boolean;
}

/** Every call: what it takes and what it gives. */
export interface Calls {
  open: [OpenBody, { backend: "indexeddb" | "memory" }];
  collection: [{ name: string; options: CollectionOptions | undefined }, CollectionReply];
  collections: [Record<string, never>, CollectionSummary[]];
  deleteCollection: [{ name: string }, boolean];
  upsert: [UpsertBody, { lsn: bigint }];
  delete: [{ handle: Handle; ids: PointId[]; durability: Durability | undefined }, { deleted: number; lsn: bigint }];
  deleteWhere: [
    { handle: Handle; filter: Filter; durability: Durability | undefined },
    { deleted: number; lsn: bigint },
  ];
  get: [{ handle: Handle; ids: PointId[] }, GetReply];
  search: [SearchBody, SearchReply];
  count: [{ handle: Handle; filter: Filter | undefined }, number];
  indexed: [{ handle: Handle }, undefined];
  stats: [{ handle: Handle }, CollectionStats];
  flush: [Record<string, never>, undefined];
  storage: [Record<string, never>, StorageReply];
  pauseIndexing: [{ paused: boolean }, undefined];
  exportCollection: [{ handle: Handle }, CollectionImage];
  export: [Record<string, never>, Blob];
  import: [{ archive: Blob }, CollectionSummary[]];
  importCollection: [{ name: string; image: CollectionImage }, undefined];
  sync: [SyncBody, SyncStatus];
  stopSync: [Record<string, never>, undefined];
  pauseSync: [{ paused: boolean }, undefined];
  giveToken: [{ token: string | undefined; error: ErrorShape | undefined }, undefined];
  caughtUp: [Record<string, never>, undefined];
  conflicts: [{ name: string }, SyncConflict[]];
  settle: [{ name: string; count: number }, undefined];
  destroy: [Record<string, never>, undefined];
  close: [Record<string, never>, undefined];
}

export type Kind = keyof Calls;
/** What an engine answers; opening and ending are about more than one. */
export type EngineKind = Exclude<Kind, "open" | "close" | "destroy">;
export type Body<K extends Kind> = Calls[K][0];
export type Reply<K extends Kind> = Calls[K][1];

export type Request = { [K in Kind]: { call: number; kind: K; body: Body<K> } }[Kind];

export type Response =
  | { type: "value"; call: number; value: unknown }
  | { type: "error"; call: number; error: ErrorShape }
  | { type: "progress"; progress: IndexProgress }
  | { type: "failure"; error: ErrorShape }
  | { type: "sync"; status: SyncStatus }
  | { type: "change"; change: SyncChange }
  /** Whoever can get a token is asked for one. */
  | { type: "token" }
  /** The engine is gone: nothing sent from now on is answered. */
  | { type: "fatal"; error: ErrorShape };
