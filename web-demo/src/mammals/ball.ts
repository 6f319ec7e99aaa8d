// The Poincare ball, as far as drawing needs it: hyperbolic polar coordinates around any centre, cast on a plane.
//
// Moebius translation (Ungar, "Analytic hyperbolic geometry"; Nickel & Kiela 2017 for the embedding): T(x) = (-c) + x moves
// the centre c to the origin and keeps all distances. Arithmetic in f64: points lie within 1e-5 of the rim.

/** Rows of a flat array of coordinates. */
export interface Points {
  dimension: number;
  coordinates: Float64Array;
}

/** Where a point is drawn: its hyperbolic distance from the centre, and its angle in the plane. */
export interface Polar {
  distance: number;
  angle: number;
}

export function row(points: Points, at: number): Float64Array {
  return points.coordinates.subarray(at * points.dimension, (at + 1) * points.dimension);
}

export function dot(a: Float64Array, b: Float64Array): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) {
    sum += (a[i] ?? 0) * (b[i] ?? 0);
  }
  return sum;
}

/** The point at `fraction` of the hyperbolic way from the origin to `x`. */
export function towards(x: Float64Array, fraction: number): Float64Array {
  const norm = Math.sqrt(dot(x, x));
  const scale = norm === 0 ? 0 : Math.tanh(fraction * Math.atanh(norm)) / norm;
  return x.map((value) => value * scale);
}

/** Polar coordinates of every point as seen from `centre`, cast on the plane of `u` and `v`. */
export function lookFrom(points: Points, centre: Float64Array, plane: Plane): Polar[] {
  const cc = dot(centre, centre);
  const polar: Polar[] = [];
  const moved = new Float64Array(points.dimension);
  for (let at = 0; at < points.coordinates.length / points.dimension; at++) {
    const x = row(points, at);
    const cx = dot(centre, x);
    const xx = dot(x, x);
    const denominator = 1 - 2 * cx + cc * xx;
    for (let i = 0; i < moved.length; i++) {
      moved[i] = ((1 - cc) * (x[i] ?? 0) - (1 - 2 * cx + xx) * (centre[i] ?? 0)) / denominator;
    }
    // acosh(1 + 2 |x-c|^2 / ((1-|x|^2)(1-|c|^2))): better conditioned near the rim than atanh of the norm.
    const gap = Math.max(0, xx - 2 * cx + cc);
    polar.push({
      distance: Math.acosh(1 + (2 * gap) / ((1 - xx) * (1 - cc))),
      angle: Math.atan2(dot(moved, plane.v), dot(moved, plane.u)),
    });
  }
  return polar;
}

export interface Plane {
  u: Float64Array;
  v: Float64Array;
}

/** The first two principal directions of the points, by power iteration. */
export function principalPlane(points: Points): Plane {
  const u = principalDirection(points, []);
  return { u, v: principalDirection(points, [u]) };
}

function principalDirection(points: Points, orthogonalTo: Float64Array[]): Float64Array {
  const n = points.coordinates.length / points.dimension;
  let direction = Float64Array.from({ length: points.dimension }, (_, i) => 1 / (i + 1));
  for (let round = 0; round < 200; round++) {
    const next = new Float64Array(points.dimension);
    for (let at = 0; at < n; at++) {
      const x = row(points, at);
      addScaled(next, x, dot(x, direction));
    }
    for (const other of orthogonalTo) {
      addScaled(next, other, -dot(next, other));
    }
    const norm = Math.sqrt(dot(next, next));
    direction = next.map((value) => value / norm);
  }
  return direction;
}

function addScaled(sum: Float64Array, x: Float64Array, factor: number): void {
  for (let i = 0; i < sum.length; i++) {
    sum[i] = (sum[i] ?? 0) + factor * (x[i] ?? 0);
  }
}
