import { loadManifest } from '../../src/cache/manifest.js';
import { aurocOf } from '../../src/commands/evaluation/evaluation.js';
import { builtInManifest } from '../../src/config/program-files.js';
import { backgroundVectors } from '../../src/daemon/model.js';
import type { Embedder } from '../../src/inference/embedder.js';
import { createRouteSet, type RouteSet } from '../../src/routes/set.js';
import type { HeadCache } from '../../src/scoring/head/head-cache.js';
import { headScoring } from '../../src/scoring/head/head-scoring.js';
import { Noise } from '../../src/scoring/noise.js';
import type { RouteVectors } from '../../src/scoring/row-matrix.js';
import {
  type CreateScorer,
  createRouteScores,
  type RouteScores,
  type Scorer,
} from '../../src/scoring/scorer.js';
import { similarityScoring } from '../../src/scoring/similarity-scorer.js';
import { embedRoutes } from '../../src/scoring/vectors.js';
import { median } from '../../test/support/stats.js';
import type { Labelled } from './banking77.js';

const manifest = await loadManifest(builtInManifest('q8'));
const background = (): Promise<Float32Array | undefined> => backgroundVectors(manifest);

/** The noise texts, by the vectors that come with the program. */
export async function shippedNoise({ dimension }: Embedder): Promise<Noise | undefined> {
  const vectors = await background();
  return vectors && new Noise(vectors, dimension);
}

/** The methods of the product. */
export const METHODS = {
  nearest: similarityScoring(),
  head: headScoring({ method: 'head', workerEntry: new URL('../../dist/head-worker.js', import.meta.url) }),
} as const satisfies Record<string, CreateScorer>;

/** The same for sets of any size. */
export const PROBED_METHODS = {
  nearest: METHODS.nearest,
  auto: headScoring({ workerEntry: new URL('../../dist/head-worker.js', import.meta.url) }),
} as const satisfies Record<string, CreateScorer>;

/** A set of the routes with these utterances, and texts of none. */
function setOf(utterances: ReadonlyMap<string, readonly string[]>, none: readonly string[]): RouteSet {
  return createRouteSet(
    [...utterances].map(([name, texts]) => ({
      name,
      description: undefined,
      utterances: [...texts],
      scoreThreshold: undefined,
      metadata: undefined,
    })),
    { none },
  );
}

/** The answer to a text: the best route and its score. */
export interface Answer {
  readonly route: string;
  readonly score: number;
  /** Routes that reach the default threshold. */
  readonly reached: readonly string[];
  /** Of a head: its probability times the similarity, with nothing fitted. */
  readonly product?: number | undefined;
}

/** A scorer that is ready, and what making it took. */
export interface Made {
  readonly set: RouteSet;
  readonly scorer: Scorer;
  readonly vectors: RouteVectors;
  /** By the clock, the start of the process that trains included. */
  readonly wallMs: number;
  /** Bytes of the head on the volume; 0 without one. */
  readonly headBytes: number;
}

/** Makes a scorer, given embeddings. */
export async function make(
  create: CreateScorer,
  utterances: ReadonlyMap<string, readonly string[]>,
  embedder: Embedder,
  none: readonly string[] = [],
): Promise<Made> {
  const set = setOf(utterances, none);
  const { vectors } = await embedRoutes(set, embedder);
  const model = { id: 'bench', revision: '', variant: 'q8', digest: '' };
  const started = performance.now();
  let headBytes = 0;
  const heads: HeadCache = {
    get: async () => ({}),
    put: async (_, { length }) => {
      headBytes = length;
    },
  };
  const scorer = await create(set, vectors, { encoder: { embedder, model, background, heads } });
  const wallMs = performance.now() - started;
  return { set, scorer, vectors, wallMs, headBytes };
}

/** Decisions of a scorer, one for each text. */
export async function ask(
  { set, scorer }: Made,
  embedder: Embedder,
  texts: readonly string[],
  { withProduct = false }: { readonly withProduct?: boolean } = {},
): Promise<Answer[]> {
  const out = createRouteScores(set.routes.length);
  const answers: Answer[] = [];
  for (const text of texts) {
    const { vector } = await embedder.embed(text);
    scorer.score(vector, undefined, out, text);
    let best = 0;
    for (const [route, score] of out.score.entries()) if (score > (out.score[best] ?? 0)) best = route;
    const reached = set.routes.filter((_, route) => (out.score[route] ?? 0) >= scorer.defaultThreshold);
    answers.push({
      route: set.routes[best]?.name ?? '',
      score: out.score[best] ?? 0,
      reached: reached.map(({ name }) => name),
      product: withProduct ? productOf(scorer, best, out) : undefined,
    });
  }
  return answers;
}

function productOf(scorer: Scorer, route: number, scores: RouteScores): number | undefined {
  const found = scorer.explain?.(route, scores);
  return found && found.probability * Math.max(...scores.similarity);
}

/** Expected calibration error over 15 bins of equal width (Guo et al., 2017). */
function calibrationError(scores: readonly number[], right: readonly boolean[], bins = 15): number {
  const sums = new Float64Array(bins);
  for (const [i, score] of scores.entries()) {
    const bin = Math.min(bins - 1, Math.floor(score * bins));
    sums[bin] = (sums[bin] ?? 0) + score - (right[i] ? 1 : 0);
  }
  return sums.reduce((sum, value) => sum + Math.abs(value), 0) / scores.length;
}

/** Accuracy where every text has a route, and how far scores are from it. */
export function inScope(answers: readonly Answer[], test: readonly Labelled[]) {
  const right = answers.map(({ route }, i) => route === test[i]?.route);
  return {
    accuracy: right.filter(Boolean).length / right.length,
    calibration_error: calibrationError(
      answers.map(({ score }) => score),
      right,
    ),
  };
}

/** Effect of the default threshold on texts whose routes were left out of the set. */
export function outOfScope(
  defaultThreshold: number,
  inside: readonly Answer[],
  test: readonly Labelled[],
  outside: readonly Answer[],
) {
  const kept = inside.filter(({ score }) => score >= defaultThreshold).length;
  const rejected = outside.filter(({ score }) => score < defaultThreshold).length;
  const right = inside.filter(
    ({ route, score }, i) => score >= defaultThreshold && route === test[i]?.route,
  ).length;
  const scores = (answers: readonly Answer[]): number[] => answers.map(({ score }) => score);
  const products = (answers: readonly Answer[]): number[] => answers.flatMap(({ product }) => product ?? []);
  const product = aurocOf(products(inside), products(outside));
  return {
    auroc: aurocOf(scores(inside), scores(outside)) ?? Number.NaN,
    ...(product !== null && product !== undefined && { auroc_of_product: product }),
    threshold: defaultThreshold,
    kept_in_scope: kept / inside.length,
    rejected_out_of_scope: rejected / outside.length,
    accuracy: (right + rejected) / (inside.length + outside.length),
  };
}

/** Milliseconds for one text, all routes, at the median. */
export async function scoringTime(
  { set, scorer }: Made,
  embedder: Embedder,
  texts: readonly string[],
): Promise<number> {
  const out = createRouteScores(set.routes.length);
  const times: number[] = [];
  for (const text of texts) {
    const { vector } = await embedder.embed(text);
    const started = performance.now();
    scorer.score(vector, undefined, out, text);
    times.push(performance.now() - started);
  }
  return median(times);
}

/** Results of `multi` for texts with one intent and with two. */
export function several(
  one: readonly Answer[],
  two: readonly Answer[],
  pairs: readonly (readonly string[])[],
) {
  let found = 0;
  let returned = 0;
  let both = 0;
  for (const [i, { reached }] of two.entries()) {
    const hits = reached.filter((route) => pairs[i]?.includes(route)).length;
    found += hits;
    returned += reached.length;
    if (hits === 2) both += 1;
  }
  return {
    routes_per_single_intent: one.reduce((sum, { reached }) => sum + reached.length, 0) / one.length,
    recall_of_two: found / (2 * two.length),
    precision_of_two: found / Math.max(1, returned),
    both_found: both / two.length,
  };
}
