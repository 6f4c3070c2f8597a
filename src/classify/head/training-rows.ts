import { createDotKernel, type DotKernel } from '../dot-kernel.js';

/** Floats that the kernel takes in one step. */
const STEP = 8;
/** Rows whose transposed copy is multiplied at once: 385 × 256 floats stay in the second-level cache. */
export const BLOCK_ROWS = 256;
const FLOAT = 4;

/**
 * The memory of one training: rows, each with a constant 1 behind its features for the bias, once as they
 * are and once transposed in blocks, and room for what is multiplied with them. One block of memory, because
 * the kernel knows only one. Nothing grows after construction.
 */
export class TrainingRows {
  readonly rows: number;
  /** Rows that are trained on: the first ones. */
  readonly trained: number;
  readonly routes: number;
  /** Features and the constant. */
  readonly width: number;
  /** Floats from one row to the next. */
  readonly stride: number;
  /** Blocks of rows that are trained on. */
  readonly blocks: number;
  /** routes × stride: the weights that the rows are multiplied with. */
  readonly weights: Float32Array;
  /** routes: products of one row with the weights. */
  readonly logits: Float32Array;
  /** routes × BLOCK_ROWS: what the transposed rows of a block are multiplied with. */
  readonly residuals: Float32Array;
  /** width: product of a block's transposed rows with one route's residuals. */
  readonly sums: Float32Array;
  /** width × stride: a symmetric matrix that directions are multiplied with. */
  readonly conditioner: Float32Array;
  /** rows: products of one row with all rows. */
  readonly products: Float32Array;
  readonly #data: Float32Array;
  readonly #transposed: Float32Array;
  readonly #vector: Float32Array;
  readonly #dot: DotKernel;

  /** @param features rows × dimension, row after row */
  constructor(features: Float32Array, dimension: number, routes: number, trained: number) {
    this.rows = features.length / dimension;
    this.trained = trained;
    this.routes = routes;
    this.width = dimension + 1;
    this.stride = Math.ceil(this.width / STEP) * STEP;
    this.blocks = Math.ceil(trained / BLOCK_ROWS);
    const padded = (floats: number): number => Math.ceil(floats / STEP) * STEP;
    const sizes = [
      this.rows * this.stride,
      this.blocks * this.width * BLOCK_ROWS,
      routes * this.stride,
      padded(routes),
      routes * BLOCK_ROWS,
      padded(this.width),
      this.width * this.stride,
      padded(this.rows),
      this.stride,
    ];
    const bytes = FLOAT * sizes.reduce((sum, size) => sum + size, 0);
    const kernel = createDotKernel(bytes);
    const memory = kernel?.memory ?? new ArrayBuffer(bytes);
    let offset = 0;
    const take = (index: number): Float32Array => {
      const part = new Float32Array(memory, offset, sizes[index]);
      offset += part.byteLength;
      return part;
    };
    this.#data = take(0);
    this.#transposed = take(1);
    this.weights = take(2);
    this.logits = take(3);
    this.residuals = take(4);
    this.sums = take(5);
    this.conditioner = take(6);
    this.products = take(7);
    this.#vector = take(8);
    this.#dot = kernel?.dot ?? plainDot(memory);
    for (let row = 0; row < this.rows; row += 1) {
      const at = row * this.stride;
      this.#data.set(features.subarray(row * dimension, (row + 1) * dimension), at);
      this.#data[at + dimension] = 1;
      if (row >= trained) continue;
      const block = Math.floor(row / BLOCK_ROWS) * this.width * BLOCK_ROWS + (row % BLOCK_ROWS);
      for (let i = 0; i < this.width; i += 1) {
        this.#transposed[block + i * BLOCK_ROWS] = this.#data[at + i] as number;
      }
    }
  }

  /** Writes the products of a row with the weights of every route into `logits`. */
  predict(row: number): void {
    const bytes = this.stride * FLOAT;
    this.#dot(
      this.#data.byteOffset + row * bytes,
      this.weights.byteOffset,
      this.routes,
      bytes,
      this.logits.byteOffset,
    );
  }

  /** Writes Σ residual × row over the rows of a block, for one route, into `sums`. */
  gather(block: number, route: number): void {
    const bytes = BLOCK_ROWS * FLOAT;
    this.#dot(
      this.residuals.byteOffset + route * bytes,
      this.#transposed.byteOffset + block * this.width * bytes,
      this.width,
      bytes,
      this.sums.byteOffset,
    );
  }

  /** Multiplies `vector` (width) with `conditioner`, the result being in `sums`. */
  condition(vector: Float64Array): void {
    this.#vector.set(vector);
    const bytes = this.stride * FLOAT;
    this.#dot(this.#vector.byteOffset, this.conditioner.byteOffset, this.width, bytes, this.sums.byteOffset);
  }

  /** Writes the dot products of a row and the rows before `to` into `products`: constants included, so 1 too much. */
  compare(row: number, to: number): void {
    const bytes = this.stride * FLOAT;
    this.#dot(
      this.#data.byteOffset + row * bytes,
      this.#data.byteOffset,
      to,
      bytes,
      this.products.byteOffset,
    );
  }

  /** Σ row · rowᵀ over the trained rows: width × width. */
  secondMoments(): Float64Array {
    const { width } = this;
    const moments = new Float64Array(width * width);
    const bytes = BLOCK_ROWS * FLOAT;
    for (let block = 0; block < this.blocks; block += 1) {
      const start = this.#transposed.byteOffset + block * width * bytes;
      for (let i = 0; i < width; i += 1) {
        this.#dot(start + i * bytes, start, width, bytes, this.sums.byteOffset);
        for (let j = 0; j < width; j += 1) {
          moments[i * width + j] = (moments[i * width + j] as number) + (this.sums[j] as number);
        }
      }
    }
    return moments;
  }
}

/** The same as the kernel, where this machine has none. */
function plainDot(memory: ArrayBuffer): DotKernel {
  const floats = new Float32Array(memory);
  return (vector, rows, count, rowBytes, out) => {
    const length = rowBytes / FLOAT;
    const from = vector / FLOAT;
    for (let row = 0; row < count; row += 1) {
      const at = rows / FLOAT + row * length;
      let even = 0;
      let odd = 0;
      for (let i = 0; i < length; i += 2) {
        even += (floats[from + i] as number) * (floats[at + i] as number);
        odd += (floats[from + i + 1] as number) * (floats[at + i + 1] as number);
      }
      floats[out / FLOAT + row] = even + odd;
    }
  };
}
