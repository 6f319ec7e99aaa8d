// Sets of points made from a seed, what is true of them by brute force, and when two answers are the same.

import assert from "node:assert/strict";

/** How many neighbours are asked for. */
export const K = 10;

/** By how much two builds, or a build and the truth, may differ in a distance. */
export function bound(distance) {
  return 1e-5 * Math.max(1, Math.abs(distance));
}

/** Numbers from 0 to 1 that are the same in every run (mulberry32). */
function generator(seed) {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let x = Math.imul(state ^ (state >>> 15), state | 1);
    x ^= x + Math.imul(x ^ (x >>> 7), x | 61);
    return ((x ^ (x >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Vectors as a collection of the metric is given them: f64 inside the ball for poincare, values of f32 for the others. */
function vectors({ metric, dimension, rims }, random, count) {
  const normal = () => Array.from({ length: 12 }, random).reduce((sum, x) => sum + x, -6);
  const centres = generator(dimension);
  const middle = Array.from({ length: 20 }, () => Array.from({ length: dimension }, () => 4 * centres() - 2));
  return Array.from({ length: count }, (_, at) => {
    const centre = middle[Math.floor(random() * middle.length)];
    const vector = centre.map((x) => Math.fround(x + 0.5 * normal()));
    if (metric !== "poincare") return vector;
    const radius = Math.hypot(...vector);
    const height = rims[at % rims.length] * (0.5 + random() / 2);
    return vector.map((x) => (x / radius) * (1 - height));
  });
}

/**
 * A set: its points by id, and queries that are none of them. `rims` says how far from the edge of the ball points are;
 * queries stay well inside, where the f32 rows still tell which of two points at the edge is nearer.
 */
export function makeSet({ name, metric, dimension, points, queries, idOf, metadataOf, seed, quantization, rims }) {
  const random = generator(seed);
  const shape = { metric, dimension, rims: rims ?? [0.5, 1e-2, 1e-4, 1e-6, 1e-9] };
  const rows = vectors(shape, random, points).map((vector, at) => [
    idOf(at),
    { vector, metadata: metadataOf?.(at) ?? {} },
  ]);
  return {
    name,
    metric,
    dimension,
    quantization: quantization ?? "none",
    points: new Map(rows),
    queries: vectors({ ...shape, rims: [0.9, 0.5, 0.1] }, random, queries),
    more: (count) => vectors(shape, random, count),
  };
}

function distance(metric, q, v) {
  const sum = (term) => q.reduce((total, x, i) => total + term(x, v[i]), 0);
  const dot = sum((x, y) => x * y);
  const square = sum((x, y) => (x - y) ** 2);
  const norms = [q, v].map((vector) => vector.reduce((total, x) => total + x * x, 0));
  if (metric === "l2") return Math.sqrt(square);
  if (metric === "cosine") return 1 - dot / Math.sqrt(norms[0] * norms[1]);
  if (metric === "dot") return -dot;
  return Math.acosh(1 + (2 * square) / ((1 - norms[0]) * (1 - norms[1])));
}

/** Exact mode found the nearest of a set, with their metadata. */
export function assertNearest(set, hits, query, what) {
  const all = [...set.points].map(([id, { vector }]) => [distance(set.metric, query, vector), id]);
  const truth = all.sort(([a], [b]) => a - b).slice(0, K);
  assert.equal(hits.length, truth.length, what);
  hits.forEach((hit, at) => {
    const [expected] = truth[at];
    assert.ok(Math.abs(hit.distance - expected) <= bound(expected), `${what}: ${hit.distance}, truth ${expected}`);
    const { vector, metadata } = set.points.get(hit.id) ?? assert.fail(`${what}: ${hit.id} is not there`);
    const own = distance(set.metric, query, vector);
    assert.ok(Math.abs(hit.distance - own) <= bound(own), `${what}: ${hit.id} is at ${own}, not ${hit.distance}`);
    assert.deepEqual(plain(hit.metadata), plain(metadata), `${what}: metadata of ${hit.id}`);
  });
}

/** JSON as it is without integers of their own: those of more than 53 bits are compared as the nearest floats. */
export function plain(value) {
  return JSON.parse(JSON.stringify(value, (_, x) => (typeof x === "bigint" ? Number(x) : x)));
}

/** The same ids in the same order, but for ties, at the same distances. */
export function assertAlike(hits, others, what) {
  assert.equal(hits.length, others.length, what);
  hits.forEach((hit, at) => {
    const limit = bound(hit.distance);
    const isNear = (other) => Math.abs(other.distance - hit.distance) <= limit;
    assert.ok(isNear(others[at]), `${what}: hit ${at} at ${hit.distance} and ${others[at].distance}`);
    const same = others.find((other) => other.id === hit.id);
    // Tied with the last one it may have fallen out.
    assert.ok(isNear(same ?? others.at(-1)), `${what}: hit ${at} is ${hit.id} and ${others[at].id}`);
  });
}

/** Which share of the nearest, by what exact mode says, the graph found; over all queries. */
export function recall(answers) {
  const found = answers.map(({ exact, graph }) => {
    const last = exact.at(-1).distance;
    return graph.filter((hit) => hit.distance <= last + bound(last) * 1e-3).length;
  });
  return found.reduce((sum, n) => sum + n, 0) / answers.reduce((sum, { exact }) => sum + exact.length, 0);
}
