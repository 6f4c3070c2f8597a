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
  /** Stores a float at the address below it on the stack + `offset`. */
  storeFloat: (offset: number): number[] => [0x38, 0x02, offset],
} as const;

/** The four lanes of a local added up, always in the same order. */
export function sumOfLanes(local: number): number[] {
  const laneAt = (index: number): number[] => [...wasm.get(local), ...wasm.lane(index)];
  return [
    ...[...laneAt(0), ...laneAt(1), ...wasm.addFloats],
    ...[...laneAt(2), ...laneAt(3), ...wasm.addFloats, ...wasm.addFloats],
  ];
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
  over(bytes: number): { memory: ArrayBuffer; run: (...args: number[]) => void } | undefined {
    try {
      this.#compiled ??= new WebAssembly.Module(this.#bytes);
      const pages = Math.ceil(bytes / PAGE_BYTES);
      const memory = new WebAssembly.Memory({ initial: pages, maximum: pages });
      const { f } = new WebAssembly.Instance(this.#compiled, { m: { m: memory } }).exports;
      return typeof f === 'function' ? { memory: memory.buffer, run: f as () => void } : undefined;
    } catch (error) {
      if (error instanceof WebAssembly.CompileError || error instanceof RangeError) return undefined;
      throw error;
    }
  }
}

/** An unsigned number in LEB128, as lengths are written. */
function leb(value: number): number[] {
  return value < 0x80 ? [value] : [(value & 0x7f) | 0x80, ...leb(value >>> 7)];
}

function section(id: number, content: number[]): number[] {
  return [id, ...leb(content.length), ...content];
}
