import { exponential } from './exponential.js';
import type { RouteVectors } from './vectors.js';

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
 * Evidence of a route whose cosines are known; writes the best of them.
 * @param without a row that does not count, and whose product is -Infinity
 */
export function evidenceOf(
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

/** The highest evidence of some routes. */
export function highestOf(among: Uint32Array, evidence: Float64Array): number {
  let highest = Number.NEGATIVE_INFINITY;
  for (const route of among) highest = Math.max(highest, evidence[route] as number);
  return highest;
}

/** The sum of the softmax of the evidence, where the highest counts as 1. */
export function totalOf(among: Uint32Array, evidence: Float64Array, highest: number): number {
  const { shareTemperature } = SIMILARITY_DEFAULTS;
  let total = 0;
  for (const route of among) total += Math.exp(((evidence[route] as number) - highest) / shareTemperature);
  return total;
}

/** Evidence and what a close runner-up takes away. */
export function withShare(evidence: number, highest: number, logTotal: number): number {
  const { shareTemperature, shareWeight } = SIMILARITY_DEFAULTS;
  return evidence + shareWeight * ((evidence - highest) / shareTemperature - logTotal);
}
