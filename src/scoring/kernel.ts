import { readFileSync } from 'node:fs';
import { KERNEL_FILE } from '../config/program-files.js';

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
