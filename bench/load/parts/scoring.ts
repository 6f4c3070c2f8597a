import { createRouteSet } from '../../../src/routes/set.js';
import { ActiveSet } from '../../../src/scoring/active-set.js';
import { RowMatrix } from '../../../src/scoring/row-matrix.js';
import type { RouteVectors } from '../../../src/scoring/vectors.js';
import { METHODS } from '../../routing/methods.js';
import { quantile } from '../../samples.js';
import type { Goal, Part } from '../bench.js';

const DIMENSION = 384;
const SIZES = [
  { routes: 150, utterances: 10, methods: ['nearest (CLASSIFY_METHOD)', 'head'] },
  // A head is not trained on so many: CLASSIFY_METHOD=auto scores them by their nearest utterances.
  { routes: 1_000, utterances: 100, methods: ['nearest (CLASSIFY_METHOD)'] },
] as const;
const WARM_UP = 50;
const CALLS = 500;

export const scoringGoals: readonly Goal[] = [
  { name: 'scoring 150 × 10 by nearest (CLASSIFY_METHOD), median ms', atMost: 0.3 },
  { name: 'scoring 150 × 10 by head, median ms', atMost: 0.3 },
  { name: 'scoring 1000 × 100 by nearest (CLASSIFY_METHOD), median ms', atMost: 5 },
];

/**
 * What scoring adds to a request, in this process: all routes are scored, and the best are chosen. Vectors are in clusters as those of a route are.
 */
export const scoring: Part = async ({ samples }) => {
  for (const { routes, utterances, methods } of SIZES) {
    const { set, vectors } = clustered(routes, utterances);
    const vector = vectors.matrix.row(utterances).slice();
    for (const method of methods) {
      const model = { id: 'bench', revision: '', variant: 'q8', digest: '' };
      const embedder = { dimension: DIMENSION, admit() {}, embed: async () => stray() };
      const encoder = { embedder, model };
      const scorer = await METHODS[method]?.(set, vectors, { encoder });
      if (!scorer) throw new Error(`there is no method ${method}`);
      const active = new ActiveSet(encoder, set, vectors, scorer);
      const times: number[] = [];
      for (let n = 0; n < WARM_UP + CALLS; n += 1) {
        const began = performance.now();
        active.judge(vector, undefined, {});
        if (n >= WARM_UP) times.push(performance.now() - began);
      }
      samples.note(`scoring ${routes} × ${utterances} by ${method}, median ms`, quantile(times, 0.5));
    }
  }
};

function clustered(routes: number, utterances: number) {
  const set = createRouteSet(
    Array.from({ length: routes }, (_, route) => ({
      name: `route_${route}`,
      description: undefined,
      utterances: Array.from({ length: utterances }, (_, n) => `${route}/${n}`),
      scoreThreshold: undefined,
      metadata: undefined,
    })),
  );
  const matrix = new RowMatrix(routes * utterances, DIMENSION);
  const offsets = Uint32Array.from({ length: routes + 1 }, (_, route) => route * utterances);
  const rowOf = new Map<string, number>();
  for (const [route, { utterances: texts }] of set.routes.entries()) {
    const centre = randomVector(() => 0);
    for (const [n, text] of texts.entries()) {
      const row = route * utterances + n;
      matrix.row(row).set(randomVector((at) => centre[at] ?? 0));
      rowOf.set(text, row);
    }
  }
  const vectors: RouteVectors = { matrix, offsets, rowOf };
  return { set, vectors };
}

/** The embedding of a text that belongs to no route. */
function stray() {
  const timing = { queueMs: 0, tokenizeMs: 0, inferenceMs: 0 };
  return { vector: randomVector(() => 0), tokens: 0, truncatedTokens: 0, timing };
}

let state = 1;
/** Of length 1, somewhere around a centre; always the same from run to run. */
function randomVector(centre: (at: number) => number): Float32Array {
  const vector = Float32Array.from({ length: DIMENSION }, (_, at) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return centre(at) + (state / 2 ** 32 - 0.5) / 8;
  });
  const length = Math.hypot(...vector);
  return vector.map((value) => value / length);
}
