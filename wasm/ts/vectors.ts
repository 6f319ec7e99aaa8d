/** Turns what callers give into the columns that are sent: one typed array, one list of ids, one of metadata. */

import { HyperspaceError } from "./errors.js";
import type { Columns, Metric, PointId, Row, Vector } from "./types.js";
import { uuidv7 } from "./uuid.js";

export interface Packed {
  ids: PointId[];
  vectors: Float32Array<ArrayBuffer> | Float64Array<ArrayBuffer>;
  metadata: unknown[] | undefined;
}

interface Shape {
  readonly name: string;
  readonly dimension: number;
  readonly metric: Metric;
}

function invalid(message: string): HyperspaceError {
  return new HyperspaceError("invalid_argument", message);
}

/** Poincare terms are computed from the caller's 64-bit values; the other metrics store and compare 32 bits. */
function allocate(metric: Metric, length: number): Float32Array<ArrayBuffer> | Float64Array<ArrayBuffer> {
  return metric === "poincare" ? new Float64Array(length) : new Float32Array(length);
}

/** One vector, checked for its length and copied: the caller's array is never transferred away. */
export function packVector(shape: Shape, vector: Vector): Packed["vectors"] {
  checkLength(shape, vector, "the vector");
  const out = allocate(shape.metric, shape.dimension);
  out.set(vector);
  return out;
}

function checkLength(shape: Shape, vector: Vector | undefined, what: string): void {
  if (vector === null || typeof vector !== "object" || typeof vector.length !== "number") {
    throw invalid(`${what} is not an array of numbers`);
  }
  if (vector.length !== shape.dimension) {
    throw invalid(`${what} has ${vector.length} dimensions, collection \`${shape.name}\` expects ${shape.dimension}`);
  }
}

export function packRows<M>(shape: Shape, rows: readonly Row<M>[]): Packed {
  const vectors = allocate(shape.metric, rows.length * shape.dimension);
  rows.forEach((row, at) => {
    checkLength(shape, row.vector, `the vector of point ${at}`);
    vectors.set(row.vector, at * shape.dimension);
  });
  const ids = rows.map((row) => row.id ?? uuidv7());
  const metadata = rows.some((row) => row.metadata !== undefined) ? rows.map((row) => row.metadata) : undefined;
  return { ids, vectors, metadata };
}

export function packColumns<M>(shape: Shape, columns: Columns<M>): Packed {
  const { vectors, metadata } = columns;
  if (!(vectors instanceof Float32Array || vectors instanceof Float64Array)) {
    throw invalid("`vectors` is neither a Float32Array nor a Float64Array");
  }
  const count = vectors.length / shape.dimension;
  if (!Number.isInteger(count)) {
    throw invalid(
      `\`vectors\` has ${vectors.length} numbers, no multiple of the ${shape.dimension} dimensions of collection \`${shape.name}\``,
    );
  }
  const ids = columns.ids ?? Array.from({ length: count }, () => uuidv7());
  if (ids.length !== count) throw invalid(`${ids.length} ids for ${count} vectors`);
  if (metadata !== undefined && metadata.length !== count) {
    throw invalid(`${metadata.length} metadata for ${count} vectors`);
  }
  // A copy of exactly these numbers: the view may be a part of a larger buffer, and it stays the caller's.
  return { ids, vectors: vectors.slice(), metadata: metadata?.map((each) => each ?? undefined) };
}
