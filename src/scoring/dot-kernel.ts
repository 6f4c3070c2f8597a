import { addTo, Kernel, sumOfLanes, wasm } from './wasm.js';

/**
 * Multiplies rows with a vector, all inside one WebAssembly memory: `count` rows each from `rows`, from
 * `rows + distance`, from `rows + 2 · distance` and from `rows + 3 · distance` on; the products go to `out`,
 * `out + outDistance`, … Every argument but `count` is a byte count or a byte offset. Vector and rows are padded
 * to a multiple of 8 floats.
 */
export type DotKernel = (
  vector: number,
  rows: number,
  count: number,
  rowBytes: number,
  distance: number,
  out: number,
  outDistance: number,
) => void;

/** Places in the rows from which the kernel reads side by side. */
export const STREAMS = 4;

// A vector unit does four multiplications at once, and V8 uses it for WebAssembly only. Four places at once: what
// is loaded of the vector is used four times, eight sums do not wait for each other, and the processor fetches
// ahead from four places, without which rows that no cache holds would come at half the rate. In text form, with
// one of the four places:
//
//   (block $done (loop $row
//     (br_if $done (i32.eqz (local.get $count)))
//     $a0 = 0; $b0 = 0; …; $i = 0
//     (loop $column
//       $low = v128[$vector + $i]; $high = v128[$vector + $i + 16]
//       $p = $rows + $i
//       $a0 += $low * v128[$p]; $b0 += $high * v128[$p + 16]
//       $p += $distance; …
//       $i += 32
//       (br_if $column (i32.lt_u (local.get $i) (local.get $bytes))))
//     $p = $out
//     $a0 += $b0; f32[$p] = $a0[0] + $a0[1] + ($a0[2] + $a0[3])
//     $p += $outDistance; …
//     $rows += $bytes; $out += 4; $count -= 1
//     (br $row)))
const [VECTOR, ROWS, COUNT, BYTES, DISTANCE, OUT, OUT_DISTANCE] = [0, 1, 2, 3, 4, 5, 6];
const [I, P, LOW, HIGH, SUMS] = [7, 8, 9, 10, 11];
const { get, set, constant, add } = wasm;
const streams = Array.from({ length: STREAMS }, (_, stream) => ({
  a: SUMS + 2 * stream,
  b: SUMS + 2 * stream + 1,
}));
const accumulate = (sum: number, part: number, offset: number): number[] => [
  ...[...get(sum), ...get(part), ...get(P), ...wasm.loadLanes(offset)],
  ...[...wasm.multiplyLanes, ...wasm.addLanes, ...set(sum)],
];

const DOT = new Kernel(7, { i32: 2, v128: 2 + 2 * STREAMS }, [
  ...[...wasm.block, ...wasm.loop],
  ...[...get(COUNT), ...wasm.isZero, ...wasm.branchIf(1)],
  ...streams.flatMap(({ a, b }) => [...wasm.zeroLanes, ...set(a), ...wasm.zeroLanes, ...set(b)]),
  ...[...constant(0), ...set(I), ...wasm.loop],
  ...[...get(VECTOR), ...get(I), ...add, ...set(P)],
  ...[...get(P), ...wasm.loadLanes(0), ...set(LOW), ...get(P), ...wasm.loadLanes(16), ...set(HIGH)],
  ...[...get(ROWS), ...get(I), ...add, ...set(P)],
  ...streams.flatMap(({ a, b }, stream) => [
    ...(stream === 0 ? [] : addTo(P, get(DISTANCE))),
    ...[...accumulate(a, LOW, 0), ...accumulate(b, HIGH, 16)],
  ]),
  ...addTo(I, constant(32)),
  ...[...get(I), ...get(BYTES), ...wasm.isBelow, ...wasm.branchIf(0), ...wasm.end],
  ...[...get(OUT), ...set(P)],
  ...streams.flatMap(({ a, b }, stream) => [
    ...(stream === 0 ? [] : addTo(P, get(OUT_DISTANCE))),
    ...[...get(a), ...get(b), ...wasm.addLanes, ...set(a)],
    ...[...get(P), ...sumOfLanes(a), ...wasm.storeFloat(0)],
  ]),
  ...[...addTo(ROWS, get(BYTES)), ...addTo(OUT, constant(4))],
  ...[...get(COUNT), ...constant(1), ...wasm.subtract, ...set(COUNT), ...wasm.branch(0)],
  ...[...wasm.end, ...wasm.end],
]);

/**
 * The kernel over a memory of `bytes`, or nothing where this machine cannot give one (no vector unit, or no
 * address space for the memory); a plain loop does the work there.
 */
export function createDotKernel(bytes: number): { memory: ArrayBuffer; dot: DotKernel } | undefined {
  const made = DOT.over(bytes);
  return made && { memory: made.memory, dot: made.run };
}
