import { createDotKernel, type DotKernel } from './dot-kernel.js';

/**
 * From this many rows on the WebAssembly kernel is used. Each of its memories reserves gigabytes of address
 * space, which a route set is worth, but not each of many small label sets (1,000 rows at most).
 */
const KERNEL_MIN_ROWS = 1_024;
/** Floats that the kernel takes in one step. */
const STEP = 8;

/**
 * Rows of equal length in one contiguous block of float32, multiplied with a vector at a time. Not for use
 * by two computations that interleave: `products` is shared. (They cannot, as long as none awaits between.)
 */
export class RowMatrix {
  readonly rows: number;
  /** Length of a row. */
  readonly dimension: number;
  /** Floats from one row to the next: the dimension, rounded up to what the kernel takes. */
  readonly stride: number;
  /** The rows, padded with zeros. */
  readonly data: Float32Array;
  /** What `multiply` computed, by row. */
  readonly products: Float32Array;
  readonly #vector: Float32Array;
  readonly #kernel: DotKernel | undefined;

  constructor(rows: number, dimension: number) {
    this.rows = rows;
    this.dimension = dimension;
    this.stride = Math.ceil(dimension / STEP) * STEP;
    // Laid out as: the vector, the rows, the products.
    const floats = this.stride + rows * this.stride + rows;
    const kernel = rows >= KERNEL_MIN_ROWS ? createDotKernel(floats * 4) : undefined;
    const memory = kernel?.memory ?? new ArrayBuffer(floats * 4);
    this.#kernel = kernel?.dot;
    this.#vector = new Float32Array(memory, 0, this.stride);
    this.data = new Float32Array(memory, this.stride * 4, rows * this.stride);
    this.products = new Float32Array(memory, this.stride * 4 * (rows + 1), rows);
  }

  /** A view of one row; not a copy. */
  row(index: number): Float32Array {
    return this.data.subarray(index * this.stride, index * this.stride + this.dimension);
  }

  /** Sets the vector that `multiply` multiplies with. */
  load(vector: Float32Array): void {
    this.#vector.set(vector);
  }

  /** Writes the dot products of the loaded vector and the rows `from` up to but without `to` into `products`. */
  multiply(from: number, to: number): void {
    if (this.#kernel) {
      const rowBytes = this.stride * 4;
      this.#kernel(0, rowBytes * (1 + from), to - from, rowBytes, this.products.byteOffset + from * 4);
      return;
    }
    for (let row = from; row < to; row += 1) this.products[row] = this.#dot(row * this.stride);
  }

  /** Two sums run side by side; with one, every step would wait for the last. */
  #dot(start: number): number {
    const { data } = this;
    const vector = this.#vector;
    let even = 0;
    let odd = 0;
    for (let i = 0; i < vector.length; i += 2) {
      even += (vector[i] as number) * (data[start + i] as number);
      odd += (vector[i + 1] as number) * (data[start + i + 1] as number);
    }
    return even + odd;
  }
}
