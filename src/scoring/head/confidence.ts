import type { Blend } from './blend.js';
import {
  addEvidence,
  type Calibration,
  type CalibrationPrior,
  calibrate,
  createEvidence,
  scoreOf,
} from './calibration.js';
import type { OutOfFold } from './out-of-fold.js';
import { HEAD_DEFAULTS } from './sizes.js';

/** How scores come about once a softmax is there. */
export interface Confidence {
  /** Its evidence is the log-odds of a route's probability; its cosine is the text's best to any candidate. */
  readonly calibration: Calibration;
  /**
   * Log-odds count up to here: what is left when few candidates compete says little, and a single candidate
   * has a probability of 1.
   */
  readonly mostLogOdds: number;
  /** Lowest score with which a route is chosen where nobody says otherwise. */
  readonly threshold: number;
}

/** Measured on Banking77 with 5 and 10 utterances a route, and on the default route set; wide. */
const PRIOR: CalibrationPrior = [
  { mean: 0.8, deviation: 0.4, least: 0.05 },
  { mean: 9, deviation: 4, least: 0.5 },
  { mean: -6, deviation: 3, least: Number.NEGATIVE_INFINITY },
];
/** Log-odds above this quantile of the set's own texts count alike, … */
const MOST_QUANTILE = 0.9;
/** … within these bounds. */
const MOST_BOUNDS = [2, 8] as const;

/** The best route of a text, and what speaks for it. */
interface Best {
  readonly route: number;
  readonly logOdds: number;
  /** Best cosine to any route. */
  readonly similarity: number;
}

/**
 * Fits the scores to out-of-fold texts (right or wrong) and to background texts (always wrong).
 * @param background scored by the final head, which has not seen them either
 */
export function fitConfidence(own: OutOfFold, background: OutOfFold, blend: Blend): Confidence {
  const ownBest = bestOf(own, blend);
  const outside = without(background, bestOf(background, blend), median(ownBest));
  const mostLogOdds = clamp(
    quantile(
      ownBest.map(({ logOdds }) => logOdds),
      MOST_QUANTILE,
    ) ?? MOST_BOUNDS[0],
    MOST_BOUNDS,
  );
  const weight = (HEAD_DEFAULTS.backgroundShare * own.count) / Math.max(1, outside.length);

  const evidence = createEvidence();
  for (const [text, { route, logOdds, similarity }] of ownBest.entries()) {
    addEvidence(evidence, Math.min(logOdds, mostLogOdds), similarity, route === own.labels[text], 1);
  }
  for (const { best } of outside) {
    addEvidence(evidence, Math.min(best.logOdds, mostLogOdds), best.similarity, false, weight);
  }
  const calibration = calibrate(evidence, PRIOR);

  const scores = ownBest.map(({ logOdds, similarity }) =>
    scoreOf(calibration, Math.min(logOdds, mostLogOdds), similarity),
  );
  return { calibration, mostLogOdds, threshold: thresholdOf(scores, own.labels) };
}

/**
 * Where `keepInScope` of the texts stay, drawn towards a fixed number where they are few; in thousandths.
 * A route's texts count by the square root of their number, as in training: else one large route alone would
 * say where small ones, which score lower, are cut off.
 */
function thresholdOf(scores: readonly number[], labels: Int32Array): number {
  const { threshold, thresholdWeight, keepInScope } = HEAD_DEFAULTS;
  const counts = new Map<number, number>();
  for (const label of labels) counts.set(label, (counts.get(label) ?? 0) + 1);
  const weighted = scores
    .map((score, text) => ({ score, weight: 1 / Math.sqrt(counts.get(labels[text] ?? 0) ?? 1) }))
    .sort((a, b) => a.score - b.score);
  let cut = (1 - keepInScope) * weighted.reduce((sum, { weight }) => sum + weight, 0);
  const lowest = weighted.find(({ weight }) => {
    cut -= weight;
    return cut < 0;
  });
  const mixed =
    (scores.length * (lowest?.score ?? threshold) + thresholdWeight * threshold) /
    (scores.length + thresholdWeight);
  return Math.floor(mixed * 1_000) / 1_000;
}

function bestOf(texts: OutOfFold, blend: Blend): Best[] {
  return Array.from({ length: texts.count }, (_, text) => {
    const start = text * texts.routes;
    let route = 0;
    let highest = Number.NEGATIVE_INFINITY;
    let similarity = -1;
    for (let at = 0; at < texts.routes; at += 1) {
      const value = blended(texts, start + at, blend);
      if (value > highest) {
        highest = value;
        route = at;
      }
      similarity = Math.max(similarity, texts.similarity[start + at] as number);
    }
    let others = 0;
    for (let at = 0; at < texts.routes; at += 1) {
      if (at !== route) others += Math.exp(blended(texts, start + at, blend) - highest);
    }
    return { route, logOdds: -Math.log(others), similarity };
  });
}

/** Background that is as near to a route as half of the set's own texts are may well be in its scope. */
function without(
  texts: OutOfFold,
  best: readonly Best[],
  limit: number,
): { readonly text: number; readonly best: Best }[] {
  return best
    .slice(0, texts.count)
    .map((one, text) => ({ text, best: one }))
    .filter((one) => one.best.similarity < limit);
}

function blended({ logits, similarity }: OutOfFold, at: number, blend: Blend): number {
  return blend.logit * (logits[at] as number) + blend.similarity * (similarity[at] as number);
}

function median(best: readonly Best[]): number {
  return (
    quantile(
      best.map(({ similarity }) => similarity),
      0.5,
    ) ?? 1
  );
}

function quantile(values: readonly number[], share: number): number | undefined {
  return [...values].sort((a, b) => a - b)[Math.min(values.length - 1, Math.floor(values.length * share))];
}

function clamp(value: number, [least, most]: readonly [number, number]): number {
  return Math.min(most, Math.max(least, value));
}
