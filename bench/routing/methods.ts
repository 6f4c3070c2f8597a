import { createRouteSet, type RouteSet } from '../../src/routes/set.js';
import { headScoring } from '../../src/scoring/head/head-scoring.js';
import type { CreateScorer, RouteScores, Scorer } from '../../src/scoring/scorer.js';
import { similarityScoring } from '../../src/scoring/similarity-scorer.js';
import type { RouteVectors } from '../../src/scoring/vectors.js';

/** The methods that are compared. The first three exist only here. */
export const METHODS: Readonly<Record<string, CreateScorer>> = {
  'nearest utterance': async (_set, vectors) =>
    plain(vectors, (products, from, to) => Math.max(...products.subarray(from, to))),
  'top-5 voting': topVoting,
  centroid: async (_set, vectors) =>
    // The cosine to the mean of a route is its mean product over the mean's length.
    plain(vectors, (products, from, to, length) => {
      let sum = 0;
      for (let row = from; row < to; row += 1) sum += products[row] ?? 0;
      return sum / (to - from) / length;
    }),
  'nearest (CLASSIFY_METHOD)': similarityScoring(),
  head: headScoring({
    method: 'head',
    workerEntry: new URL('../../dist/head-worker.js', import.meta.url),
  }),
};

/** A set of the routes with these utterances. */
export function setOf(utterances: ReadonlyMap<string, readonly string[]>): RouteSet {
  return createRouteSet(
    [...utterances].map(([name, texts]) => ({
      name,
      description: undefined,
      utterances: [...texts],
      scoreThreshold: undefined,
      metadata: undefined,
    })),
  );
}

type Score = (products: Float32Array, from: number, to: number, meanLength: number) => number;

function plain(vectors: RouteVectors, score: Score): Scorer {
  const { matrix, offsets } = vectors;
  const routes = offsets.length - 1;
  const lengths = Array.from({ length: routes }, (_, route) => meanLength(vectors, route));
  return {
    identity: { method: 'nearest', version: 0 },
    defaultThreshold: 0,
    score(vector, _candidates, out) {
      matrix.load(vector);
      matrix.multiply(0, matrix.rows);
      for (let route = 0; route < routes; route += 1) {
        const [from = 0, to = 0] = [offsets[route], offsets[route + 1]];
        out.score[route] = score(matrix.products, from, to, lengths[route] ?? 1);
        out.similarity[route] = out.score[route] ?? 0;
      }
    },
  };
}

function meanLength({ matrix, offsets }: RouteVectors, route: number): number {
  const mean = new Float64Array(matrix.dimension);
  const [from = 0, to = 0] = [offsets[route], offsets[route + 1]];
  for (let row = from; row < to; row += 1) {
    for (const [i, value] of matrix.row(row).entries()) mean[i] = (mean[i] ?? 0) + value / (to - from);
  }
  return Math.hypot(...mean);
}

/** The five nearest utterances of all vote with their cosines, which are added up, as semantic-router does. */
async function topVoting(_set: RouteSet, vectors: RouteVectors): Promise<Scorer> {
  const { matrix, offsets } = vectors;
  const owner = new Uint32Array(matrix.rows);
  for (let route = 0; route + 1 < offsets.length; route += 1)
    owner.fill(route, offsets[route], offsets[route + 1]);
  return {
    identity: { method: 'nearest', version: 0 },
    defaultThreshold: 0,
    score(vector: Float32Array, _candidates: Uint32Array | undefined, out: RouteScores) {
      matrix.load(vector);
      matrix.multiply(0, matrix.rows);
      out.score.fill(0);
      const top: number[] = [];
      for (let row = 0; row < matrix.rows; row += 1) {
        const value = matrix.products[row] ?? 0;
        if (top.length === 5 && value <= (matrix.products[top[4] ?? 0] ?? 0)) continue;
        const place = top.findIndex((other) => value > (matrix.products[other] ?? 0));
        top.splice(place < 0 ? top.length : place, 0, row);
        if (top.length > 5) top.pop();
      }
      for (const row of top) {
        const route = owner[row] ?? 0;
        out.score[route] = (out.score[route] ?? 0) + (matrix.products[row] ?? 0);
      }
    },
  };
}
