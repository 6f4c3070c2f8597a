import { setImmediate as yieldToOthers } from 'node:timers/promises';
import { compareText } from './closest.js';
import { throwIfAborted } from './concurrent.js';
import { exponential } from './exponential.js';
import { QuantizedRows } from './quantized-rows.js';
import type { RouteSet } from './route-set.js';
import {
  type CreateScorer,
  createRouteScores,
  type Estimates,
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

/** How scores are estimated where a set is so large that its rows come from memory for each text. */
export const ESTIMATE_DEFAULTS = {
  /** From this many rows on (of all candidates together) their products are estimated first. */
  rows: 10_000,
  /** A route is made exact at once where its error could change the candidates' total by more than this part of it. */
  ofTotal: 1 / 1_000,
} as const;

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
 *
 * Of a large set, evidence is first estimated by {@link QuantizedRows}, which read a quarter of the memory. A route
 * whose error could change the sum of the softmax by more than 0.1 % is made exact before that sum is taken, and
 * `settle` makes exact whatever may be shown. What stays estimated is the part that all the other routes have in the
 * sum: where their cosines are off by δ at most (0.014 for embeddings of 384 dimensions), its logarithm is off by
 * δ / 0.08 at most, and a score by 0.42 times that (w / (4 · scale)), 0.07, if all errors are as large as can be and
 * of one sign. Measured on sets of 30,000 and 100,000 rows: 4·10⁻⁵ at most.
 */
export class SimilarityScorer implements Scorer, Estimates {
  readonly identity: ScorerIdentity = { method: 'nearest', version: 1 };
  readonly defaultThreshold = SIMILARITY_DEFAULTS.threshold;
  readonly estimates?: Estimates;
  readonly #vectors: RouteVectors;
  readonly #all: Uint32Array;
  readonly #centre: number;
  readonly #quantized: QuantizedRows | undefined;
  /** By route: the largest residual of its rows. */
  readonly #residuals: Float64Array;
  // Of the last call, by route where it is one of the candidates:
  readonly #evidence: Float64Array;
  readonly #estimated: Uint8Array;
  #highest = 0;
  #logTotal = 0;

  /** @param quantized a copy of the rows, made with the pooling temperature, if scores are to be estimated first */
  constructor(
    vectors: RouteVectors,
    centre: number = SIMILARITY_DEFAULTS.centre,
    quantized: QuantizedRows | undefined = undefined,
  ) {
    const { offsets } = vectors;
    const routes = offsets.length - 1;
    this.#vectors = vectors;
    this.#all = Uint32Array.from({ length: routes }, (_, index) => index);
    this.#centre = centre;
    this.#quantized = quantized;
    this.#residuals = new Float64Array(routes);
    if (quantized) {
      this.estimates = this;
      for (const route of this.#all) {
        const residuals = quantized.residuals.subarray(offsets[route], offsets[route + 1]);
        this.#residuals[route] = residuals.reduce((most, residual) => Math.max(most, residual), 0);
      }
    }
    this.#evidence = new Float64Array(routes);
    this.#estimated = new Uint8Array(routes);
  }

  score(vector: Float32Array, candidates: Uint32Array | undefined, out: RouteScores): void {
    const among = candidates ?? this.#all;
    const evidence = this.#evidence;
    if (this.#quantized && rowsOf(this.#vectors, candidates) >= ESTIMATE_DEFAULTS.rows) {
      this.#estimate(this.#quantized, vector, candidates, out);
    } else {
      multiplyRoutes(this.#vectors, vector, candidates);
      for (const route of among) {
        evidence[route] = evidenceOf(this.#vectors, route, out.similarity);
        this.#estimated[route] = 0;
      }
    }
    this.#highest = highestOf(among, evidence);
    this.#logTotal = Math.log(totalOf(among, evidence, this.#highest));
    for (const route of among) out.score[route] = this.#scoreOf(evidence[route] as number);
  }

  scoreAtMost(route: number, { score }: RouteScores): number {
    if (this.#estimated[route] === 0) return score[route] as number;
    return this.#scoreOf((this.#evidence[route] as number) + this.#errorOf(route));
  }

  similarityAtMost(route: number, { similarity }: RouteScores): number {
    const written = similarity[route] as number;
    return this.#estimated[route] === 0 ? written : Math.min(written + this.#errorOf(route), 1);
  }

  settle(route: number, out: RouteScores): void {
    if (this.#estimated[route] === 0) return;
    this.#makeExact(route, out);
    out.score[route] = this.#scoreOf(this.#evidence[route] as number);
  }

  /** Writes the candidates' evidence: estimated, or exact where much depends on it. */
  #estimate(
    quantized: QuantizedRows,
    vector: Float32Array,
    candidates: Uint32Array | undefined,
    out: RouteScores,
  ): void {
    const { poolingTemperature, shareTemperature } = SIMILARITY_DEFAULTS;
    const { matrix, offsets } = this.#vectors;
    const among = candidates ?? this.#all;
    const evidence = this.#evidence;
    matrix.load(vector);
    quantized.load(vector);
    if (candidates === undefined) quantized.multiply(0, matrix.rows);
    for (const route of among) {
      const from = offsets[route] as number;
      const to = offsets[route + 1] as number;
      if (candidates !== undefined) quantized.multiply(from, to);
      quantized.pool(from, to);
      out.similarity[route] = Math.min(quantized.best, 1);
      evidence[route] = poolingTemperature * Math.log(quantized.sum / (to - from));
      this.#estimated[route] = 1;
    }
    const highest = highestOf(among, evidence);
    const most = ESTIMATE_DEFAULTS.ofTotal * totalOf(among, evidence, highest);
    for (const route of among) {
      const weight = Math.exp(((evidence[route] as number) - highest) / shareTemperature);
      if (weight * Math.expm1(this.#errorOf(route) / shareTemperature) > most) this.#makeExact(route, out);
    }
  }

  #makeExact(route: number, out: RouteScores): void {
    const { matrix, offsets } = this.#vectors;
    matrix.multiply(offsets[route] as number, offsets[route + 1] as number);
    this.#evidence[route] = evidenceOf(this.#vectors, route, out.similarity);
    this.#estimated[route] = 0;
  }

  /** Most by which a route's estimated evidence can be off. */
  #errorOf(route: number): number {
    const { offsets } = this.#vectors;
    const count = (offsets[route + 1] as number) - (offsets[route] as number);
    return this.#quantized?.errorOf(this.#residuals[route] as number, count) ?? 0;
  }

  #scoreOf(evidence: number): number {
    const shared = withShare(evidence, this.#highest, this.#logTotal);
    return 1 / (1 + Math.exp((this.#centre - shared) / SIMILARITY_DEFAULTS.scale));
  }
}

function rowsOf({ matrix, offsets }: RouteVectors, candidates: Uint32Array | undefined): number {
  if (candidates === undefined) return matrix.rows;
  let rows = 0;
  for (const route of candidates) rows += (offsets[route + 1] as number) - (offsets[route] as number);
  return rows;
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
    return new SimilarityScorer(vectors, centreOf(left, prior), await quantizedRowsOf(vectors, signal));
  };
  return create satisfies CreateScorer;
}

/** The copy that a scorer of these vectors estimates with, where they are many. */
async function quantizedRowsOf(
  { matrix }: RouteVectors,
  signal: AbortSignal | undefined,
): Promise<QuantizedRows | undefined> {
  if (matrix.rows < ESTIMATE_DEFAULTS.rows) return undefined;
  return QuantizedRows.of(matrix, SIMILARITY_DEFAULTS.poolingTemperature, signal);
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
    // Whatever it was: it takes no part in the maximum and adds nothing to the sum.
    vectors.matrix.products[row] = Number.NEGATIVE_INFINITY;
    for (const route of all) out.score[route] = evidenceOf(vectors, route, out.similarity, row);
    const highest = highestOf(all, out.score);
    const logTotal = Math.log(totalOf(all, out.score, highest));
    for (const route of all) out.score[route] = withShare(out.score[route] as number, highest, logTotal);
    visit(index, out);
    if (performance.now() - since <= YIELD_AFTER_MS) continue;
    await yieldToOthers();
    throwIfAborted(signal);
    since = performance.now();
  }
}

/**
 * Evidence of a route whose cosines are known; writes the best of them.
 * @param without a row that does not count, and whose product is -Infinity
 */
function evidenceOf(
  { matrix, offsets }: RouteVectors,
  route: number,
  similarity: Float64Array,
  without = -1,
): number {
  const { poolingTemperature } = SIMILARITY_DEFAULTS;
  const { products } = matrix;
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
  return count === 0 ? best : best + poolingTemperature * Math.log(sum / count);
}

function highestOf(among: Uint32Array, evidence: Float64Array): number {
  let highest = Number.NEGATIVE_INFINITY;
  for (const route of among) highest = Math.max(highest, evidence[route] as number);
  return highest;
}

/** The sum of the softmax of the evidence, where the highest counts as 1. */
function totalOf(among: Uint32Array, evidence: Float64Array, highest: number): number {
  const { shareTemperature } = SIMILARITY_DEFAULTS;
  let total = 0;
  for (const route of among) total += Math.exp(((evidence[route] as number) - highest) / shareTemperature);
  return total;
}

/** Evidence and what a close runner-up takes away. */
function withShare(evidence: number, highest: number, logTotal: number): number {
  const { shareTemperature, shareWeight } = SIMILARITY_DEFAULTS;
  return evidence + shareWeight * ((evidence - highest) / shareTemperature - logTotal);
}
