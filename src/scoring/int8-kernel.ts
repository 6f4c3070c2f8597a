import { addTo, foldLanes, Kernel, wasm } from './wasm.js';

/**
 * Multiplies rows of int8 with a vector of int16, all inside one WebAssembly memory, and each product with the scale
 * of its row and that of the vector: `count` rows each from `rows`, from `rows + distance`, …; the products go to
 * `out`, `out + outDistance`, … as float32. Scales are float32, too: one at `scale` and one at `scales` bytes behind
 * each product. Every argument but `count` is a byte count or a byte offset. Vector and rows are padded to a multiple of {@link INT8_STEP}
 * elements. The sums must fit into 32 bits.
 */
export type Int8Kernel = (
  vector: number,
  scale: number,
  rows: number,
  count: number,
  rowBytes: number,
  distance: number,
  out: number,
  outDistance: number,
  scales: number,
) => void;

/** Places in the rows from which the kernel reads side by side. */
export const INT8_STREAMS = 4;
/** Elements that the kernel takes in one step. */
export const INT8_STEP = 32;
/** Elements of one vector register. */
const LANES = 8;

// As in dot-kernel.ts: four places at once, so that the processor fetches ahead from four, and what is loaded of the
// vector is used four times. Three instructions take eight elements. Measured: with rows in the cache, one or two
// registers of the vector in a step take a twentieth to a tenth longer than four; with rows from memory, two places
// take a quarter longer than four, and eight no less. In text form, with one of the four places:
//
//   (block $done (loop $row
//     (br_if $done (i32.eqz (local.get $count)))
//     $sum0 = 0; …; $i = 0; $q = $vector
//     (loop $column
//       $part0 = v128[$q]; …; $part3 = v128[$q + 48]
//       $p = $rows + $i
//       $sum0 += dot(i8[$p] widened, $part0); …; $sum0 += dot(i8[$p + 24] widened, $part3)
//       $p += $distance; …
//       $i += 32; $q += 64
//       (br_if $column (i32.lt_u (local.get $i) (local.get $bytes))))
//     $p = $out
//     f32[$p] = f32($sum0[0] + $sum0[1] + ($sum0[2] + $sum0[3])) * f32[$p + $scales] * f32[$scale]
//     $p += $outDistance; …
//     $rows += $bytes; $out += 4; $count -= 1
//     (br $row)))
const [VECTOR, SCALE, ROWS, COUNT, BYTES, DISTANCE, OUT, OUT_DISTANCE, SCALES] = [0, 1, 2, 3, 4, 5, 6, 7, 8];
const [I, Q, P, PARTS] = [9, 10, 11, 12];
const { get, set, constant, add } = wasm;
const parts = Array.from({ length: INT8_STEP / LANES }, (_, part) => ({ local: PARTS + part, part }));
const sums = Array.from({ length: INT8_STREAMS }, (_, stream) => PARTS + parts.length + stream);

export const INT8 = new Kernel(9, { i32: 3, v128: parts.length + sums.length }, [
  ...[...wasm.block, ...wasm.loop],
  ...[...get(COUNT), ...wasm.isZero, ...wasm.branchIf(1)],
  ...sums.flatMap((sum) => [...wasm.zeroLanes, ...set(sum)]),
  ...[...constant(0), ...set(I), ...get(VECTOR), ...set(Q), ...wasm.loop],
  ...parts.flatMap(({ local, part }) => [...get(Q), ...wasm.loadLanes(16 * part), ...set(local)]),
  ...[...get(ROWS), ...get(I), ...add, ...set(P)],
  ...sums.flatMap((sum, stream) => [
    ...(stream === 0 ? [] : addTo(P, get(DISTANCE))),
    ...parts.flatMap(({ local, part }) => [
      ...[...get(sum), ...get(P), ...wasm.loadBytes(LANES * part), ...get(local)],
      ...[...wasm.dotPairs, ...wasm.addWords, ...set(sum)],
    ]),
  ]),
  ...[...addTo(I, constant(INT8_STEP)), ...addTo(Q, constant(INT8_STEP)), ...addTo(Q, constant(INT8_STEP))],
  ...[...get(I), ...get(BYTES), ...wasm.isBelow, ...wasm.branchIf(0), ...wasm.end],
  ...[...get(OUT), ...set(P)],
  ...sums.flatMap((sum, stream) => [
    ...(stream === 0 ? [] : addTo(P, get(OUT_DISTANCE))),
    ...get(P),
    ...foldLanes(sum, wasm.word, add),
    ...[...wasm.toFloat, ...get(P), ...get(SCALES), ...add, ...wasm.loadFloat, ...wasm.multiplyFloats],
    ...[...get(SCALE), ...wasm.loadFloat, ...wasm.multiplyFloats, ...wasm.storeFloat(0)],
  ]),
  ...[...addTo(ROWS, get(BYTES)), ...addTo(OUT, constant(4))],
  ...[...get(COUNT), ...constant(1), ...wasm.subtract, ...set(COUNT), ...wasm.branch(0)],
  ...[...wasm.end, ...wasm.end],
]);
