import type { RouteSet } from '../routes/route-set.js';
import { RowMatrix } from '../scoring/row-matrix.js';
import type { RouteVectors } from '../scoring/vectors.js';

/** How near routes are to each other as a whole. */
export interface Closeness {
  /** Mean cosine between the utterances of one route, each with all the others; 1 for a single one. */
  readonly within: Float64Array;
  /**
   * Mean cosine between the utterances of two routes, as a part of what it is within them: at 1 their utterances
   * are no nearer to each other than to those of the other route.
   */
  between(a: number, b: number): number;
}

/** Measures the closeness of all routes. */
export function closenessOf(set: RouteSet, { matrix, offsets }: RouteVectors): Closeness {
  const count = set.routes.length;
  const centroids = new RowMatrix(count, matrix.dimension, { shortLived: true });
  const within = new Float64Array(count);
  for (let route = 0; route < count; route += 1) {
    const from = offsets[route] ?? 0;
    const to = offsets[route + 1] ?? 0;
    const size = to - from;
    const centroid = centroids.row(route);
    for (let row = from; row < to; row += 1) {
      const vector = matrix.row(row);
      for (let i = 0; i < vector.length; i += 1) centroid[i] = (centroid[i] ?? 0) + (vector[i] ?? 0) / size;
    }
    const squared = centroid.reduce((sum, value) => sum + value * value, 0);
    // The square of the mean counts each utterance with itself, too.
    within[route] = size < 2 ? 1 : (size * size * squared - size) / (size * (size - 1));
  }
  const products = new Float32Array(count * count);
  for (let route = 0; route < count; route += 1) {
    centroids.load(centroids.row(route));
    centroids.multiply(0, count);
    products.set(centroids.products, route * count);
  }
  return {
    within,
    between(a, b) {
      const inside = Math.sqrt(Math.max(1e-6, within[a] ?? 1) * Math.max(1e-6, within[b] ?? 1));
      return (products[a * count + b] ?? 0) / inside;
    },
  };
}
