import { createDotKernel, type DotKernel, STREAMS } from './dot-kernel.js';

/** From this many rows on the WebAssembly kernel is worth its call and its memory. */
const KERNEL_MIN_ROWS = 16;
/** The same for a matrix that soon goes away again; the labels of a request are fewer. */
const KERNEL_MIN_PASSING_ROWS = 1_024;
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

  /**
   * @param options.passing whether it is one of many that come and go, as label sets do. Small ones are multiplied in
   *   a plain loop, eight times as slow: each WebAssembly memory reserves gigabytes of address space until it is
   *   collected, and where that is short, V8 tries for tenths of a second before it gives up.
   */
  constructor(rows: number, dimension: number, { passing = false }: { readonly passing?: boolean } = {}) {
    this.rows = rows;
    this.dimension = dimension;
    this.stride = Math.ceil(dimension / STEP) * STEP;
    // Laid out as: the vector, the rows, the products.
    const floats = this.stride + rows * this.stride + rows;
    const kernelRows = passing ? KERNEL_MIN_PASSING_ROWS : KERNEL_MIN_ROWS;
    const kernel = rows >= kernelRows ? createDotKernel(floats * 4) : undefined;
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
    const count = to - from;
    if (count <= 0) return;
    if (this.#kernel) {
      const rowBytes = this.stride * 4;
      // Where `count` is no multiple, the places overlap by a row or two, which get the same products again.
      const distance = Math.floor(count / STREAMS);
      const each = count - (STREAMS - 1) * distance;
      const out = this.products.byteOffset + from * 4;
      this.#kernel(0, rowBytes * (1 + from), each, rowBytes, distance * rowBytes, out, distance * 4);
      return;
    }
    for (let row = from; row < to; row += 1) this.products[row] = this.#dot(row * this.stride);
  }

  /** In single precision and in the order of the kernel, so that an answer does not tell which one computed it. */
  #dot(start: number): number {
    const { data } = this;
    const vector = this.#vector;
    const { fround } = Math;
    let a0 = 0;
    let a1 = 0;
    let a2 = 0;
    let a3 = 0;
    let b0 = 0;
    let b1 = 0;
    let b2 = 0;
    let b3 = 0;
    for (let i = 0, at = start; i < vector.length; i += STEP, at += STEP) {
      a0 = fround(a0 + fround((vector[i] as number) * (data[at] as number)));
      a1 = fround(a1 + fround((vector[i + 1] as number) * (data[at + 1] as number)));
      a2 = fround(a2 + fround((vector[i + 2] as number) * (data[at + 2] as number)));
      a3 = fround(a3 + fround((vector[i + 3] as number) * (data[at + 3] as number)));
      b0 = fround(b0 + fround((vector[i + 4] as number) * (data[at + 4] as number)));
      b1 = fround(b1 + fround((vector[i + 5] as number) * (data[at + 5] as number)));
      b2 = fround(b2 + fround((vector[i + 6] as number) * (data[at + 6] as number)));
      b3 = fround(b3 + fround((vector[i + 7] as number) * (data[at + 7] as number)));
    }
    return fround(fround(fround(a0 + b0) + fround(a1 + b1)) + fround(fround(a2 + b2) + fround(a3 + b3)));
  }
}
