/** A collection as callers see it: every method packs its arguments, asks the engine and unpacks the answer. */

import { HyperspaceError } from "./errors.js";
import type { Handle } from "./protocol.js";
import type { Client } from "./transport.js";
import type {
  CollectionStats,
  Columns,
  DeleteResult,
  Filter,
  Hit,
  IndexProgress,
  Metadata,
  Metric,
  Point,
  PointId,
  Row,
  SearchOptions,
  UpsertResult,
  WriteOptions,
} from "./types.js";
import { packColumns, packRows, packVector } from "./vectors.js";

/** @internal What a collection needs of its database. */
export interface Owner {
  readonly client: Client;
  onProgress(listener: (progress: IndexProgress) => void): () => void;
}

/** Points of one dimension under one metric. Got from {@link Hyperspace.collection}. */
export class Collection<M = Metadata> {
  readonly name: string;
  readonly dimension: number;
  readonly metric: Metric;
  readonly #handle: Handle;
  readonly #owner: Owner;

  /** @internal */
  constructor(owner: Owner, opened: Handle & { dimension: number; metric: Metric }) {
    this.#owner = owner;
    this.#handle = { name: opened.name, space: opened.space };
    this.name = opened.name;
    this.dimension = opened.dimension;
    this.metric = opened.metric;
  }

  /**
   * Writes points, new or not, all of them or none. An acknowledged point is found by the next search.
   *
   * When the signal aborts, the promise rejects with its reason; a write that was sent already may still be applied.
   */
  async upsert(points: readonly Row<M>[] | Columns<M>, options: WriteOptions = {}): Promise<UpsertResult> {
    const packed = isRows(points) ? packRows(this, points) : packColumns(this, points);
    const { ids, vectors, metadata } = packed;
    const body = { handle: this.#handle, ids, vectors, metadata, durability: options.durability };
    const { lsn } = await this.#owner.client.call("upsert", body, {
      transfer: [vectors.buffer],
      signal: options.signal,
    });
    return { ids, lsn };
  }

  /** Deletes points by id; an id that is not there is not counted. */
  async delete(ids: PointId | readonly PointId[], options: WriteOptions = {}): Promise<DeleteResult> {
    const body = { handle: this.#handle, ids: isList(ids) ? [...ids] : [ids], durability: options.durability };
    return this.#owner.client.call("delete", body, { signal: options.signal });
  }

  /** Deletes every point that the filter matches. */
  async deleteWhere(filter: Filter, options: WriteOptions = {}): Promise<DeleteResult> {
    const body = { handle: this.#handle, filter, durability: options.durability };
    return this.#owner.client.call("deleteWhere", body, { signal: options.signal });
  }

  get(id: PointId): Promise<Point<M> | undefined>;
  get(ids: readonly PointId[]): Promise<(Point<M> | undefined)[]>;
  async get(ids: PointId | readonly PointId[]): Promise<Point<M> | undefined | (Point<M> | undefined)[]> {
    const asked = isList(ids) ? [...ids] : [ids];
    const { found, metadata, vectors } = await this.#owner.client.call("get", { handle: this.#handle, ids: asked });
    let row = 0;
    const points = found.map((id): Point<M> | undefined => {
      if (id === undefined) return undefined;
      const at = row++;
      const vector = vectors.slice(at * this.dimension, (at + 1) * this.dimension);
      return { id, metadata: metadata[at] as M, vector };
    });
    return isList(ids) ? points : points[0];
  }

  /** The nearest points, nearest first, equal distances by id. */
  async search(options: SearchOptions): Promise<Hit<M>[]> {
    const { topK, filter, efSearch, exact = false, withVector = false, withMetadata = true, signal } = options;
    const vector = packVector(this, options.vector);
    const body = { handle: this.#handle, vector, topK, filter, efSearch, exact, withVector, withMetadata };
    const reply = await this.#owner.client.call("search", body, { transfer: [vector.buffer], signal });
    const { ids, distances, metadata, vectors } = reply;
    return ids.map((id, at): Hit<M> => {
      const hit: Hit<M> = { id, distance: distances[at] ?? Number.NaN };
      if (metadata !== undefined) hit.metadata = metadata[at] as M;
      if (vectors !== undefined) hit.vector = vectors.slice(at * this.dimension, (at + 1) * this.dimension);
      return hit;
    });
  }

  /** How many points there are, or how many the filter matches. */
  async count(filter?: Filter): Promise<number> {
    return this.#owner.client.call("count", { handle: this.#handle, filter });
  }

  /** Resolves when everything written so far is in sealed segments; forces a seal. Rejects when indexing fails. */
  async indexed(options: { signal?: AbortSignal; onProgress?: (progress: IndexProgress) => void } = {}): Promise<void> {
    const { signal, onProgress } = options;
    const off =
      onProgress &&
      this.#owner.onProgress((progress) => {
        if (progress.collection === this.name) onProgress(progress);
      });
    try {
      await this.#owner.client.call("indexed", { handle: this.#handle }, { signal });
    } finally {
      off?.();
    }
  }

  async stats(): Promise<CollectionStats> {
    return this.#owner.client.call("stats", { handle: this.#handle });
  }
}

function isList<T>(value: T | readonly T[]): value is readonly T[] {
  return Array.isArray(value);
}

function isRows<M>(points: readonly Row<M>[] | Columns<M>): points is readonly Row<M>[] {
  if (Array.isArray(points)) return true;
  if (typeof points === "object" && points !== null && "vectors" in points) return false;
  throw new HyperspaceError("invalid_argument", "points are a list of rows, or columns with `vectors`");
}
