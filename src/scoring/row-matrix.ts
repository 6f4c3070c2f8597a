import {
  createKernel,
  createPlainKernel,
  FLOATS_AT_ONCE,
  type Multiply,
  padded,
  ROWS_AT_ONCE,
} from './kernel.js';

/** From this many rows on a matrix gets a WebAssembly memory of its own. */
const MIN_KERNEL_ROWS = { longLived: 16, shortLived: 1_024 } as const;

/**
 * Rows of equal length in one contiguous block of float32, multiplied with a vector at a time. Not for use
 * by two computations that interleave: `products` is shared. (They cannot, as long as none awaits between.)
 */
export class RowMatrix {
  readonly rows: number;
  /** Length of a row. */
  readonly dimension: number;
  /** Results of `multiply`, by row. */
  readonly products: Float32Array;
  /** Floats from one row to the next. */
  readonly #stride: number;
  readonly #data: Float32Array;
  readonly #vector: Float32Array;
  readonly #multiply: Multiply;

  /**
   * @param options.shortLived whether it is one of many that come and go, as label sets do; small ones are multiplied
   *   in a plain loop
   */
  constructor(
    rows: number,
    dimension: number,
    { shortLived = false }: { readonly shortLived?: boolean } = {},
  ) {
    this.rows = rows;
    this.dimension = dimension;
    this.#stride = padded(dimension, FLOATS_AT_ONCE);
    // Laid out as: the vector, the rows, the products; a last few rows may be multiplied that do not exist.
    const room = padded(rows, ROWS_AT_ONCE) + ROWS_AT_ONCE;
    const bytes = 4 * (this.#stride + room * this.#stride + room);
    const small = rows < (shortLived ? MIN_KERNEL_ROWS.shortLived : MIN_KERNEL_ROWS.longLived);
    const { memory, multiply } = small ? createPlainKernel(bytes) : createKernel(bytes);
    this.#multiply = multiply;
    this.#vector = new Float32Array(memory, 0, this.#stride);
    this.#data = new Float32Array(memory, this.#stride * 4, rows * this.#stride);
    this.products = new Float32Array(memory, this.#stride * 4 * (room + 1), rows);
  }

  /** A view of one row; not a copy. */
  row(index: number): Float32Array {
    return this.#data.subarray(index * this.#stride, index * this.#stride + this.dimension);
  }

  /** Sets the vector that `multiply` multiplies with. */
  load(vector: Float32Array): void {
    this.#vector.set(vector);
  }

  /**
   * Writes the dot products of the loaded vector and the rows `from` up to but without `to` into `products`. May write
   * those of the next few rows as well.
   */
  multiply(from: number, to: number): void {
    const bytes = this.#stride * 4;
    const rows = this.#data.byteOffset + from * bytes;
    this.#multiply(
      rows,
      padded(to - from, ROWS_AT_ONCE),
      0,
      1,
      bytes,
      this.products.byteOffset + from * 4,
      4,
      0,
    );
  }
}
