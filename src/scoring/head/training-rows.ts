import { createKernel, FLOATS_AT_ONCE, type Multiply, padded, ROWS_AT_ONCE } from '../row-matrix.js';

const FLOAT = 4;
/** Rows that are multiplied at once: 256 rows of 385 floats stay in the second-level cache. */
const BLOCK_ROWS = 256;
/** Rows that are compared with all others at once. */
const QUERY_ROWS = 64;

/** Rows that are trained on, from `first` of the selection on. */
export interface Block {
  readonly first: number;
  readonly count: number;
  /** Floats from one route to the next in `residuals`. */
  readonly residualStride: number;
  /** Where its transposed rows are, in floats. */
  readonly transposed: number;
}

/**
 * The memory of one training: rows, each with a constant 1 behind its features for the bias, those that are
 * selected for training once more as they are and once transposed in blocks, and room for what is multiplied
 * with them. One block of memory, because the kernel knows only one. Nothing grows after construction.
 */
export class TrainingRows {
  readonly rows: number;
  readonly routes: number;
  /** Features and the constant. */
  readonly width: number;
  /** Floats from one row to the next, also in `weights` and `directions`. */
  readonly stride: number;
  /** routes × stride: the weights that the rows are multiplied with. */
  readonly weights: Float32Array;
  /** Products of a block's rows with the weights: row × `logitStride` + route. */
  readonly logits: Float32Array;
  readonly logitStride: number;
  /** Factors of the transposed rows of a block: route × `residualStride` + row. */
  readonly residuals: Float32Array;
  /** routes × sumStride: products of transposed rows with residuals, or of the conditioner with directions. */
  readonly sums: Float32Array;
  readonly sumStride: number;
  /** width × stride: a symmetric matrix that directions are multiplied with. */
  readonly conditioner: Float32Array;
  /** routes × stride. */
  readonly directions: Float32Array;
  /** Products of queried rows with all rows: query × `productStride` + row. */
  readonly products: Float32Array;
  readonly productStride: number;
  readonly #data: Float32Array;
  readonly #selected: Float32Array;
  readonly #transposed: Float32Array;
  readonly #queries: Float32Array;
  readonly #moments: Float32Array;
  readonly #kernel: Multiply;
  #selection = new Uint32Array(0);
  #blocks: readonly Block[] = [];

  /**
   * @param features rows × dimension, row after row
   * @param selectable the most rows that are selected at once
   */
  constructor(features: Float32Array, dimension: number, routes: number, selectable: number) {
    this.rows = features.length / dimension;
    this.routes = routes;
    this.width = dimension + 1;
    this.stride = padded(this.width, FLOATS_AT_ONCE);
    // All of them may be multiplied as rows, so many at once.
    this.logitStride = padded(routes, ROWS_AT_ONCE);
    this.sumStride = padded(this.width, ROWS_AT_ONCE);
    this.productStride = padded(this.rows, ROWS_AT_ONCE);
    const sizes = [
      this.productStride * this.stride,
      padded(selectable, ROWS_AT_ONCE) * this.stride,
      this.sumStride * padded(selectable, BLOCK_ROWS),
      this.logitStride * this.stride,
      BLOCK_ROWS * this.logitStride,
      this.logitStride * BLOCK_ROWS,
      this.logitStride * this.sumStride,
      this.sumStride * this.stride,
      this.logitStride * this.stride,
      QUERY_ROWS * this.productStride,
      QUERY_ROWS * this.stride,
      this.sumStride * this.sumStride,
    ];
    const { memory, multiply } = createKernel(FLOAT * sizes.reduce((sum, size) => sum + size, 0));
    let offset = 0;
    const take = (index: number): Float32Array => {
      const part = new Float32Array(memory, offset, sizes[index]);
      offset += part.byteLength;
      return part;
    };
    this.#kernel = multiply;
    this.#data = take(0);
    this.#selected = take(1);
    this.#transposed = take(2);
    this.weights = take(3);
    this.logits = take(4);
    this.residuals = take(5);
    this.sums = take(6);
    this.conditioner = take(7);
    this.directions = take(8);
    this.products = take(9);
    this.#queries = take(10);
    this.#moments = take(11);
    for (let row = 0; row < this.rows; row += 1) {
      const at = row * this.stride;
      this.#data.set(features.subarray(row * dimension, (row + 1) * dimension), at);
      this.#data[at + dimension] = 1;
    }
  }

  /** The rows that were selected, in blocks. */
  get blocks(): readonly Block[] {
    return this.#blocks;
  }

  /** Selects the rows to be trained on. */
  select(rows: Uint32Array): void {
    if (rows.length === this.#selection.length && rows.every((row, index) => row === this.#selection[index]))
      return;
    this.#selection = rows.slice();
    const { stride, width } = this;
    const blocks: Block[] = [];
    this.#transposed.fill(0);
    for (const [index, row] of rows.entries()) this.#selected.set(this.#row(row), index * stride);
    for (let first = 0; first < rows.length; first += BLOCK_ROWS) {
      const count = Math.min(BLOCK_ROWS, rows.length - first);
      const residualStride = padded(count, FLOATS_AT_ONCE);
      const transposed = (first / BLOCK_ROWS) * this.sumStride * BLOCK_ROWS;
      blocks.push({ first, count, residualStride, transposed });
      for (let row = 0; row < count; row += 1) {
        const from = (first + row) * stride;
        for (let i = 0; i < width; i += 1) {
          this.#transposed[transposed + i * residualStride + row] = this.#selected[from + i] as number;
        }
      }
    }
    this.#blocks = blocks;
  }

  /** Writes the products of a block's rows with the weights into `logits`. */
  predict({ first, count }: Block): void {
    const vectors = this.#selected.byteOffset + first * this.stride * FLOAT;
    this.#multiply(vectors, count, this.weights, this.routes, this.stride, this.logits, this.logitStride);
  }

  /** Writes Σ residual × row over the rows of a block, for every route, into `sums`. */
  gather({ transposed, residualStride }: Block): void {
    const rows = this.#transposed.subarray(transposed);
    const { routes, width, sums, sumStride } = this;
    this.#multiply(this.residuals.byteOffset, routes, rows, width, residualStride, sums, sumStride);
  }

  /** Multiplies `directions` with `conditioner`, the results being in `sums`. */
  condition(): void {
    const { routes, width, stride, sums, sumStride, conditioner } = this;
    this.#multiply(this.directions.byteOffset, routes, conditioner, width, stride, sums, sumStride);
  }

  /**
   * Writes the products of rows with the weights into `logits`, a few rows at a time.
   * @param visit gets the position of a row in `rows`, and in `logits`
   */
  predictRows(rows: readonly number[], visit: (index: number, query: number) => void): void {
    const { stride, routes, weights, logits, logitStride } = this;
    this.#query(rows, visit, (queries, count) =>
      this.#multiply(queries, count, weights, routes, stride, logits, logitStride),
    );
  }

  /**
   * Writes the products of rows with those before `to`, constants included and therefore 1 too much, into `products`.
   * @param visit gets the position of a row in `rows`, and in `products`
   */
  compare(rows: readonly number[], to: number, visit: (index: number, query: number) => void): void {
    const { stride, products, productStride } = this;
    this.#query(rows, visit, (queries, count) => {
      for (let first = 0; first < to; first += BLOCK_ROWS) {
        const block = this.#data.subarray(first * stride);
        const size = Math.min(BLOCK_ROWS, to - first);
        this.#multiply(queries, count, block, size, stride, products.subarray(first), productStride);
      }
    });
  }

  /** Copies rows beside each other, {@link QUERY_ROWS} at a time, for `multiply`, and visits each of them then. */
  #query(
    rows: readonly number[],
    visit: (index: number, query: number) => void,
    multiply: (queries: number, count: number) => void,
  ): void {
    for (let first = 0; first < rows.length; first += QUERY_ROWS) {
      const some = rows.slice(first, first + QUERY_ROWS);
      for (const [query, row] of some.entries()) this.#queries.set(this.#row(row), query * this.stride);
      multiply(this.#queries.byteOffset, some.length);
      for (const query of some.keys()) visit(first + query, query);
    }
  }

  /** Σ row · rowᵀ over the selected rows: width × width. */
  secondMoments(): Float64Array {
    const { width, sumStride } = this;
    const moments = new Float64Array(width * width);
    for (const { transposed, residualStride } of this.#blocks) {
      const rows = this.#transposed.subarray(transposed);
      this.#multiply(rows.byteOffset, width, rows, width, residualStride, this.#moments, sumStride);
      for (let i = 0; i < width; i += 1) {
        for (let j = 0; j < width; j += 1) {
          const at = i * width + j;
          moments[at] = (moments[at] as number) + (this.#moments[i * sumStride + j] as number);
        }
      }
    }
    return moments;
  }

  #row(row: number): Float32Array {
    return this.#data.subarray(row * this.stride, (row + 1) * this.stride);
  }

  /** Writes the product of each vector and row to `out`: vector × `outStride` + row. */
  #multiply(
    vectors: number,
    vectorCount: number,
    rows: Float32Array,
    rowCount: number,
    stride: number,
    out: Float32Array,
    outStride: number,
  ): void {
    const bytes = stride * FLOAT;
    const step = outStride * FLOAT;
    // Few at a time, so that they stay in the first-level cache while all the others pass by.
    for (let first = 0; first < vectorCount; first += ROWS_AT_ONCE) {
      const from = vectors + first * bytes;
      const to = out.byteOffset + first * step;
      this.#kernel(from, ROWS_AT_ONCE, rows.byteOffset, rowCount, bytes, to, step, FLOAT);
    }
  }
}
