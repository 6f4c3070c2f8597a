import { type Floor, familiarity, fitFloor, logistic } from '../noise.js';
import { estimate, type Prior } from './minimize.js';

/**
 * Constants of the head, chosen by measurement (`npm run bench:routing`; docs/routing.md has the figures).
 * "Cost" is 1 / regularization, as in scikit-learn: the loss is summed, and the penalty is |W|² / (2 cost).
 */
export const HEAD_DEFAULTS = {
  /** Costs that cross-validation chooses from, ascending. */
  costs: [3, 10, 30],
  /** A route with fewer utterances counts as small … */
  smallRoute: 3,
  /** … and a set of which more than this share is small is scored by its nearest utterances. */
  mostSmall: 0.5,
  /** Utterances × routes beyond which training would take minutes; such a set is scored by nearest. */
  mostWork: 10_000_000,
  /** Texts of a set that are scored out of fold, at most, spread evenly. */
  calibrationSample: 2_000,
  /** How much all background texts count together, and all texts of left-out routes, of as many texts of the set's own. */
  backgroundShare: 0.5,
  strangerShare: 0.5,
  /** A set with fewer routes leaves none out: what is left would say little about all of them. */
  leastRoutes: 10,
  /** Which part of the set's own texts, out of fold, should reach the default threshold. */
  keepInScope: 0.95,
  /** The same where the set has texts of `none`: as few of its own may be given up to reject those. */
  leastInScope: 0.9,
  /** Default threshold of a set that is too small to tell, … */
  threshold: 0.25,
  /** … and as how many out-of-fold texts it counts beside the set's own. */
  thresholdWeight: 20,
  /** No set's default threshold is lower. */
  leastThreshold: 0.2,
} as const;

/** Scores of texts by a head that was not trained on them. */
export interface OutOfFold {
  /** How many texts. */
  readonly count: number;
  readonly routes: number;
  /** count × routes: logits of the regression. */
  readonly logits: Float32Array;
  /** count × routes: best cosine to the utterances of each route, those of the text's own fold left out. */
  readonly similarity: Float32Array;
  /** count × routes: evidence of words. */
  readonly words: Float32Array;
  /** count: the route that each text belongs to; `NO_ROUTE` for background. */
  readonly labels: Int32Array;
}

/** Label of a text that belongs to no route. */
export const NO_ROUTE = -1;

/** Room for `count` texts. */
export function createOutOfFold(count: number, routes: number): OutOfFold {
  return {
    count,
    routes,
    logits: new Float32Array(count * routes),
    similarity: new Float32Array(count * routes),
    words: new Float32Array(count * routes),
    labels: new Int32Array(count).fill(NO_ROUTE),
  };
}

/** Factors of the evidence that the softmax is taken of: `logit · z + similarity · cosine + words · w`. */
export interface Blend {
  readonly logit: number;
  /** Per unit of cosine. */
  readonly similarity: number;
  /** Zero where words say nothing that the embedding does not. */
  readonly words: number;
}

/**
 * Fitted values on Banking77 with 5 to 10 utterances a route. A set with few texts stays near it; hundreds
 * of texts outweigh it.
 */
const PRIORS: readonly Prior[] = [
  { mean: 1, deviation: 0.7, least: 0.05 },
  { mean: 8, deviation: 5, least: 0 },
  { mean: 0.1, deviation: 0.1, least: 0 },
];

/**
 * Fits the blend to out-of-fold texts by their log-likelihood ("stacking"; the scale of the logits is their
 * temperature). Convex, three parameters.
 */
export function fitBlend(texts: OutOfFold): { readonly blend: Blend; readonly meanLoss: number } {
  const { routes, labels, count, logits, similarity, words } = texts;
  const weights = new Float64Array(routes);
  const values = [logits, similarity, words] as const;
  const means = new Float64Array(3);
  const moments = new Float64Array(9);
  let loss = 0;
  const [logit = 1, cosine = 0, word = 0] = estimate(PRIORS, (at, into) => {
    const { gradient, hessian } = into;
    const [ofZ, ofS, ofW] = at as unknown as readonly [number, number, number];
    loss = 0;
    for (let text = 0; text < count; text += 1) {
      const start = text * routes;
      const own = labels[text] as number;
      if (own < 0) continue;
      let highest = Number.NEGATIVE_INFINITY;
      for (let route = 0; route < routes; route += 1) {
        const i = start + route;
        const value =
          ofZ * (logits[i] as number) + ofS * (similarity[i] as number) + ofW * (words[i] as number);
        weights[route] = value;
        highest = Math.max(highest, value);
      }
      const target = weights[own] as number;
      let total = 0;
      let [meanZ, meanS, meanW] = [0, 0, 0];
      // Second moments, spelled out: this loop takes a tenth of a training.
      let [zz, zs, ss, zw, sw, ww] = [0, 0, 0, 0, 0, 0];
      for (let route = 0; route < routes; route += 1) {
        const weight = Math.exp((weights[route] as number) - highest);
        const z = logits[start + route] as number;
        const s = similarity[start + route] as number;
        const w = words[start + route] as number;
        const weightedZ = weight * z;
        const weightedS = weight * s;
        const weightedW = weight * w;
        total += weight;
        meanZ += weightedZ;
        meanS += weightedS;
        meanW += weightedW;
        zz += weightedZ * z;
        zs += weightedZ * s;
        ss += weightedS * s;
        zw += weightedZ * w;
        sw += weightedS * w;
        ww += weightedW * w;
      }
      loss += Math.log(total) + highest - target;
      means.set([meanZ / total, meanS / total, meanW / total]);
      moments.set([zz, zs, zw, zs, ss, sw, zw, sw, ww]);
      for (let i = 0; i < 3; i += 1) {
        const mean = means[i] as number;
        gradient[i] = (gradient[i] as number) + mean - ((values[i] as Float32Array)[start + own] as number);
        for (let j = 0; j < 3; j += 1) {
          const cell = 3 * i + j;
          const product = mean * (means[j] as number);
          hessian[cell] = (hessian[cell] as number) + (moments[cell] as number) / total - product;
        }
      }
    }
    into.value += loss;
  });
  return { blend: { logit, similarity: cosine, words: word }, meanLoss: loss / Math.max(1, count) };
}

/** How scores come about once a softmax is there. */
export interface Confidence {
  /** Its evidence is the log-odds of a route's probability; its cosine is the text's best to any candidate. */
  readonly calibration: Calibration;
  /**
   * Log-odds count up to here: what is left when few candidates compete says little, and a single candidate
   * has a probability of 1.
   */
  readonly mostLogOdds: number;
  /** Lowest score with which a route is chosen by default. */
  readonly threshold: number;
  readonly floor: Floor;
}

/** Of the factors of log-odds, logit and cosine, and the bias. Measured on Banking77 with 5 and 10 utterances a route; wide. */
const PRIOR: readonly Prior[] = [
  { mean: 0.6, deviation: 0.4, least: 0.05 },
  { mean: 0.3, deviation: 0.3, least: 0 },
  { mean: 7, deviation: 4, least: 0.5 },
  { mean: -5.5, deviation: 3, least: Number.NEGATIVE_INFINITY },
];
/** Of the line that takes log-odds of a right answer among all texts to those among the set's own. */
const OWN_PRIOR: readonly Prior[] = [
  { mean: 1, deviation: 0.2, least: 0.2 },
  { mean: 0, deviation: 0.4, least: Number.NEGATIVE_INFINITY },
];
/** Log-odds above this quantile of the set's own texts count alike, … */
const MOST_QUANTILE = 0.9;
/** … within these bounds. */
const MOST_BOUNDS = [2, 8] as const;

/** The best route of a text, and what speaks for it. */
interface Best {
  readonly route: number;
  readonly logOdds: number;
  /** Its logit by the regression, as it enters the blend. */
  readonly logit: number;
  /** Best cosine to any route. */
  readonly similarity: number;
}

/** Texts that no route is for. */
export interface Strangers {
  /** Of any subject, scored by the final head. */
  readonly background: OutOfFold;
  /** Of routes that were left out of the training and are no candidates: of the set's own subject. */
  readonly leftOut?: OutOfFold | undefined;
}

/**
 * Fits the scores in two steps. Out-of-fold texts (right or wrong) and strangers (always wrong) say what tells them apart:
 * the order of scores. Then the set's own texts alone say how often a text with such evidence is decided rightly.
 * @param routes those before this one can be chosen; a text of a class after them belongs to none
 */
export function fitConfidence(
  own: OutOfFold,
  { background, leftOut }: Strangers,
  blend: Blend,
  routes: number = own.routes,
): Confidence {
  const all = bestOf(own, blend, routes);
  const isInside = (_: unknown, text: number): boolean => (own.labels[text] as number) < routes;
  const ownBest = all.filter(isInside);
  const limit = median(ownBest);
  // Background that is as near to a route as half of the set's own texts are may well be in its scope.
  const far = bestOf(background, blend, routes).filter(({ similarity }) => similarity < limit);
  const near = leftOut ? bestOf(leftOut, blend, routes) : [];
  const mostLogOdds = clamp(
    quantile(
      ownBest.map(({ logOdds }) => logOdds),
      MOST_QUANTILE,
    ) ?? MOST_BOUNDS[0],
    MOST_BOUNDS,
  );
  const evidenceOf = ({ logOdds, logit, similarity }: Best): readonly number[] => [
    Math.min(logOdds, mostLogOdds),
    logit,
    similarity,
  ];
  const { backgroundShare, strangerShare } = HEAD_DEFAULTS;
  const decided = all.map(
    (best, text): Example => ({
      evidence: evidenceOf(best),
      right: best.route === own.labels[text],
      weight: 1,
    }),
  );
  const wrong = (texts: readonly Best[], share: number): Example[] => {
    const weight = (share * ownBest.length) / Math.max(1, texts.length);
    return texts.map((best) => ({ evidence: evidenceOf(best), right: false, weight }));
  };
  const among = calibrate([...decided, ...wrong(far, backgroundShare), ...wrong(near, strangerShare)], PRIOR);
  const marginOf = (evidence: readonly number[]): number => margin(among, evidence);
  const inside = decided.filter(isInside);
  const [slope = 1, offset = 0] = calibrate(
    inside.map((example) => ({ ...example, evidence: [marginOf(example.evidence)] })),
    OWN_PRIOR,
  );
  const [head = 0, logit = 0, similarity = 0, bias = 0] = among;
  const calibration = {
    head: slope * head,
    logit: slope * logit,
    similarity: slope * similarity,
    bias: slope * bias + offset,
  };

  const floor = fitFloor(Float64Array.from(ownBest, (best) => best.similarity));
  const scored = all.map((best, text): Scored => {
    const logOdds = Math.min(best.logOdds, mostLogOdds);
    const score = scoreOf(calibration, logOdds, best.logit, best.similarity);
    return {
      score: familiarity(best.similarity, floor) * score,
      right: best.route === own.labels[text],
    };
  });
  const none = scored.filter((_, text) => !isInside(_, text));
  const labels = own.labels.filter((label) => label < routes);
  const threshold = thresholdOf(scored.filter(isInside), labels, none);
  return { calibration, mostLogOdds, floor, threshold };
}

/** The score of a text's best route, and whether that is its own. */
interface Scored {
  readonly score: number;
  readonly right: boolean;
}

/**
 * Where `keepInScope` of the texts stay, shrunk towards a fixed number where they are few; in thousandths. With texts of
 * `none`, the score down to `leastInScope` at which most decisions are right, those texts together counting as much as
 * all others: a set that lists them wants them rejected.
 * A route's texts count by the square root of their number, as in training: else one large route alone would
 * say where small ones, which score lower, are cut off.
 */
function thresholdOf(texts: readonly Scored[], labels: Int32Array, none: readonly Scored[]): number {
  const { threshold, leastThreshold, thresholdWeight, keepInScope, leastInScope } = HEAD_DEFAULTS;
  const counts = new Map<number, number>();
  for (const label of labels) counts.set(label, (counts.get(label) ?? 0) + 1);
  const weighted = texts
    .map((one, text) => ({ ...one, weight: 1 / Math.sqrt(counts.get(labels[text] ?? 0) ?? 1) }))
    .sort((a, b) => a.score - b.score);
  const total = weighted.reduce((sum, { weight }) => sum + weight, 0);
  let best: { score: number; right: number } = { score: threshold, right: Number.NEGATIVE_INFINITY };
  let lost = 0;
  let lostRight = 0;
  for (const { score, right, weight } of weighted) {
    const rejected = none.filter((one) => one.score < score).length / Math.max(1, none.length);
    const decided = rejected - lostRight / total;
    const isFirst = best.right === Number.NEGATIVE_INFINITY;
    lost += weight;
    lostRight += right ? weight : 0;
    if (lost <= (1 - keepInScope) * total) continue;
    if (!isFirst && (none.length === 0 || lost > (1 - leastInScope) * total)) break;
    if (decided > best.right) best = { score, right: decided };
  }
  const mixed = (texts.length * best.score + thresholdWeight * threshold) / (texts.length + thresholdWeight);
  return Math.max(leastThreshold, Math.floor(mixed * 1_000) / 1_000);
}

/** @param among routes before this one can be the best; those after compete with it */
function bestOf(texts: OutOfFold, blend: Blend, among: number): Best[] {
  const factors = [blend.logit, blend.similarity, blend.words];
  return Array.from({ length: texts.count }, (_, text) => {
    const start = text * texts.routes;
    let route = 0;
    let highest = Number.NEGATIVE_INFINITY;
    let similarity = -1;
    for (let at = 0; at < among; at += 1) {
      const value = blended(texts, start + at, factors);
      if (value > highest) {
        highest = value;
        route = at;
      }
      similarity = Math.max(similarity, texts.similarity[start + at] as number);
    }
    let others = 0;
    for (let at = 0; at < texts.routes; at += 1) {
      if (at !== route) others += Math.exp(blended(texts, start + at, factors) - highest);
    }
    const logit = blend.logit * (texts.logits[start + route] as number);
    return { route, logOdds: -Math.log(others), logit, similarity };
  });
}

function blended({ logits, similarity, words }: OutOfFold, at: number, factors: ArrayLike<number>): number {
  return (
    (factors[0] as number) * (logits[at] as number) +
    (factors[1] as number) * (similarity[at] as number) +
    (factors[2] as number) * (words[at] as number)
  );
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

/**
 * A score out of three kinds of evidence: logistic(head · log-odds + logit · logit + similarity · cosine + bias). Increasing
 * in all. This is Platt scaling with three inputs.
 */
export interface Calibration {
  readonly head: number;
  /** Per unit of the best candidate's logit, as it enters the blend. */
  readonly logit: number;
  /** Per unit of cosine. */
  readonly similarity: number;
  readonly bias: number;
}

/** Evidence for a decision, and whether it was right. */
export interface Example {
  readonly evidence: readonly number[];
  readonly right: boolean;
  readonly weight: number;
}

/**
 * Fits the factors of a logistic curve, and its bias, by their likelihood under priors.
 * @param priors of the factors, and of the bias, which comes last
 */
export function calibrate(examples: readonly Example[], priors: readonly Prior[]): Float64Array {
  const size = priors.length;
  return estimate(priors, (at, into) => {
    const { gradient, hessian } = into;
    for (const { evidence, right, weight } of examples) {
      const inputs = [...evidence, 1];
      const z = margin(at, evidence);
      into.value += weight * (softplus(z) - (right ? z : 0));
      const probability = logistic(z);
      const slope = weight * (probability - (right ? 1 : 0));
      const curve = weight * probability * (1 - probability);
      for (let i = 0; i < size; i += 1) {
        const x = inputs[i] as number;
        gradient[i] = (gradient[i] as number) + slope * x;
        for (let j = 0; j < size; j += 1) {
          const cell = i * size + j;
          hessian[cell] = (hessian[cell] as number) + curve * x * (inputs[j] as number);
        }
      }
    }
  });
}

/** Σ factor · evidence, and the bias, which is the last factor. */
function margin(factors: ArrayLike<number>, evidence: readonly number[]): number {
  let sum = factors[evidence.length] as number;
  for (let i = 0; i < evidence.length; i += 1) sum += (factors[i] as number) * (evidence[i] as number);
  return sum;
}

/** The score of evidence. */
export function scoreOf(
  { head, logit, similarity, bias }: Calibration,
  logOdds: number,
  logitOfBest: number,
  cosine: number,
): number {
  return logistic(head * logOdds + logit * logitOfBest + similarity * cosine + bias);
}

/** log(1 + eˣ), without overflow. */
function softplus(x: number): number {
  return Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x)));
}
