import { expect, it } from 'vitest';
import { decodeBackground, encodeBackground, Noise, SHIPPED } from '../../src/scoring/noise.js';
import { cosine } from '../support/model.js';

const DIMENSION = 16;
const vectors = SHIPPED.map((_, row) => {
  const raw = Float32Array.from({ length: DIMENSION }, (_, i) => Math.sin(3 + row * 7 + i * i));
  return raw.map((value) => value / Math.hypot(...raw));
});
const file = encodeBackground('sha256:this', vectors);

it('lowers the scores of a text that is more like noise than like any utterance', () => {
  const shipped = new Float32Array(SHIPPED.length * DIMENSION);
  for (const [row, vector] of vectors.entries()) shipped.set(vector, row * DIMENSION);
  const noise = new Noise(shipped, DIMENSION);
  const own = vectors.at(-1) ?? new Float32Array(DIMENSION);
  // The background is no noise: its vectors come first.
  expect(noise.factor(own, 0.5, 0)).toBeLessThan(1e-4);
  expect(noise.factor(own, 1, 0)).toBeCloseTo(0.5, 5);
  expect(noise.factor(own, 0.9, 0.1)).toBeCloseTo(0.5, 5);
  expect(noise.factor(own, 1, 0.5)).toBeGreaterThan(0.99);
  const unlike = new Float32Array(DIMENSION);
  expect(noise.factor(unlike, 0.5, 0)).toBeGreaterThan(0.99);
});

it('comes back nearly as it was, at length 1', () => {
  const read = decodeBackground(file, 'sha256:this', DIMENSION);
  expect(read).toHaveLength(SHIPPED.length * DIMENSION);
  for (const [row, vector] of vectors.entries()) {
    const found = read?.subarray(row * DIMENSION, (row + 1) * DIMENSION) ?? [];
    expect(cosine(found, vector)).toBeGreaterThan(0.9999);
    expect(Math.hypot(...found)).toBeCloseTo(1, 5);
  }
});

it.each([
  ['another model', file, 'sha256:other', DIMENSION],
  ['another dimension', file, 'sha256:this', DIMENSION + 1],
  ['a flipped bit', file.map((byte, at) => (at === 99 ? byte ^ 1 : byte)), 'sha256:this', DIMENSION],
  ['a cut', file.subarray(0, -1), 'sha256:this', DIMENSION],
] as const)('is not used with %s', (_, bytes, digest, dimension) => {
  expect(decodeBackground(bytes, digest, dimension)).toBeUndefined();
});
