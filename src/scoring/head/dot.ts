/**
 * Dot product of `count` numbers of `a` from `fromA` on and of `b` from `fromB` on.
 * Four sums run side by side; with one, every step would wait for the last.
 */
export function dot(a: Float64Array, fromA: number, b: Float64Array, fromB: number, count: number): number {
  let one = 0;
  let two = 0;
  let three = 0;
  let four = 0;
  let i = 0;
  for (; i + 3 < count; i += 4) {
    one += (a[fromA + i] as number) * (b[fromB + i] as number);
    two += (a[fromA + i + 1] as number) * (b[fromB + i + 1] as number);
    three += (a[fromA + i + 2] as number) * (b[fromB + i + 2] as number);
    four += (a[fromA + i + 3] as number) * (b[fromB + i + 3] as number);
  }
  for (; i < count; i += 1) one += (a[fromA + i] as number) * (b[fromB + i] as number);
  return one + two + (three + four);
}
