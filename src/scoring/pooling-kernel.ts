import { addTo, foldLanes, Kernel, sumOfLanes, wasm } from './wasm.js';

/**
 * Of `count` cosines (float32, one after the other from `cosines` on; at least one) writes the highest to `out` and
 * the sum of exp(cosine / temperature) to `out + 4`. Arguments but `count` are byte offsets; up to three floats behind
 * the last cosine are read and do not count.
 */
export type PoolingKernel = (cosines: number, count: number, out: number) => void;

/**
 * Most by which an exponential of the kernel, or of the plain loop, is off, as a part of itself, where cosine /
 * temperature is from −14 to 14.
 */
export const EXPONENTIAL_ERROR = 6e-6;

/** Adding it to a float of less than 2²² rounds that to a whole number, which then stands in its lowest bits. */
const ROUNDER = 1.5 * 2 ** 23;
/** Bits of a float's fraction. */
const FRACTION_BITS = 23;
/** The series of 2^x, from the sixth term to the first: (log 2)^k / k!. */
const SERIES = [120, 24, 6, 2, 1, 1].map((factorial, at) => Math.LN2 ** (5 - at) / factorial);

// Four exponentials at once: e^(cosine / temperature) = 2^x = 2^n · 2^(x − n) with the whole number n next to x, where
// six terms of the series are good for 3·10⁻⁶; n is added to the exponent's bits. The highest need not be subtracted
// first: cosines are 2 apart at most. In text form:
//
//   $best = -1; $sum = 0; $left = $count in each lane
//   (loop $four
//     $mask = [0, 1, 2, 3] < $left
//     $x = select(v128[$cosines], -1, $mask)
//     $best = max($best, $x)
//     $x *= log2(e) / temperature
//     $n = $x + ROUNDER
//     $x -= $n - ROUNDER
//     $sum += ((SERIES[0] * $x + SERIES[1]) * $x + …) + ($n << 23), the latter as integers, & $mask
//     $cosines += 16; $left -= 4; $count -= 4
//     (br_if $four (i32.gt_s (local.get $count) (i32.const 0))))
//   f32[$out] = the highest lane of $best; f32[$out + 4] = lanes of $sum added up
const [COSINES, COUNT, OUT] = [0, 1, 2];
const [BEST, SUM, LEFT, MASK, X, N] = [3, 4, 5, 6, 7, 8];
const { get, set, constant } = wasm;

/** The kernel for one temperature, in cosine; at least 0.075. */
export function poolingKernel(temperature: number): Kernel {
  const [first = 0, ...others] = SERIES;
  return new Kernel(3, { i32: 0, v128: 6 }, [
    ...[...wasm.lanes(-1), ...set(BEST), ...wasm.zeroLanes, ...set(SUM)],
    ...[...get(COUNT), ...wasm.splatWord, ...set(LEFT), ...wasm.loop],
    ...[...wasm.words(0, 1, 2, 3), ...get(LEFT), ...wasm.isBelowWords, ...set(MASK)],
    ...[...get(COSINES), ...wasm.loadLanes(0), ...wasm.lanes(-1), ...get(MASK), ...wasm.select, ...set(X)],
    ...[...get(BEST), ...get(X), ...wasm.maxLanes, ...set(BEST)],
    ...[...get(X), ...wasm.lanes(Math.LOG2E / temperature), ...wasm.multiplyLanes, ...set(X)],
    ...[...get(X), ...wasm.lanes(ROUNDER), ...wasm.addLanes, ...set(N)],
    ...[
      ...get(X),
      ...get(N),
      ...wasm.lanes(ROUNDER),
      ...wasm.subtractLanes,
      ...wasm.subtractLanes,
      ...set(X),
    ],
    ...wasm.lanes(first),
    ...others.flatMap((term) => [
      ...[...get(X), ...wasm.multiplyLanes, ...wasm.lanes(term), ...wasm.addLanes],
    ]),
    ...[...get(N), ...constant(FRACTION_BITS), ...wasm.shiftWords, ...wasm.addWords],
    ...[...get(MASK), ...wasm.and, ...get(SUM), ...wasm.addLanes, ...set(SUM)],
    ...addTo(COSINES, constant(16)),
    ...[...get(LEFT), ...wasm.words(4, 4, 4, 4), ...wasm.subtractWords, ...set(LEFT)],
    ...[...get(COUNT), ...constant(4), ...wasm.subtract, ...set(COUNT)],
    ...[...get(COUNT), ...constant(0), ...wasm.isAbove, ...wasm.branchIf(0), ...wasm.end],
    ...[...get(OUT), ...foldLanes(BEST, wasm.lane, wasm.maxFloats), ...wasm.storeFloat(0)],
    ...[...get(OUT), ...sumOfLanes(SUM), ...wasm.storeFloat(4)],
  ]);
}

/** The same in a plain loop, in single precision and in the kernel's order: to the bit what the kernel writes. */
export function plainPooling(memory: ArrayBuffer, temperature: number): PoolingKernel {
  const floats = new Float32Array(memory);
  const sums = new Float32Array(4);
  const factor = Math.fround(Math.LOG2E / temperature);
  return (cosines, count, out) => {
    const from = cosines / 4;
    let best = -1;
    sums.fill(0);
    for (let i = 0; i < count; i += 1) {
      const cosine = floats[from + i] as number;
      if (cosine > best) best = cosine;
      sums[i & 3] = (sums[i & 3] as number) + powerOfTwo(Math.fround(cosine * factor));
    }
    const [a = 0, b = 0, c = 0, d = 0] = sums;
    floats[out / 4] = best;
    floats[out / 4 + 1] = Math.fround(a + b) + Math.fround(c + d);
  };
}

const TERMS = Float32Array.from(SERIES);

/** 2^x as the kernel computes it. */
function powerOfTwo(x: number): number {
  const { fround } = Math;
  const n = fround(x + ROUNDER) - ROUNDER;
  const rest = fround(x - n);
  let sum = 0;
  for (const term of TERMS) sum = fround(fround(sum * rest) + term);
  return sum * 2 ** n;
}
