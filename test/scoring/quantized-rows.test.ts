import { afterEach, describe, expect, it, vi } from 'vitest';
import { EXPONENTIAL_ERROR } from '../../src/scoring/pooling-kernel.js';
import { QuantizedRows } from '../../src/scoring/quantized-rows.js';
import { RowMatrix } from '../../src/scoring/row-matrix.js';
import { unit, unitVector } from './unit-vectors.js';

const TEMPERATURE = 0.08;

afterEach(() => vi.unstubAllGlobals());

function matrixOf(rows: readonly Float32Array[]): RowMatrix {
  const matrix = new RowMatrix(rows.length, rows[0]?.length ?? 0);
  for (const [index, row] of rows.entries()) matrix.row(index).set(row);
  return matrix;
}

/** Its types come with those of a browser only. */
const { WebAssembly } = globalThis as unknown as { readonly WebAssembly: Record<string, unknown> };

/** As on a machine without address space for a WebAssembly memory. */
function refuseMemory(): void {
  const Memory = class {
    constructor() {
      throw new RangeError('could not allocate memory');
    }
  };
  vi.stubGlobal('WebAssembly', {
    Module: WebAssembly.Module,
    CompileError: WebAssembly.CompileError,
    Memory,
  });
}

/** All that an estimate is made of, to the bit. */
function bitsOf(rows: QuantizedRows, ranges: readonly (readonly [number, number])[]): number[] {
  const pooled = ranges.flatMap(([from, to]) => {
    rows.pool(from, to);
    return [rows.best, rows.sum];
  });
  return [...new Uint32Array(Float32Array.from([...rows.products, ...pooled]).buffer)];
}

describe('quantized rows', () => {
  it.each([
    [1, 3],
    [2, 32],
    [5, 33],
    [19, 384],
    [103, 100],
  ])(
    'of %i × %i give the same bits without WebAssembly memory, whatever ranges are multiplied',
    async (count, dimension) => {
      const matrix = matrixOf(Array.from({ length: count }, () => unitVector(dimension)));
      const vector = unitVector(dimension);
      const ranges = [
        [0, count],
        [0, 1],
        [count - 1, count],
        [0, Math.min(count, 6)],
      ] as const;
      const kernel = await QuantizedRows.of(matrix, TEMPERATURE);
      kernel.load(vector);
      kernel.multiply(0, count);
      const bits = bitsOf(kernel, ranges);
      kernel.products.fill(9);
      for (const row of matrixRows(count)) kernel.multiply(row, row + 1);
      expect(bitsOf(kernel, ranges)).toEqual(bits);

      refuseMemory();
      const plain = await QuantizedRows.of(matrix, TEMPERATURE);
      plain.load(vector);
      plain.multiply(0, count);
      expect(bitsOf(plain, ranges)).toEqual(bits);
    },
  );

  it('multiply only the rows that they are told to', async () => {
    const rows = await QuantizedRows.of(
      matrixOf(Array.from({ length: 9 }, () => unitVector(40))),
      TEMPERATURE,
    );
    rows.load(unitVector(40));
    rows.products.fill(9);
    rows.multiply(2, 7);
    rows.multiply(4, 4);
    expect([...rows.products].map((product) => product === 9)).toEqual(
      [...rows.products.keys()].map((row) => row < 2 || row >= 7),
    );
  });

  const huge = (dimension: number) => unit(unitVector(dimension).fill(10, 0, 1));
  const flat = (dimension: number) => unit(new Float32Array(dimension).fill(1));
  const lone = (dimension: number) => new Float32Array(dimension).fill(1, 2, 3);
  it.each([
    ['random', unitVector, unitVector],
    ['with one huge element', huge, unitVector],
    ['and the vector with one huge element', huge, huge],
    ['of equal elements, whose sums are the largest', flat, flat],
    ['of opposite ones', flat, (dimension: number) => flat(dimension).map((value) => -value)],
    ['of a single element', lone, flat],
    ['of zeros', (dimension: number) => new Float32Array(dimension), unitVector],
  ])('%s are off by no more than proven', async (_name, rowOf, vectorOf) => {
    for (const dimension of [1, 5, 100, 384, 2_048]) {
      if (dimension < 3 && rowOf === lone) continue;
      const matrix = matrixOf(Array.from({ length: 50 }, () => rowOf(dimension)));
      const rows = await QuantizedRows.of(matrix, TEMPERATURE);
      const vector = vectorOf(dimension);
      rows.load(vector);
      rows.multiply(0, 50);
      for (const row of matrixRows(50)) {
        const exact = matrix.row(row).reduce((sum, value, at) => sum + value * (vector[at] ?? 0), 0);
        const error = Math.abs((rows.products[row] ?? 9) - exact);
        expect(error).toBeLessThanOrEqual(rows.errorOf(rows.residuals[row] ?? 0, 1));
      }
      expect(rows.errorOf(Math.max(...rows.residuals), 50)).toBeLessThan(0.2);
    }
  });

  it('are usually off by much less than could be', async () => {
    const matrix = matrixOf(Array.from({ length: 400 }, () => unitVector(384)));
    const rows = await QuantizedRows.of(matrix, TEMPERATURE);
    const vector = unitVector(384);
    rows.load(vector);
    rows.multiply(0, 400);
    const errors = [...rows.products].map((product, row) =>
      Math.abs(product - matrix.row(row).reduce((sum, value, at) => sum + value * (vector[at] ?? 0), 0)),
    );
    expect(rows.errorOf(Math.max(...rows.residuals), 1)).toBeLessThan(0.02);
    expect(Math.max(...errors)).toBeLessThan(0.003);
  });

  it('pool the highest product and the sum of the exponentials, of any number of rows from any row on', async () => {
    const matrix = matrixOf(Array.from({ length: 40 }, (_, row) => Float32Array.of(1 - row / 19.5, 0)));
    const rows = await QuantizedRows.of(matrix, TEMPERATURE);
    rows.load(Float32Array.of(1, 0));
    rows.multiply(0, 40);
    for (let from = 0; from < 40; from += 1) {
      for (let to = from + 1; to <= 40; to += 1) {
        rows.pool(from, to);
        const products = [...rows.products.subarray(from, to)];
        const sum = products.reduce((total, product) => total + Math.exp(product / TEMPERATURE), 0);
        expect(rows.best).toBe(Math.max(-1, ...products));
        expect(Math.abs(rows.sum / sum - 1)).toBeLessThan(EXPONENTIAL_ERROR + 1e-6);
      }
    }
  });

  it('stop being made when aborted', async () => {
    const stop = new AbortController();
    const work = QuantizedRows.of(new RowMatrix(30_000, 64), TEMPERATURE, stop.signal);
    stop.abort();
    await expect(work).rejects.toMatchObject({ code: 'aborted' });
  });
});

function matrixRows(count: number): number[] {
  return Array.from({ length: count }, (_, row) => row);
}
