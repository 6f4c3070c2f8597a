/** The part of the WebAssembly API that is used here; its types otherwise come only with those of a browser. */
declare const WebAssembly: {
  readonly Module: new (bytes: Uint8Array) => object;
  readonly Memory: new (pages: { initial: number; maximum: number }) => { readonly buffer: ArrayBuffer };
  readonly Instance: new (module: object, imports: object) => { readonly exports: Record<string, unknown> };
  readonly CompileError: ErrorConstructor;
};

/** WebAssembly memory comes in pages of this many bytes. */
const PAGE_BYTES = 65_536;
const I32 = 0x7f;
const V128 = 0x7b;
const VECTOR = 0xfd;

/** Instructions as bytes: those that the kernels are made of. Operands that are numbers are below 64. */
export const wasm = {
  get: (local: number): number[] => [0x20, local],
  set: (local: number): number[] => [0x21, local],
  constant: (value: number): number[] => [0x41, value],
  add: [0x6a],
  subtract: [0x6b],
  isZero: [0x45],
  isBelow: [0x49],
  block: [0x02, 0x40],
  loop: [0x03, 0x40],
  branch: (depth: number): number[] => [0x0c, depth],
  branchIf: (depth: number): number[] => [0x0d, depth],
  end: [0x0b],
  /** Loads four floats from the address on the stack + `offset`. */
  loadLanes: (offset: number): number[] => [VECTOR, 0x00, 0x04, offset],
  zeroLanes: [VECTOR, 0x0c, ...new Array<number>(16).fill(0)],
  addLanes: [VECTOR, 0xe4, 0x01],
  multiplyLanes: [VECTOR, 0xe6, 0x01],
  lane: (index: number): number[] => [VECTOR, 0x1f, index],
  addFloats: [0x92],
  multiplyFloats: [0x94],
  maxFloats: [0x97],
  /** Loads a float from the address on the stack. */
  loadFloat: [0x2a, 0x02, 0x00],
  /** Stores a float at the address below it on the stack + `offset`. */
  storeFloat: (offset: number): number[] => [0x38, 0x02, offset],
  isAbove: [0x4a],
  /** A signed number as a float. */
  toFloat: [0xb2],
  /** Loads eight signed bytes from the address on the stack + `offset`, as eight i16. */
  loadBytes: (offset: number): number[] => [VECTOR, 0x01, 0x00, offset],
  /** Products of eight i16 with eight others, each even one added to the odd one after it: four i32. */
  dotPairs: [VECTOR, 0xba, 0x01],
  /** The same operations on four i32. */
  addWords: [VECTOR, 0xae, 0x01],
  subtractWords: [VECTOR, 0xb1, 0x01],
  shiftWords: [VECTOR, 0xab, 0x01],
  splatWord: [VECTOR, 0x11],
  /** All bits of a lane where the first of two is below the second, none where not. */
  isBelowWords: [VECTOR, 0x39],
  word: (index: number): number[] => [VECTOR, 0x1b, index],
  subtractLanes: [VECTOR, 0xe5, 0x01],
  maxLanes: [VECTOR, 0xeb, 0x01],
  and: [VECTOR, 0x4e],
  /** The bits of the first where the third has ones, of the second elsewhere. */
  select: [VECTOR, 0x52],
  /** The same float in each lane. */
  lanes: (value: number): number[] => [VECTOR, 0x0c, ...bytesOf(Float32Array.of(value, value, value, value))],
  words: (...values: number[]): number[] => [VECTOR, 0x0c, ...bytesOf(Int32Array.from(values))],
} as const;

function bytesOf({ buffer }: Float32Array | Int32Array): number[] {
  return [...new Uint8Array(buffer)];
}

/** Adds a value to a local. */
export function addTo(local: number, value: number[]): number[] {
  return [...wasm.get(local), ...value, ...wasm.add, ...wasm.set(local)];
}

/** The four lanes of a local made one, always in the same order: `combine` of the first two and of the last two. */
export function foldLanes(
  local: number,
  lane: (index: number) => number[],
  combine: readonly number[],
): number[] {
  const laneAt = (index: number): number[] => [...wasm.get(local), ...lane(index)];
  return [...laneAt(0), ...laneAt(1), ...combine, ...laneAt(2), ...laneAt(3), ...combine, ...combine];
}

/** The four floats of a local added up. */
export function sumOfLanes(local: number): number[] {
  return foldLanes(local, wasm.lane, wasm.addFloats);
}

/** One function over one memory, as it is compiled once and made for each memory. */
export class Kernel {
  readonly #bytes: Uint8Array;
  #compiled: object | undefined;

  /**
   * @param params how many i32 parameters; local numbers go on behind them
   * @param locals how many of each, the i32 first
   */
  constructor(params: number, locals: { readonly i32: number; readonly v128: number }, code: number[]) {
    const body = [0x02, locals.i32, I32, locals.v128, V128, ...code, ...wasm.end];
    this.#bytes = Uint8Array.from([
      ...[0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00],
      ...section(1, [0x01, 0x60, params, ...new Array<number>(params).fill(I32), 0x00]),
      ...section(2, [0x01, 0x01, 0x6d, 0x01, 0x6d, 0x02, 0x00, 0x00]), // import memory "m" "m"
      ...section(3, [0x01, 0x00]),
      ...section(7, [0x01, 0x01, 0x66, 0x00, 0x00]), // export function "f"
      ...section(10, [0x01, ...leb(body.length), ...body]),
    ]);
  }

  /**
   * The function over a new memory of `bytes`, or nothing where this machine cannot give one (no vector unit, or
   * no address space for the memory).
   */
  over(bytes: number): { memory: ArrayBuffer; run: Run } | undefined {
    const made = together(bytes, [this]);
    return made && { memory: made.memory, run: made.runs[0] };
  }

  /** The function over this memory. */
  on(memory: object): Run {
    this.#compiled ??= new WebAssembly.Module(this.#bytes);
    return new WebAssembly.Instance(this.#compiled, { m: { m: memory } }).exports.f as Run;
  }
}

/** A kernel's function. */
export type Run = (...args: number[]) => void;

/** Several functions over one new memory of `bytes`, or nothing, as in {@link Kernel.over}. */
export function together<Kernels extends readonly Kernel[]>(
  bytes: number,
  kernels: readonly [...Kernels],
): { memory: ArrayBuffer; runs: { [Index in keyof Kernels]: Run } } | undefined {
  try {
    const pages = Math.ceil(bytes / PAGE_BYTES);
    const memory = new WebAssembly.Memory({ initial: pages, maximum: pages });
    const runs = kernels.map((kernel) => kernel.on(memory)) as { [Index in keyof Kernels]: Run };
    return { memory: memory.buffer, runs };
  } catch (error) {
    if (error instanceof WebAssembly.CompileError || error instanceof RangeError) return undefined;
    throw error;
  }
}

/** An unsigned number in LEB128, as lengths are written. */
function leb(value: number): number[] {
  return value < 0x80 ? [value] : [(value & 0x7f) | 0x80, ...leb(value >>> 7)];
}

function section(id: number, content: number[]): number[] {
  return [id, ...leb(content.length), ...content];
}
