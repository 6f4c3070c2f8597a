import { readFileSync } from 'node:fs';
import { KERNEL_FILE } from '../config/program-files.js';

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
  /** Floats from one row to the next. */
  readonly #stride: number;
  readonly #data: Float32Array;
  /** That of `load`, and then those of `multiplyAll`. */
  readonly #vectors: readonly Float32Array[];
  /** By row, of each of these. */
  readonly #products: readonly Float32Array[];
  readonly #multiply: Multiply;
  /** The vectors that were multiplied ahead. */
  #ahead: readonly Float32Array[] = [];
  #loaded = 0;

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
    // Laid out as: the vectors, the rows, the products; a last few rows may be multiplied that do not exist.
    const room = padded(rows, ROWS_AT_ONCE) + ROWS_AT_ONCE;
    const places = 1 + VECTORS_AT_ONCE;
    const bytes = 4 * (places * this.#stride + room * this.#stride + places * room);
    const small = rows < (shortLived ? MIN_KERNEL_ROWS.shortLived : MIN_KERNEL_ROWS.longLived);
    const { memory, multiply } = small ? createPlainKernel(bytes) : createKernel(bytes);
    this.#multiply = multiply;
    let at = 0;
    const take = (length: number, used = length): Float32Array => {
      const taken = new Float32Array(memory, at, used);
      at += 4 * length;
      return taken;
    };
    this.#vectors = Array.from({ length: places }, () => take(this.#stride));
    this.#data = take(room * this.#stride, rows * this.#stride);
    this.#products = Array.from({ length: places }, () => take(room, rows));
  }

  /** Results of `multiply`, by row. */
  get products(): Float32Array {
    return this.#products[this.#loaded] as Float32Array;
  }

  /** A view of one row; not a copy. */
  row(index: number): Float32Array {
    return this.#data.subarray(index * this.#stride, index * this.#stride + this.dimension);
  }

  /** Sets the vector that `multiply` multiplies with. */
  load(vector: Float32Array): void {
    this.#loaded = 1 + this.#ahead.indexOf(vector);
    if (this.#loaded === 0) this.#vectors[0]?.set(vector);
  }

  /**
   * Writes the dot products of the loaded vector and the rows `from` up to but without `to` into `products`. May write
   * those of the next few rows as well.
   */
  multiply(from: number, to: number): void {
    if (this.#loaded === 0) this.#multiplyPlaces(0, 1, from, to);
  }

  /**
   * Multiplies vectors with all rows, which are read from memory once for all of them: that takes a third of the time.
   * When one of them is loaded, its products are there.
   * @param vectors at most {@link VECTORS_AT_ONCE}, which do not change afterwards
   */
  multiplyAhead(vectors: readonly Float32Array[]): void {
    for (const [index, vector] of vectors.entries()) this.#vectors[1 + index]?.set(vector);
    this.#multiplyPlaces(1, vectors.length, 0, this.rows);
    this.#ahead = vectors;
  }

  #multiplyPlaces(first: number, count: number, from: number, to: number): void {
    const bytes = this.#stride * 4;
    const out = this.#products[first] as Float32Array;
    this.#multiply(
      this.#data.byteOffset + from * bytes,
      padded(to - from, ROWS_AT_ONCE),
      first * bytes,
      count,
      bytes,
      out.byteOffset + from * 4,
      4,
      4 * (padded(this.rows, ROWS_AT_ONCE) + ROWS_AT_ONCE),
    );
  }
}

/** The embeddings of a route set's utterances: one row each, those of one route beside each other. */
export interface RouteVectors {
  /** All rows one after the other: those of `routes[0]`, then of `routes[1]`, …; those of `none` last. */
  readonly matrix: RowMatrix;
  /** Route `r` owns the rows from `offsets[r]` up to but without `offsets[r + 1]`. */
  readonly offsets: Uint32Array;
  /** A row of each utterance, to carry vectors over to the next version of the set. */
  readonly rowOf: ReadonlyMap<string, number>;
}

/** Returns the first row that belongs to no route. */
export function firstOfNone(offsets: Uint32Array): number {
  return offsets[offsets.length - 1] as number;
}

/**
 * Writes the cosines of the vector and the utterances of the candidates, or all, and the texts of `none`, into the
 * matrix's `products`.
 */
export function multiplyRoutes(
  { matrix, offsets }: RouteVectors,
  vector: Float32Array,
  candidates?: Uint32Array,
): void {
  matrix.load(vector);
  if (candidates === undefined) {
    matrix.multiply(0, matrix.rows);
    return;
  }
  for (const route of candidates) matrix.multiply(offsets[route] as number, offsets[route + 1] as number);
  const none = firstOfNone(offsets);
  if (none < matrix.rows) matrix.multiply(none, matrix.rows);
}

/** Returns the best cosine of the vector that was multiplied last to the texts of `none`; -1 where there are none. */
export function nearestOfNone({ matrix, offsets }: RouteVectors): number {
  let best = -1;
  for (let row = firstOfNone(offsets); row < matrix.rows; row += 1) {
    best = Math.max(best, matrix.products[row] as number);
  }
  return best;
}

/** Vectors that are multiplied ahead together; of more, none would be faster. */
export const VECTORS_AT_ONCE = 8;
/** Rows are multiplied by so many at once: their memory has room for a multiple of it. */
export const ROWS_AT_ONCE = 4;
/** Rows and vectors are padded with zeros to a multiple of so many floats. */
export const FLOATS_AT_ONCE = 8;

/**
 * Writes the product of row r and vector v to `out + r · rowStep + v · vectorStep`, see `kernel.wat`.
 * All arguments but the counts are byte offsets or byte lengths. `rowCount` is a multiple of {@link ROWS_AT_ONCE}.
 */
export type Multiply = (
  rows: number,
  rowCount: number,
  vectors: number,
  vectorCount: number,
  bytes: number,
  out: number,
  rowStep: number,
  vectorStep: number,
) => void;

/** Memory, and the multiplication of what stands in it. */
export interface Kernel {
  readonly memory: ArrayBuffer;
  readonly multiply: Multiply;
}

/** The part of the API that is used here; its types otherwise come only with those of a browser. */
declare const WebAssembly: {
  readonly Memory: new (options: { initial: number }) => { readonly buffer: ArrayBuffer };
  readonly Module: new (bytes: Uint8Array) => object;
  readonly Instance: new (module: object, imports: object) => { readonly exports: Record<string, unknown> };
};

const PAGE_BYTES = 65_536;
let compiled: object | null | undefined;

/**
 * A kernel over a memory of `bytes`: in WebAssembly, or in a plain loop of a tenth of the speed where that is not
 * built, this machine has no vector unit, or no address space is left for the memory.
 */
export function createKernel(bytes: number): Kernel {
  if (compiled === undefined) compiled = compile();
  if (!compiled) return createPlainKernel(bytes);
  try {
    const memory = new WebAssembly.Memory({ initial: Math.ceil(bytes / PAGE_BYTES) });
    const { exports } = new WebAssembly.Instance(compiled, { kernel: { memory } });
    return { memory: memory.buffer, multiply: exports.multiply as Multiply };
  } catch {
    return createPlainKernel(bytes);
  }
}

function compile(): object | null {
  try {
    return new WebAssembly.Module(readFileSync(KERNEL_FILE));
  } catch {
    return null;
  }
}

/**
 * The same in a plain loop. For small memories that come and go: each WebAssembly memory reserves gigabytes of address
 * space until it is collected.
 */
export function createPlainKernel(bytes: number): Kernel {
  const memory = new ArrayBuffer(bytes);
  const floats = new Float32Array(memory);
  const multiply: Multiply = (rows, rowCount, vectors, vectorCount, rowBytes, out, rowStep, vectorStep) => {
    const length = rowBytes / 4;
    for (let row = 0; row < rowCount; row += 1) {
      const at = rows / 4 + row * length;
      for (let vector = 0; vector < vectorCount; vector += 1) {
        const from = vectors / 4 + vector * length;
        let even = 0;
        let odd = 0;
        for (let i = 0; i < length; i += 2) {
          even += (floats[from + i] as number) * (floats[at + i] as number);
          odd += (floats[from + i + 1] as number) * (floats[at + i + 1] as number);
        }
        floats[(out + row * rowStep + vector * vectorStep) / 4] = even + odd;
      }
    }
  };
  return { memory, multiply };
}

/** `count` rounded up to a multiple of `to`. */
export function padded(count: number, to: number): number {
  return Math.ceil(count / to) * to;
}
