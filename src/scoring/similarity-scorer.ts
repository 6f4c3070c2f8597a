import type { RouteSet } from '../routes/route-set.js';
import { evidenceOf, highestOf, SIMILARITY_DEFAULTS, totalOf, withShare } from './evidence.js';
import { leaveOneOutEvidence } from './leave-one-out.js';
import { QuantizedRows } from './quantized-rows.js';
import type { CreateScorer, Estimates, RouteScores, Scorer, ScorerIdentity } from './scorer.js';
import { multiplyRoutes, type RouteVectors } from './vectors.js';

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
