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
