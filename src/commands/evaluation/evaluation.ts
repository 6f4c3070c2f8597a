import type { ModelIdentity } from '../../api/classify.js';
import type { Judge, Judged, Judgement } from './judge.js';

const EXAMPLES = 5;
const SCORE_BINS = 20;

/** How one route fared. `null` stands for a share of nothing. */
export interface RouteScore {
  readonly route: string;
  /** Texts that belong to it. */
  readonly texts: number;
  /** Texts that were sent to it, and how many of those belong to it. */
  readonly predicted: number;
  readonly correct: number;
  /** Texts of it that were sent nowhere. */
  readonly abstained: number;
  readonly precision: number | null;
  readonly recall: number | null;
  readonly f1: number | null;
}

/** Texts of one route that went to another; `null` stands for none. */
export interface EvalConfusion {
  readonly expected: string | null;
  readonly got: string | null;
  readonly count: number;
  readonly examples: readonly { readonly text: string; readonly line: number; readonly score: number }[];
}

/** Texts by the score of their best candidate, from 0 to 1. */
export interface ScoreHistogram {
  /** In scope, and the best candidate is right, or wrong. */
  readonly right: readonly number[];
  readonly wrong: readonly number[];
  readonly out_of_scope: readonly number[];
}

/** Results for a labelled file; serialized as it is. Shares are of 1. */
export interface Evaluation {
  readonly name: string;
  readonly routes: number;
  readonly routes_digest: string | null;
  readonly model: ModelIdentity | null;
  readonly texts: number;
  /** Right decisions among all texts; for an out-of-scope text the right one is none. */
  readonly accuracy: number | null;
  readonly in_scope: {
    readonly texts: number;
    /** Sent to their route. */
    readonly accuracy: number | null;
    /** Whose best candidate is their route, whatever the threshold. */
    readonly top1_accuracy: number | null;
    /** Sent anywhere. */
    readonly coverage: number | null;
    /** Sent to their route, of those that were sent anywhere. */
    readonly answered_accuracy: number | null;
  };
  readonly out_of_scope: {
    readonly texts: number;
    /** Sent nowhere. */
    readonly rejected: number | null;
    /** Out of scope, of all texts that were sent nowhere. */
    readonly precision: number | null;
    /** How well the score of the best candidate tells texts in scope from those out of it. */
    readonly auroc: number | null;
  };
  /** Mean F1 of the routes that have texts. */
  readonly macro_f1: number | null;
  readonly calibration: { readonly ece: number; readonly bins: readonly ReliabilityBin[] };
  /** How many texts have which score of their best candidate, in bins of equal width. */
  readonly scores: ScoreHistogram;
  readonly by_route: readonly RouteScore[];
  /** The most frequent first; abstentions among them. */
  readonly confusions: readonly EvalConfusion[];
  readonly latency: {
    readonly measures: string;
    readonly p50_ms: number;
    readonly p95_ms: number;
    readonly p99_ms: number;
    readonly texts_per_second: number;
  };
}

export function evaluate(judge: Judge, { judged, totalMs, model, routesDigest }: Judgement): Evaluation {
  const inside = judged.filter(({ expected }) => expected !== null);
  const outside = judged.filter(({ expected }) => expected === null);
  const right = inside.filter(isRight).length;
  const answered = inside.filter(({ got }) => got !== null).length;
  const rejected = outside.filter(isRight).length;
  const by_route = routeScores(judge.routes, judged);
  const scores = by_route.flatMap(({ texts, f1 }) => (texts > 0 ? [f1 ?? 0] : []));
  const times = judged.map(({ ms }) => ms);
  return {
    name: judge.name,
    routes: judge.routes.length,
    routes_digest: routesDigest ?? null,
    model: model ?? null,
    texts: judged.length,
    accuracy: shareOf(right + rejected, judged.length),
    in_scope: {
      texts: inside.length,
      accuracy: shareOf(right, inside.length),
      top1_accuracy: shareOf(inside.filter(({ expected, best }) => expected === best).length, inside.length),
      coverage: shareOf(answered, inside.length),
      answered_accuracy: shareOf(right, answered),
    },
    out_of_scope: {
      texts: outside.length,
      rejected: shareOf(rejected, outside.length),
      precision: shareOf(rejected, rejected + inside.length - answered),
      auroc: aurocOf(
        inside.map(({ score }) => score),
        outside.map(({ score }) => score),
      ),
    },
    macro_f1: scores.length === 0 ? null : round(scores.reduce((sum, f1) => sum + f1, 0) / scores.length),
    // Only of texts in scope: what a best candidate is worth for the others is what the AUROC says.
    calibration: calibrationOf(
      inside.map(({ score, best, expected }) => ({ score, right: best === expected })),
    ),
    scores: {
      right: histogramOf(inside.filter(({ best, expected }) => best === expected)),
      wrong: histogramOf(inside.filter(({ best, expected }) => best !== expected)),
      out_of_scope: histogramOf(outside),
    },
    by_route,
    confusions: confusionsOf(judged),
    latency: {
      measures: judge.measures,
      p50_ms: quantile(times, 0.5),
      p95_ms: quantile(times, 0.95),
      p99_ms: quantile(times, 0.99),
      texts_per_second: round((judged.length / totalMs) * 1_000),
    },
  };
}

function histogramOf(judged: readonly Judged[]): number[] {
  const counts = new Array<number>(SCORE_BINS).fill(0);
  for (const { score } of judged) {
    const bin = Math.min(SCORE_BINS - 1, Math.max(0, Math.floor(score * SCORE_BINS)));
    counts[bin] = (counts[bin] ?? 0) + 1;
  }
  return counts;
}

/** Whether a text was sent where it belongs. */
export function isRight({ expected, got }: Judged): boolean {
  return expected === got;
}

function routeScores(routes: readonly string[], judged: readonly Judged[]): RouteScore[] {
  const counts = new Map(
    routes.map((route) => [route, { texts: 0, predicted: 0, correct: 0, abstained: 0 }]),
  );
  for (const { expected, got } of judged) {
    const mine = expected === null ? undefined : counts.get(expected);
    const taker = got === null ? undefined : counts.get(got);
    if (mine) {
      mine.texts += 1;
      if (got === null) mine.abstained += 1;
      if (got === expected) mine.correct += 1;
    }
    if (taker) taker.predicted += 1;
  }
  return [...counts].map(([route, { texts, predicted, correct, abstained }]) => ({
    route,
    texts,
    predicted,
    correct,
    abstained,
    precision: shareOf(correct, predicted),
    recall: shareOf(correct, texts),
    f1: shareOf(2 * correct, texts + predicted),
  }));
}

function confusionsOf(judged: readonly Judged[]): EvalConfusion[] {
  const groups = new Map<string, Judged[]>();
  for (const each of judged) {
    if (isRight(each)) continue;
    const key = JSON.stringify([each.expected, each.got]);
    const group = groups.get(key);
    if (group) group.push(each);
    else groups.set(key, [each]);
  }
  return [...groups.values()]
    .map((group): EvalConfusion => {
      const [first] = group;
      return {
        expected: first?.expected ?? null,
        got: first?.got ?? null,
        count: group.length,
        examples: [...group]
          .sort((a, b) => b.score - a.score)
          .slice(0, EXAMPLES)
          .map(({ text, line, score }) => ({ text, line, score })),
      };
    })
    .sort((a, b) => b.count - a.count);
}

export interface ReliabilityBin {
  readonly from: number;
  readonly to: number;
  readonly texts: number;
  /** Mean score of the texts in it; `null` in an empty one. */
  readonly confidence: number | null;
  /** Which part of them was right. */
  readonly accuracy: number | null;
}

const BINS = 10;

/** Bins of equal width over scores of 0 to 1, and the expected calibration error: the mean gap, by texts. */
export function calibrationOf(scored: readonly { readonly score: number; readonly right: boolean }[]): {
  readonly ece: number;
  readonly bins: readonly ReliabilityBin[];
} {
  const sums = Array.from({ length: BINS }, () => ({ texts: 0, score: 0, right: 0 }));
  for (const { score, right } of scored) {
    const bin = sums[Math.min(BINS - 1, Math.max(0, Math.floor(score * BINS)))];
    if (!bin) continue;
    bin.texts += 1;
    bin.score += score;
    if (right) bin.right += 1;
  }
  const gap = sums.reduce((sum, bin) => sum + Math.abs(bin.score - bin.right), 0);
  return {
    ece: scored.length === 0 ? 0 : round(gap / scored.length),
    bins: sums.map(({ texts, score, right }, index) => ({
      from: index / BINS,
      to: (index + 1) / BINS,
      texts,
      confidence: texts === 0 ? null : round(score / texts),
      accuracy: texts === 0 ? null : round(right / texts),
    })),
  };
}

/**
 * How often a random one of `positive` is above a random one of `negative`, ties counting half; `null` where one of
 * them is empty.
 */
export function aurocOf(positive: readonly number[], negative: readonly number[]): number | null {
  if (positive.length === 0 || negative.length === 0) return null;
  const all = [
    ...positive.map((score) => ({ score, positive: true })),
    ...negative.map((score) => ({ score, positive: false })),
  ].sort((a, b) => a.score - b.score);
  let ranks = 0;
  for (let start = 0; start < all.length; ) {
    let end = start;
    while (end < all.length && all[end]?.score === all[start]?.score) end += 1;
    const rank = (start + 1 + end) / 2;
    for (let index = start; index < end; index += 1) if (all[index]?.positive) ranks += rank;
    start = end;
  }
  const wins = ranks - (positive.length * (positive.length + 1)) / 2;
  return round(wins / (positive.length * negative.length));
}

/**
 * How probable it is that two equally good sets differ by so much (exact McNemar test): the chance that a fair coin
 * falls at least as unevenly.
 */
export function flipProbability(fixed: number, broken: number): number {
  const flips = fixed + broken;
  const fewer = Math.min(fixed, broken);
  let term = -flips * Math.LN2;
  let tail = 0;
  for (let k = 0; k <= fewer; k += 1) {
    tail += Math.exp(term);
    term += Math.log((flips - k) / (k + 1));
  }
  return Math.min(1, round(2 * tail));
}

/** The value below which a share `q` of them lies. */
export function quantile(values: readonly number[], q: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return round(sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))] ?? 0);
}

/** A share, or `null` of nothing. */
export function shareOf(part: number, whole: number): number | null {
  return whole === 0 ? null : round(part / whole);
}

/** To four digits, and never -0. */
export function round(value: number): number {
  return Math.round(value * 1e4) / 1e4 + 0;
}
