import { describe, expect, it } from 'vitest';
import { createKernel, createPlainKernel, RowMatrix, VECTORS_AT_ONCE } from '../../src/scoring/row-matrix.js';

const value = (n: number): number => Math.sin(n * 12.9898);

describe.each([
  ['for long', {}],
  ['for short', { shortLived: true }],
])('a matrix that lives %s', (_name, options) => {
  it.each([
    [1, 3],
    [7, 48],
    [15, 384],
    [16, 384],
    [19, 5],
    [1_500, 384],
  ])('multiplies %i rows of %i with a vector', (rows, dimension) => {
    const matrix = new RowMatrix(rows, dimension, options);
    for (let row = 0; row < rows; row += 1) {
      matrix.row(row).set(Float32Array.from({ length: dimension }, (_, i) => value(row * dimension + i)));
    }
    const vector = Float32Array.from({ length: dimension }, (_, i) => value(i + 0.5));
    matrix.load(vector);
    for (const [from, to] of [
      [0, rows],
      [0, 1],
      [rows - 1, rows],
      [0, Math.min(rows, 6)],
      [rows, rows],
    ] as const) {
      matrix.products.fill(9);
      matrix.multiply(from, to);
      for (let row = from; row < to; row += 1) {
        const exact = matrix.row(row).reduce((sum, x, i) => sum + x * (vector[i] as number), 0);
        expect(matrix.products[row]).toBeCloseTo(exact, 4);
      }
      expect([...matrix.products.subarray(0, from)]).toEqual(new Array(from).fill(9));
    }
  });
});

it.each([
  [5, 7],
  [1_500, 384],
])('multiplies several vectors ahead, of %i rows of %i, bit by bit as one by one', (rows, dimension) => {
  const matrix = new RowMatrix(rows, dimension);
  for (let row = 0; row < rows; row += 1) {
    matrix.row(row).set(Float32Array.from({ length: dimension }, (_, i) => value(row * dimension + i)));
  }
  const vectors = Array.from({ length: VECTORS_AT_ONCE }, (_, at) =>
    Float32Array.from({ length: dimension }, (_, i) => value(i + at / 9)),
  );
  const alone = vectors.map((vector) => {
    matrix.load(vector);
    matrix.multiply(0, rows);
    return [...matrix.products];
  });
  matrix.multiplyAhead(vectors);
  // Another vector in between changes nothing.
  matrix.load(new Float32Array(dimension));
  matrix.multiply(0, rows);
  expect([...matrix.products]).toEqual(new Array(rows).fill(0));
  for (const [at, vector] of vectors.entries()) {
    matrix.load(vector);
    matrix.multiply(0, rows);
    expect([...matrix.products]).toEqual(alone[at]);
  }
});

describe('the kernel', () => {
  it('is WebAssembly where the program was built', () => {
    // Memory of WebAssembly comes in pages; that of the plain loop is as large as it was asked for.
    expect(createKernel(4).memory.byteLength).toBe(65_536);
  });

  it.each([
    ['in WebAssembly', createKernel],
    ['in a plain loop', createPlainKernel],
  ])('multiplies every row with every vector, %s', (_name, create) => {
    const [rows, vectors, length] = [12, 5, 24];
    const { memory, multiply } = create(4 * (length * (rows + vectors) + vectors * rows));
    const floats = new Float32Array(memory);
    for (let i = 0; i < length * (rows + vectors); i += 1) floats[i] = value(i);
    const out = length * (rows + vectors);
    multiply(0, rows, rows * length * 4, vectors, length * 4, out * 4, 4, rows * 4);
    for (let vector = 0; vector < vectors; vector += 1) {
      for (let row = 0; row < rows; row += 1) {
        let sum = 0;
        for (let i = 0; i < length; i += 1) {
          sum += value(row * length + i) * value((rows + vector) * length + i);
        }
        expect(floats[out + vector * rows + row]).toBeCloseTo(sum, 4);
      }
    }
  });
});
