/** Area under the ROC curve: how often a positive scores above a negative; ties count half. */
export function auroc(positives: readonly number[], negatives: readonly number[]): number {
  const all = [
    ...positives.map((score) => ({ score, positive: true })),
    ...negatives.map((score) => ({ score, positive: false })),
  ].sort((a, b) => a.score - b.score);
  let ranks = 0;
  for (let start = 0; start < all.length; ) {
    let end = start;
    while (end < all.length && all[end]?.score === all[start]?.score) end += 1;
    const rank = (start + 1 + end) / 2;
    for (let i = start; i < end; i += 1) if (all[i]?.positive) ranks += rank;
    start = end;
  }
  const { length: p } = positives;
  return (ranks - (p * (p + 1)) / 2) / (p * negatives.length);
}

/** Expected calibration error over 15 bins of equal width (Guo et al., 2017). */
export function calibrationError(scores: readonly number[], right: readonly boolean[], bins = 15): number {
  const sums = new Float64Array(bins);
  for (const [i, score] of scores.entries()) {
    const bin = Math.min(bins - 1, Math.floor(score * bins));
    sums[bin] = (sums[bin] ?? 0) + score - (right[i] ? 1 : 0);
  }
  return sums.reduce((sum, value) => sum + Math.abs(value), 0) / scores.length;
}

/** Arithmetic mean. */
export function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}
