/** The types of the public surface. Nothing here exists at run time. */

import type { ErrorShape } from "./errors.js";

/** A number is an integer from 0 to 2^53-1, a bigint any u64, a string 1 to 128 bytes of UTF-8. Integers above 2^53-1 come back as bigint. */
export type PointId = number | bigint | string;

/** Lower distances are nearer in every metric. */
export type Metric = "l2" | "cosine" | "dot" | "poincare";

/** How vectors are compressed for graphs. */
export type Quantization = "none" | "scalar_i8";

export type Json = null | boolean | number | bigint | string | Json[] | { [key: string]: Json };
export type Metadata = { [key: string]: Json };

/** `relaxed` survives the death of the tab and of the browser, `strict` that of the machine. */
export type Durability = "relaxed" | "strict";

export type Vector = ArrayLike<number> | Float32Array | Float64Array;

export interface OpenOptions {
  /** What a write promises when it resolves, unless it says otherwise itself. Default `relaxed`. */
  durability?: Durability;
  /** Use a store in memory, gone with the tab, when IndexedDB cannot be had. Without this, opening fails. */
  fallback?: "memory";
  /** Gives opening up; the promise rejects with the signal's reason. */
  signal?: AbortSignal;
  /** Where `hyperspace_wasm_bg.wasm` is served, when the bundler does not find it by itself. */
  wasmUrl?: string | URL;
  /** The compiled module, when the page has it already. */
  wasmModule?: WebAssembly.Module;
  /** A worker that runs `hyperspace-db/worker`, or what makes one. It belongs to the database from then on: closing terminates it. */
  worker?: Worker | (() => Worker);
}

export interface CollectionOptions {
  /** Components a vector, 1 to 4096. */
  dimension: number;
  metric: Metric;
  /** Links a node above level 0. */
  m?: number;
  /** Candidates kept while building; adapts to the dimension when absent. */
  efConstruction?: number;
  /** Candidates kept while searching; adapts to the dimension when absent. */
  efSearch?: number;
  /**
   * `scalar_i8` builds graphs over a byte a component and walks them on it; distances stay those of full vectors. Default
   * `none`, and for a collection that exists what it has: another one is the error `unsupported`.
   */
  quantization?: Quantization;
}

export interface Row<M> {
  /** Absent: a UUIDv7, made before sending, so that a retry is the same write. */
  id?: PointId;
  vector: Vector;
  metadata?: M;
}

export interface Columns<M> {
  /** Absent: UUIDv7 for all. */
  ids?: PointId[];
  /** Row after row, `n * dimension` numbers. */
  vectors: Float32Array | Float64Array;
  metadata?: (M | null | undefined)[];
}

export interface WriteOptions {
  durability?: Durability;
  /** Rejects the promise with the signal's reason. A write that was sent already may still be applied. */
  signal?: AbortSignal;
}

export interface UpsertResult {
  /** The ids in the order of the points. */
  ids: PointId[];
  /** The log's sequence number of this write. */
  lsn: bigint;
}

export interface DeleteResult {
  deleted: number;
  lsn: bigint;
}

/** `{ lang: "en", year: { $gte: 2020 }, $or: [...] }` with `$eq $ne $gt $gte $lt $lte $in $nin $exists $and $or $not` and dotted paths. */
export type Filter = { [key: string]: unknown };

export interface SearchOptions {
  vector: Vector;
  /** 1 to 1000; default 10. */
  topK?: number;
  filter?: Filter;
  /** Candidates kept while searching: more finds more and takes longer. */
  efSearch?: number;
  /** Compare with every point instead of walking the graph. */
  exact?: boolean;
  /** Default false. */
  withVector?: boolean;
  /** Default true. */
  withMetadata?: boolean;
  signal?: AbortSignal;
}

export interface Hit<M> {
  id: PointId;
  distance: number;
  metadata?: M;
  vector?: Float32Array;
}

export interface Point<M> {
  id: PointId;
  metadata: M;
  vector: Float32Array;
}

export interface SegmentStats {
  id: string;
  points: number;
  live: number;
  bytes: number;
}

export interface CollectionStats {
  name: string;
  dimension: number;
  metric: Metric;
  quantization: Quantization;
  /** Live points. */
  points: number;
  /** Live points in sealed segments. */
  indexed: number;
  /** Live points in the memtable: searched exactly until they are sealed. */
  pending: number;
  /** Live points whose graph is over codes: with `scalar_i8` the indexed ones, but for those of `poincare` far from the origin. */
  coded: number;
  /** Bytes that a walk over a graph reads for a vector: of codes where there are any, else of the vector itself. */
  bytesPerVector: number;
  segments: SegmentStats[];
  bytesInMemory: number;
  tombstones: number;
  logRecords: number;
  /** Insertions into graphs by this engine since it opened. */
  graphInsertions: number;
  /** Distances that searches evaluated since the engine opened. */
  distances: number;
  searches: number;
  efSearch: number;
}

/** Counted where values go in and out of the store, since it was opened. */
export interface StorageStats {
  bytesRead: number;
  bytesWritten: number;
  /** Bytes of the values that are stored now. */
  bytesStored: number;
  transactions: number;
  reads: number;
  writes: number;
  /** Whether the browser promised not to evict this origin. */
  persistent: boolean;
  backend: "indexeddb" | "memory";
}

export interface StorageInfo {
  usage?: number;
  quota?: number;
  persisted: boolean;
  backend: "indexeddb" | "memory";
}

export interface IndexProgress {
  collection: string;
  indexed: number;
  pending: number;
  done: boolean;
}

export interface CollectionSummary {
  name: string;
  dimension: number;
  metric: Metric;
  points: number;
}

export interface SyncOptions {
  /** The server's address, such as `https://vectors.example`. */
  url: string;
  /** A key or a token with the scope `sync`, or what gets one: it is called whenever the server wants a new one. */
  token?: string | (() => string | Promise<string>);
  /** Default all, those that are made later and those that only the server has among them. */
  collections?: readonly string[];
}

/**
 * `connecting` for the first time, `syncing` what differs, `live` when both sides are equal and hear of every write,
 * `offline` until the next attempt; `paused`, `stopped` and `failed` until somebody does something.
 */
export type SyncState = "connecting" | "syncing" | "live" | "offline" | "paused" | "stopped" | "failed";

export interface SyncStatus {
  state: SyncState;
  /** Why it is offline or failed. */
  error?: ErrorShape;
  /** Points written here that the server has not answered for yet. */
  pending: number;
  collections: CollectionSyncStatus[];
}

export interface CollectionSyncStatus {
  name: string;
  state: SyncState;
  pending: number;
  /** Writes of this device that were given up, see {@link Sync.conflicts}. */
  conflicts: number;
  /** Why it failed: the others go on. */
  error?: ErrorShape;
}

/** Points of a collection changed because of others' writes. */
export interface SyncChange {
  collection: string;
  changed: number;
}

/** A write of this device that was given up, as it was when it was given up. */
export interface SyncConflict {
  id: PointId;
  /** It was a delete: there is no vector and no metadata. */
  deleted: boolean;
  vector?: Float32Array;
  metadata?: Metadata;
}
