import { Slices } from '../shared/concurrent.js';
import { INT8, INT8_STEP, INT8_STREAMS, type Int8Kernel } from './int8-kernel.js';
import { EXPONENTIAL_ERROR, type PoolingKernel, plainPooling, poolingKernel } from './pooling-kernel.js';
import type { RowMatrix } from './row-matrix.js';
import { together } from './wasm.js';

/** The largest element of a row in absolute value becomes this. */
const ROW_LEVELS = 127;
/** The same for the vector, unless sums could become too large. */
const VECTOR_LEVELS = 32_767;
/** Bound of a sum of products: half of what 32 bits hold, as rounding makes a vector a little longer. */
const MOST_SUM = 2 ** 30;
/** Rows whose elements are all nearer to 0 than this count as 0; the scale of smaller ones would not be a normal float. */
const LEAST = 1e-30;
/** Relative error of one operation in single precision. */
const SINGLE = 2 ** -24;
/** Rows between two looks at the clock. */
const ROWS_AT_ONCE = 64;

/**
 * A copy of vectors in int8, each row x rounded to multiples of its own scale, max |x| / 127, for estimates of their
 * products with a vector q at a quarter of the memory traffic. The vector is rounded to int16 in the same way. By
 * Cauchy–Schwarz, no sum of products, nor any part of it, exceeds the product of the norms of what is multiplied; for
 * 384 dimensions that is 1.6·10⁹ at the very most. The scale of the vector is chosen so that it stays below 2³⁰, so
 * that 32 bits always hold it.
 *
 * Error of a product, again by Cauchy–Schwarz: |q·x − q̂·x̂| ≤ ‖q‖ · ‖x − x̂‖ + ‖q − q̂‖ · ‖x̂‖, where both
 * differences are known as soon as the rows and the vector are. For embeddings of 384 dimensions that is 0.014; the
 * differences point anywhere, so that the usual error is √384 times less (measured: 4·10⁻⁴, at most 2·10⁻³).
 *
 * Not for use by two computations that interleave, like {@link RowMatrix}.
 */
export class QuantizedRows {
  /** Norm of what rounding took from each row, ‖x − x̂‖. */
  readonly residuals: Float32Array;
  /** What `multiply` computed, by row. */
  readonly products: Float32Array;
  readonly #dimension: number;
  /** Elements from one row to the next: the dimension, rounded up to what the kernel takes. */
  readonly #stride: number;
  readonly #temperature: number;
  readonly #vector: Int16Array;
  readonly #rows: Int8Array;
  /** By row. */
  readonly #scales: Float32Array;
  /** The vector's scale, best and sum of what was pooled last. */
  readonly #single: Float32Array;
  readonly #multiply: Int8Kernel | undefined;
  readonly #pool: PoolingKernel;
  /** The largest norm of a row of int8. */
  #mostLevels = 0;
  /** The largest ‖x̂‖. */
  #longest = 0;
  /** ‖q‖. */
  #length = 0;
  /** ‖q − q̂‖. */
  #residual = 0;

  private constructor(rows: number, dimension: number, temperature: number) {
    this.#dimension = dimension;
    this.#stride = Math.ceil(dimension / INT8_STEP) * INT8_STEP;
    this.#temperature = temperature;
    // Laid out as: the vector, the rows, the products, the scales (also what pooling reads behind the last product),
    // single numbers.
    const productsAt = (2 + rows) * this.#stride;
    const scalesAt = productsAt + 4 * rows;
    const singleAt = scalesAt + 4 * Math.max(rows, 4);
    const bytes = singleAt + 12;
    const made = together(bytes, [INT8, poolingKernel(temperature)]);
    const memory = made?.memory ?? new ArrayBuffer(bytes);
    this.#multiply = made?.runs[0];
    this.#pool = made?.runs[1] ?? plainPooling(memory, temperature);
    this.#vector = new Int16Array(memory, 0, this.#stride);
    this.#rows = new Int8Array(memory, 2 * this.#stride, rows * this.#stride);
    this.products = new Float32Array(memory, productsAt, rows);
    this.#scales = new Float32Array(memory, scalesAt, rows);
    this.#single = new Float32Array(memory, singleAt, 3);
    this.residuals = new Float32Array(rows);
  }

  /**
   * Copies the rows, giving way to other work now and then.
   * @param temperature that of `pool`, in cosine; at least 0.075
   * @throws AppError `aborted`
   */
  static async of(matrix: RowMatrix, temperature: number, signal?: AbortSignal): Promise<QuantizedRows> {
    const { rows, dimension } = matrix;
    const copy = new QuantizedRows(rows, dimension, temperature);
    const slices = new Slices(signal);
    for (let from = 0; from < rows; from += ROWS_AT_ONCE) {
      for (let row = from; row < Math.min(rows, from + ROWS_AT_ONCE); row += 1) copy.#round(matrix, row);
      if (slices.over) await slices.giveWay();
    }
    return copy;
  }

  /** Sets the vector that `multiply` multiplies with. */
  load(vector: Float32Array): void {
    let highest = 0;
    let length = 0;
    for (let i = 0; i < vector.length; i += 1) {
      const value = vector[i] as number;
      highest = Math.max(highest, Math.abs(value));
      length += value * value;
    }
    this.#length = Math.sqrt(length);
    const smallest = (this.#length * this.#mostLevels) / MOST_SUM;
    const scale = Math.fround(Math.max(highest / VECTOR_LEVELS, smallest, LEAST));
    let residual = 0;
    for (let i = 0; i < vector.length; i += 1) {
      const value = vector[i] as number;
      const level = Math.round(value / scale);
      this.#vector[i] = level;
      residual += (value - level * scale) ** 2;
    }
    this.#single[0] = scale;
    this.#residual = Math.sqrt(residual);
  }

  /** Writes the estimated products of the vector and the rows `from` up to but without `to` into `products`. */
  multiply(from: number, to: number): void {
    const count = to - from;
    if (count <= 0) return;
    const stride = this.#stride;
    if (this.#multiply) {
      // As in RowMatrix, the places overlap by a few rows where `count` is no multiple.
      const distance = Math.floor(count / INT8_STREAMS);
      const each = count - (INT8_STREAMS - 1) * distance;
      const rows = this.#rows.byteOffset + from * stride;
      const out = this.products.byteOffset + from * 4;
      const scales = this.#scales.byteOffset - this.products.byteOffset;
      const scale = this.#single.byteOffset;
      this.#multiply(0, scale, rows, each, stride, distance * stride, out, distance * 4, scales);
      return;
    }
    const { fround } = Math;
    for (let row = from; row < to; row += 1) {
      let sum = 0;
      for (let i = 0, at = row * stride; i < stride; i += 1, at += 1) {
        sum += (this.#vector[i] as number) * (this.#rows[at] as number);
      }
      const scaled = fround(fround(sum) * (this.#scales[row] as number));
      this.products[row] = scaled * (this.#single[0] as number);
    }
  }

  /** Pools the products of the rows `from` up to but without `to`, one at least. The answer is overwritten by the next. */
  pool(from: number, to: number): void {
    this.#pool(this.products.byteOffset + from * 4, to - from, this.#single.byteOffset + 4);
  }

  /** The highest product of those that were pooled last; at least −1. */
  get best(): number {
    return this.#single[1] as number;
  }

  /** The sum of exp(product / temperature) of those. */
  get sum(): number {
    return this.#single[2] as number;
  }

  /**
   * Most by which temperature · log(sum / count), or the highest product, can be off from what float32 rows and double
   * precision give.
   * @param residual the largest of the `residuals` in the range
   * @param count of rows in the range
   */
  errorOf(residual: number, count: number): number {
    // In single precision here, and in the kernel of the float32 rows: sums in lanes, then of lanes.
    const additions = this.#dimension / 4 + 16;
    const lengths = this.#length * (this.#longest + residual);
    const product = this.#length * residual + this.#residual * this.#longest + SINGLE * additions * lengths;
    return product + this.#temperature * (EXPONENTIAL_ERROR + SINGLE * (count / 4 + 4));
  }

  #round(matrix: RowMatrix, row: number): void {
    const { data, stride, dimension } = matrix;
    const start = row * stride;
    let highest = 0;
    for (let at = start; at < start + dimension; at += 1) {
      const size = Math.abs(data[at] as number);
      if (size > highest) highest = size;
    }
    const scale = highest > LEAST ? Math.fround(highest / ROW_LEVELS) : 1;
    const levels = this.#rows;
    const inverse = 1 / scale;
    let to = row * this.#stride;
    let residual = 0;
    let length = 0;
    for (let at = start; at < start + dimension; at += 1, to += 1) {
      const value = data[at] as number;
      // Rounded by cutting off, from above 0: a third of the time of Math.round, for tens of millions of them.
      const level = ((value * inverse + ROW_LEVELS + 0.5) | 0) - ROW_LEVELS;
      const rest = value - level * scale;
      levels[to] = level;
      residual += rest * rest;
      length += level * level;
    }
    this.#scales[row] = scale;
    this.#mostLevels = Math.max(this.#mostLevels, Math.sqrt(length));
    this.residuals[row] = Math.sqrt(residual);
    this.#longest = Math.max(this.#longest, Math.sqrt(length) * scale);
  }
}
