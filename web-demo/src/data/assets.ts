// The shipped assets (made by scripts/make_assets.py): a manifest, text columns and vectors.
//
// WordNet's vectors are rows of one f32 scale and 384 int8 codes, read while they arrive: no more than one batch is ever
// held. Addresses carry the content's hash, so that the service worker may keep the files for ever.

export interface AssetFile {
  file: string;
  bytes: number;
  sha256: string;
}

export interface AssetGroup {
  count: number;
  dimension: number;
  vectors: AssetFile;
  texts: AssetFile;
}

export interface Manifest {
  wordnet: AssetGroup;
  mammals: AssetGroup;
}

export interface WordnetTexts {
  lexnames: string[];
  offset: number[];
  /** The synonyms of a row, joined by "|". */
  lemmas: string[];
  gloss: string[];
  /** Index into `lexnames`. */
  lexname: number[];
  depth: number[];
  mammal: (0 | 1)[];
}

export interface MammalTexts {
  offset: number[];
  lemmas: string[];
  gloss: string[];
  /** Row numbers of the meanings one step up; empty for "mammal" itself. */
  hypernyms: number[][];
}

/** A failure to get a file that the page needs; the message says which and why. */
export class AssetError extends Error {
  override readonly name = "AssetError";
}

export async function fetchManifest(): Promise<Manifest> {
  const response = await get("assets/manifest.json");
  return (await response.json()) as Manifest;
}

/** The address of an asset, with its hash. */
export function assetUrl(file: AssetFile): string {
  return `assets/${file.file}?v=${file.sha256.slice(0, 12)}`;
}

/** Fetches and parses gzipped JSON. Some servers undo the gzip on the way: then the text comes as it is. */
export async function fetchTexts<T>(file: AssetFile): Promise<T> {
  const bytes = await fetchBytes(file);
  if (bytes[0] !== 0x1f || bytes[1] !== 0x8b) {
    return JSON.parse(new TextDecoder().decode(bytes)) as T;
  }
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return (await new Response(stream).json()) as T;
}

/** Fetches little-endian f32 values, widened exactly: the engine takes points of the ball as f64. */
export async function fetchFloats(file: AssetFile): Promise<Float64Array> {
  const bytes = await fetchBytes(file);
  return Float64Array.from(new Float32Array(bytes.buffer, 0, bytes.byteLength / 4));
}

export interface VectorBatch {
  /** The row number of the first vector. */
  first: number;
  count: number;
  vectors: Float32Array;
}

/** Yields the rows of a quantized file from `first` on, `size` at a time, while the file arrives. */
export async function* readQuantized(group: AssetGroup, first: number, size: number): AsyncGenerator<VectorBatch> {
  const { dimension, count } = group;
  const rowBytes = 4 + dimension;
  const response = await get(assetUrl(group.vectors));
  if (!response.body) {
    throw new AssetError(`${group.vectors.file}: the answer has no body`);
  }
  const reader = response.body.getReader();
  const batch = new Uint8Array(size * rowBytes);
  let skip = first * rowBytes;
  let filled = 0;
  let row = first;
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) {
        break;
      }
      let rest = value.subarray(Math.min(skip, value.length));
      skip -= value.length - rest.length;
      while (rest.length > 0) {
        const taken = rest.subarray(0, batch.length - filled);
        batch.set(taken, filled);
        filled += taken.length;
        rest = rest.subarray(taken.length);
        if (filled === batch.length) {
          yield { first: row, count: size, vectors: decode(batch, size, dimension) };
          row += size;
          filled = 0;
        }
      }
    }
  } finally {
    await reader.cancel();
  }
  const last = filled / rowBytes;
  if (row + last !== count || !Number.isInteger(last)) {
    throw new AssetError(`${group.vectors.file}: ${row + last} rows, expected ${count}`);
  }
  if (last > 0) {
    yield { first: row, count: last, vectors: decode(batch.subarray(0, filled), last, dimension) };
  }
}

function decode(bytes: Uint8Array, rows: number, dimension: number): Float32Array {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const codes = new Int8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const vectors = new Float32Array(rows * dimension);
  for (let row = 0, at = 0, out = 0; row < rows; row++, at += dimension) {
    const scale = view.getFloat32(at, true);
    at += 4;
    for (let i = 0; i < dimension; i++) {
      vectors[out++] = scale * (codes[at + i] ?? 0);
    }
  }
  return vectors;
}

async function fetchBytes(file: AssetFile): Promise<Uint8Array<ArrayBuffer>> {
  const response = await get(assetUrl(file));
  return new Uint8Array(await response.arrayBuffer());
}

async function get(url: string): Promise<Response> {
  let response: Response;
  try {
    response = await fetch(url);
  } catch {
    throw new AssetError(`${url}: the server cannot be reached`);
  }
  if (!response.ok || (response.headers.get("content-type") ?? "").startsWith("text/html")) {
    throw new AssetError(
      `${url}: the server answered ${response.status} ${response.headers.get("content-type") ?? ""}`,
    );
  }
  return response;
}
