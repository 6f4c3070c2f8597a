/** One bin of a reliability plot. */
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
