import { expect, it } from 'vitest';
import { BACKGROUND, decodeBackground, encodeBackground } from '../../../src/scoring/head/background.js';
import { cosine } from '../../support/model.js';

const DIMENSION = 16;
const vectors = BACKGROUND.map((_, row) => {
  const raw = Float32Array.from({ length: DIMENSION }, (_, i) => Math.sin(3 + row * 7 + i * i));
  return raw.map((value) => value / Math.hypot(...raw));
});
const file = encodeBackground('sha256:this', vectors);

it('comes back nearly as it was, at length 1', () => {
  const read = decodeBackground(file, 'sha256:this', DIMENSION);
  expect(read).toHaveLength(BACKGROUND.length * DIMENSION);
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
