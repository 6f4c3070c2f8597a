/** Table entries per unit, and how far down the table goes: cosines are 2 apart at most, 25 temperatures. */
const PER_UNIT = 64;
const LOWEST = -26;
const TABLE = Float64Array.from({ length: PER_UNIT * -LOWEST + 1 }, (_, at) => Math.exp(-at / PER_UNIT));

/**
 * e^x to a relative error below 10⁻⁹, in a third of the time of `Math.exp` where x is from −26 to 0: an entry of
 * a table times three terms of the series for what is left. A text beside 100,000 utterances takes as many.
 */
export function exponential(x: number): number {
  if (!(x <= 0 && x >= LOWEST)) return Math.exp(x);
  const at = (0.5 - x * PER_UNIT) | 0;
  const rest = x + at / PER_UNIT;
  return (TABLE[at] as number) * (1 + rest * (1 + rest * (1 / 2 + rest * (1 / 6))));
}
