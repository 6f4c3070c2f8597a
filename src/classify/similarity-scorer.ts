import { setImmediate as yieldToOthers } from 'node:timers/promises';
import { compareText } from './closest.js';
import { throwIfAborted } from './concurrent.js';
import { exponential } from './exponential.js';
import type { RouteSet } from './route-set.js';
import {
  type CreateScorer,
  createRouteScores,
  type RouteScores,
  type Scorer,
  type ScorerIdentity,
} from './scorer.js';
import { multiplyRoutes, type RouteVectors } from './vectors.js';

/**
 * Constants of the similarity scorer, chosen by measurement: on the default route set by leave-one-out with
 * out-of-scope texts beside it, and on a public intent data set of 77 routes with 10 utterances each.
 */
export const SIMILARITY_DEFAULTS = {
  /**
   * Temperature of the soft maximum over a route's utterances, in cosine. Towards 0 only the nearest
   * utterance counts, towards infinity the mean of all; in between, several near ones outweigh a single one.
   */
  poolingTemperature: 0.08,
  /** Temperature of the share that a route has among all candidates, in cosine. */
  shareTemperature: 0.08,
  /** How much a close runner-up takes away: cosine per natural logarithm of that share. */
  shareWeight: 0.15,
  /** Width of the logistic curve from evidence to score, in cosine. */
  scale: 0.09,
  /** Lowest score with which a route is chosen. */
  threshold: 0.3,
  /** Which part of the set's own utterances should reach the threshold when each is left out in turn. */
  keepInScope: 0.95,
  /** Evidence at score 0.5 where a set has too few utterances to tell. */
  centre: 0,
  /** As many utterances as `centre` is worth when the set's own are weighed against it. */
  centreWeight: 20,
  /** Utterances that are left out in turn, at most; spread evenly over the set. */
  leaveOneOutSample: 300,
} as const;

/**
 * The centre for labels that are known by name or description only, at which 95 % of the default set's
 * held-out texts keep a route when all they are given are the routes' names.
 */
export const NAMED_CENTRE = -0.1;

/** Leave-one-out gives way to other work after this long. */
const YIELD_AFTER_MS = 5;

/**
 * Scores by similarity to the utterances, with nothing to train:
 *
 * 1. evidence of a route: soft maximum of the cosines to its utterances, t·log(mean(exp(cosine / t)));
 * 2. share: softmax of the evidence over the candidates, small where a runner-up is close;
 * 3. score: logistic((evidence + w·log(share) − centre) / scale), increasing in the evidence.
 *
 * How similar texts of one set are varies a lot (all banking, or anything under the sun), so the centre is
 * fitted to the set: leaving out one utterance at a time, 95 % of them must reach the threshold.
 */
export class SimilarityScorer implements Scorer {
  readonly identity: ScorerIdentity = { method: 'nearest', version: 1 };
  readonly defaultThreshold = SIMILARITY_DEFAULTS.threshold;
  readonly #vectors: RouteVectors;
  readonly #all: Uint32Array;
  readonly #centre: number;

  constructor(vectors: RouteVectors, centre: number = SIMILARITY_DEFAULTS.centre) {
    this.#vectors = vectors;
    this.#all = Uint32Array.from({ length: vectors.offsets.length - 1 }, (_, index) => index);
    this.#centre = centre;
  }

  score(vector: Float32Array, candidates: Uint32Array | undefined, out: RouteScores): void {
    const among = candidates ?? this.#all;
    multiplyRoutes(this.#vectors, vector, candidates);
    writeEvidence(this.#vectors, among, out);
    for (const route of among) {
      const evidence = out.score[route] ?? 0;
      out.score[route] = 1 / (1 + Math.exp((this.#centre - evidence) / SIMILARITY_DEFAULTS.scale));
    }
  }
}

/**
 * Makes similarity scorers, each with the centre that its set asks for.
 * @param prior the centre for a set that has too few utterances to tell
 */
export function similarityScoring(prior: number = SIMILARITY_DEFAULTS.centre) {
  const create = async (
    set: RouteSet,
    vectors: RouteVectors,
    { signal }: { readonly signal?: AbortSignal },
  ): Promise<Scorer> => {
    const left = await leaveOneOutEvidence(set, vectors, signal);
    return new SimilarityScorer(vectors, centreOf(left, prior));
  };
  return create satisfies CreateScorer;
}

/** Where the curve must stand for `keepInScope` of the evidence to reach the threshold. */
function centreOf(evidence: Float64Array, prior: number): number {
  const { threshold, scale, keepInScope, centreWeight } = SIMILARITY_DEFAULTS;
  const lowest = evidence.sort()[Math.floor(evidence.length * (1 - keepInScope))];
  if (lowest === undefined) return prior;
  const fitted = lowest - scale * Math.log(threshold / (1 - threshold));
  return (evidence.length * fitted + centreWeight * prior) / (evidence.length + centreWeight);
}

/** The best route's evidence for utterances of the set, each compared with all the others. */
async function leaveOneOutEvidence(
  set: RouteSet,
  vectors: RouteVectors,
  signal?: AbortSignal,
): Promise<Float64Array> {
  const { offsets } = vectors;
  const rows: { readonly row: number; readonly key: string }[] = [];
  for (const [route, { name, utterances }] of set.routes.entries()) {
    // A route's only utterance has nothing to be compared with.
    if (utterances.length < 2) continue;
    const from = offsets[route] ?? 0;
    for (const [index, text] of utterances.entries())
      rows.push({ row: from + index, key: `${name}\n${text}` });
  }
  // The digest of a set does not tell the order in its file, so the sample must not depend on it.
  rows.sort((a, b) => compareText(a.key, b.key));
  const size = Math.min(rows.length, SIMILARITY_DEFAULTS.leaveOneOutSample);
  const sample = Array.from({ length: size }, (_, i) => rows[Math.floor((i * rows.length) / size)]?.row ?? 0);
  const evidence = new Float64Array(size);
  await leaveOut(vectors, sample, signal, (index, { score }) => {
    evidence[index] = score.reduce((best, value) => Math.max(best, value), Number.NEGATIVE_INFINITY);
  });
  return evidence;
}

/**
 * For each utterance of a set the index of the route that would take it if the set did not contain it, in
 * the order of the rows: the raw material of a confusion table.
 * @throws AppError `aborted`
 */
export async function leaveOneOutRoutes(vectors: RouteVectors, signal?: AbortSignal): Promise<Uint32Array> {
  const taken = new Uint32Array(vectors.matrix.rows);
  const rows = Array.from(taken.keys());
  await leaveOut(vectors, rows, signal, (row, { score }) => {
    let best = 0;
    for (let route = 1; route < score.length; route += 1) {
      if ((score[route] ?? 0) > (score[best] ?? 0)) best = route;
    }
    taken[row] = best;
  });
  return taken;
}

/** Compares each of `rows` with all the others, giving way to other work now and then. */
async function leaveOut(
  vectors: RouteVectors,
  rows: readonly number[],
  signal: AbortSignal | undefined,
  visit: (index: number, evidence: RouteScores) => void,
): Promise<void> {
  const routes = vectors.offsets.length - 1;
  const all = Uint32Array.from({ length: routes }, (_, index) => index);
  const out = createRouteScores(routes);
  let since = performance.now();
  for (const [index, row] of rows.entries()) {
    multiplyRoutes(vectors, vectors.matrix.row(row));
    writeEvidence(vectors, all, out, row);
    visit(index, out);
    if (performance.now() - since <= YIELD_AFTER_MS) continue;
    await yieldToOthers();
    throwIfAborted(signal);
    since = performance.now();
  }
}

/**
 * Writes the best cosine and the evidence, share included, of each route in `among`, whose cosines are known.
 * @param without a row that does not count
 */
function writeEvidence(
  { matrix, offsets }: RouteVectors,
  among: Uint32Array,
  out: RouteScores,
  without = -1,
): void {
  const { poolingTemperature, shareTemperature, shareWeight } = SIMILARITY_DEFAULTS;
  const { products } = matrix;
  const { similarity, score } = out;
  let highest = Number.NEGATIVE_INFINITY;
  // Whatever it was: it takes no part in the maximum and adds nothing to the sum.
  if (without >= 0) products[without] = Number.NEGATIVE_INFINITY;
  for (const route of among) {
    const from = offsets[route] as number;
    const to = offsets[route + 1] as number;
    let best = -1;
    for (let row = from; row < to; row += 1) {
      const cosine = products[row] as number;
      if (cosine > best) best = cosine;
    }
    let sum = 0;
    for (let row = from; row < to; row += 1) {
      sum += exponential(((products[row] as number) - best) / poolingTemperature);
    }
    const count = to - from - (without >= from && without < to ? 1 : 0);
    // Rounding can take the cosine of a text to itself a little above 1.
    similarity[route] = Math.min(best, 1);
    // A route whose only utterance does not count is as unlike as can be.
    const evidence = count === 0 ? best : best + poolingTemperature * Math.log(sum / count);
    score[route] = evidence;
    highest = Math.max(highest, evidence);
  }
  let total = 0;
  for (const route of among) total += Math.exp(((score[route] as number) - highest) / shareTemperature);
  for (const route of among) {
    const evidence = score[route] as number;
    score[route] = evidence + shareWeight * ((evidence - highest) / shareTemperature - Math.log(total));
  }
}
