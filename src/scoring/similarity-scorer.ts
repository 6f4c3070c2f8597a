import type { RouteSet } from '../routes/set.js';
import { compareText } from '../shared/closest.js';
import { Slices } from '../shared/concurrent.js';
import { FAMILIARITY_DEFAULTS, type Floor, fitFloor } from './noise.js';
import { multiplyRoutes, nearestOfNone, type RouteVectors } from './row-matrix.js';
import type { CreateScorer, RouteScores, Scorer, ScorerIdentity } from './scorer.js';

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
  /** Share of the set's own utterances that should reach the threshold when each is left out in turn. */
  keepInScope: 0.95,
  /** Evidence at score 0.5 where a set has too few utterances to tell. */
  centre: 0,
  /** As many utterances as `centre` is worth when the set's own are weighed against it. */
  centreWeight: 20,
  /** Maximum number of utterances that are left out in turn, spread evenly over the set. */
  leaveOneOutSample: 300,
} as const;

/**
 * The centre for labels that are known by name or description only, at which 95 % of the default set's
 * held-out texts keep a route when all they are given are the routes' names.
 */
export const NAMED_CENTRE = -0.1;

/**
 * Scores by similarity to the utterances, with nothing to train:
 *
 * 1. evidence of a route: soft maximum of the cosines to its utterances, t·log(mean(exp(cosine / t)));
 * 2. share: softmax of the evidence over the candidates, small where a runner-up is close;
 * 3. score: logistic((evidence + w·log(share) − centre) / scale), increasing in the evidence;
 * 4. where the set has texts of `none`: times the share of the best evidence beside the nearest of those.
 *
 * How similar texts of one set are varies a lot (all banking, or anything under the sun), so the centre is
 * fitted to the set: leaving out one utterance at a time, 95 % of them must reach the threshold.
 */
export class SimilarityScorer implements Scorer {
  readonly identity: ScorerIdentity = { method: 'nearest', version: 2 };
  readonly defaultThreshold = SIMILARITY_DEFAULTS.threshold;
  readonly #vectors: RouteVectors;
  readonly #all: Uint32Array;
  readonly floor: Floor;
  readonly #centre: number;

  constructor(
    vectors: RouteVectors,
    centre: number = SIMILARITY_DEFAULTS.centre,
    floor: Floor = FAMILIARITY_DEFAULTS.floor,
  ) {
    this.#vectors = vectors;
    this.#all = Uint32Array.from({ length: vectors.offsets.length - 1 }, (_, index) => index);
    this.#centre = centre;
    this.floor = floor;
  }

  score(vector: Float32Array, candidates: Uint32Array | undefined, out: RouteScores): void {
    const among = candidates ?? this.#all;
    multiplyRoutes(this.#vectors, vector, candidates);
    for (const route of among) out.score[route] = evidenceOf(this.#vectors, route, out.similarity);
    const shareOfRoutes = shareBeside(nearestOfNone(this.#vectors), highestOf(among, out.score));
    subtractRunnersUp(among, out.score);
    for (const route of among) {
      const evidence = out.score[route] as number;
      out.score[route] =
        shareOfRoutes / (1 + Math.exp((this.#centre - evidence) / SIMILARITY_DEFAULTS.scale));
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
    vectors: RouteVectors | Promise<RouteVectors>,
    { signal }: { readonly signal?: AbortSignal },
  ): Promise<Scorer> => {
    const embedded = await vectors;
    const { evidence, cosines } = await leaveOneOut(set, embedded, signal);
    return new SimilarityScorer(embedded, centreOf(evidence, prior), fitFloor(cosines));
  };
  return create satisfies CreateScorer;
}

/** Centre of the curve at which `keepInScope` of the evidence reaches the threshold. */
function centreOf(evidence: Float64Array, prior: number): number {
  const { threshold, scale, keepInScope, centreWeight } = SIMILARITY_DEFAULTS;
  const lowest = evidence.sort()[Math.floor(evidence.length * (1 - keepInScope))];
  if (lowest === undefined) return prior;
  const fitted = lowest - scale * Math.log(threshold / (1 - threshold));
  return (evidence.length * fitted + centreWeight * prior) / (evidence.length + centreWeight);
}

/** The best route's evidence and the best cosine of utterances of the set, each compared with all the others. */
async function leaveOneOut(
  set: RouteSet,
  vectors: RouteVectors,
  signal: AbortSignal | undefined,
): Promise<{ readonly evidence: Float64Array; readonly cosines: Float64Array }> {
  const { matrix, offsets } = vectors;
  const rows: { readonly row: number; readonly key: string }[] = [];
  for (const [route, { name, utterances }] of set.routes.entries()) {
    // A route's only utterance has nothing to be compared with.
    if (utterances.length < 2) continue;
    const from = offsets[route] as number;
    for (const [index, text] of utterances.entries())
      rows.push({ row: from + index, key: `${name}\n${text}` });
  }
  // The digest of a set does not tell the order in its file, so the sample must not depend on it.
  rows.sort((a, b) => compareText(a.key, b.key));
  const size = Math.min(rows.length, SIMILARITY_DEFAULTS.leaveOneOutSample);
  const best = new Float64Array(size);
  const cosines = new Float64Array(size);
  const all = Uint32Array.from({ length: set.routes.length }, (_, index) => index);
  const similarity = new Float64Array(set.routes.length);
  const evidence = new Float64Array(set.routes.length);
  const slices = new Slices(signal);
  for (let index = 0; index < size; index += 1) {
    const row = rows[Math.floor((index * rows.length) / size)]?.row ?? 0;
    multiplyRoutes(vectors, matrix.row(row));
    // Takes no part in the maximum and adds nothing to the sum.
    matrix.products[row] = Number.NEGATIVE_INFINITY;
    for (const route of all) evidence[route] = evidenceOf(vectors, route, similarity, row);
    subtractRunnersUp(all, evidence);
    best[index] = highestOf(all, evidence);
    cosines[index] = highestOf(all, similarity);
    if (slices.over) await slices.giveWay();
  }
  return { evidence: best, cosines };
}

/**
 * Evidence of a route by the products in its matrix; writes its best cosine to `similarity`.
 * @param without a row that does not count, whose product is -Infinity
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
  for (let row = from; row < to; row += 1) best = Math.max(best, products[row] as number);
  let sum = 0;
  for (let row = from; row < to; row += 1) {
    sum += Math.exp(((products[row] as number) - best) / poolingTemperature);
  }
  const count = to - from - (without >= from && without < to ? 1 : 0);
  // Rounding can take the cosine of a text to itself a little above 1.
  similarity[route] = Math.min(best, 1);
  // A route whose only utterance does not count is as unlike as can be.
  return count === 0 ? best : best + poolingTemperature * Math.log(sum / count);
}

/** Softmax of the best evidence for a route and that for none. */
function shareBeside(none: number, evidence: number): number {
  return none <= -1 ? 1 : 1 / (1 + Math.exp((none - evidence) / SIMILARITY_DEFAULTS.shareTemperature));
}

/** Takes from each candidate's evidence w·log(share), where the share is its softmax among the candidates. */
function subtractRunnersUp(among: Uint32Array, evidence: Float64Array): void {
  const { shareTemperature, shareWeight } = SIMILARITY_DEFAULTS;
  const highest = highestOf(among, evidence);
  let total = 0;
  for (const route of among) total += Math.exp(((evidence[route] as number) - highest) / shareTemperature);
  const logTotal = Math.log(total);
  for (const route of among) {
    const own = evidence[route] as number;
    evidence[route] = own + shareWeight * ((own - highest) / shareTemperature - logTotal);
  }
}

function highestOf(among: Uint32Array, evidence: Float64Array): number {
  let highest = Number.NEGATIVE_INFINITY;
  for (const route of among) highest = Math.max(highest, evidence[route] as number);
  return highest;
}
