import { expect, it } from 'vitest';
import {
  BACKGROUND,
  backgroundOf,
  decodeBackground,
  encodeBackground,
  NOISE,
  Noise,
  noiseOf,
  SHIPPED,
  UNREADABLE,
} from '../../src/scoring/noise.js';
import type { Encoder } from '../../src/scoring/scorer.js';
import { createVectorCache } from '../../src/scoring/vector-cache.js';
import { cosine } from '../support/model.js';
import { HELD_OUT } from './probes.js';
import { MODEL, memoryStore, WordEmbedder } from './word-embedder.js';

const DIMENSION = 16;
const vectors = SHIPPED.map((_, row) => {
  const raw = Float32Array.from({ length: DIMENSION }, (_, i) => Math.sin(3 + row * 7 + i * i));
  return raw.map((value) => value / Math.hypot(...raw));
});
const file = encodeBackground('sha256:this', vectors);

it('lowers the scores of a text that is more like noise, or what the model cannot read, than like any utterance', () => {
  const shipped = new Float32Array(SHIPPED.length * DIMENSION);
  shipped[SHIPPED.indexOf('Hannah') * DIMENSION] = 1;
  shipped[(SHIPPED.length - 1) * DIMENSION + 1] = 1;
  // The background is neither.
  shipped[2] = 1;
  const noise = new Noise(shipped, DIMENSION);
  const [name, sentence, background] = [0, 1, 2].map((axis) =>
    Float32Array.from({ length: DIMENSION }, (_, i) => Number(i === axis)),
  ) as [Float32Array, Float32Array, Float32Array];
  const factor = (vector: Float32Array, cosine: number, named?: boolean): number =>
    noise.judge('Wo ist das?', vector, cosine, named).factor;
  expect(factor(name, 0.5)).toBeLessThan(1e-4);
  expect(factor(name, 0.92)).toBeCloseTo(0.5, 5);
  expect(factor(name, 0.84, true)).toBeCloseTo(0.5, 5);
  expect(noise.judge('some text', name, 0.5).unreadable).toBe(false);
  expect(factor(sentence, 0.9)).toBeLessThan(0.01);
  expect(factor(sentence, 0.95, true)).toBeCloseTo(0.5, 5);
  expect(noise.judge('some text', sentence, 0.9).unreadable).toBe(true);
  expect(noise.judge('some text', sentence, 0.97, true).unreadable).toBe(false);
  expect(noise.judge('what does "Wo ist das?" mean', sentence, 0.9).unreadable).toBe(false);
  expect(noise.judge('some text', background, 0.5)).toEqual({
    factor: expect.closeTo(1, 4),
    unreadable: false,
  });
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

it('shares no text with those that measure what comes of it', () => {
  const measured = new Set(Object.values(HELD_OUT).flat());
  expect(UNREADABLE.filter((text) => measured.has(text))).toEqual([]);
  expect(NOISE.filter((text) => measured.has(text))).toEqual([]);
  expect(BACKGROUND.filter((text) => measured.has(text))).toEqual([]);
});

it('is embedded once by a model that it does not come with, and kept', async () => {
  const auxiliary = createVectorCache(memoryStore(), { modelKey: 'words', dimension: DIMENSION });
  const encoderOf = (embedder: WordEmbedder): Encoder => ({
    embedder,
    model: MODEL,
    auxiliary,
    background: async () => undefined,
  });
  const first = new WordEmbedder(DIMENSION);
  const encoder = encoderOf(first);
  first.before = () => {
    throw new Error('the model is gone');
  };
  await expect(noiseOf(encoder)).rejects.toThrow('the model is gone');
  first.before = undefined;
  first.asked.length = 0;
  const [noise, background] = await Promise.all([noiseOf(encoder), backgroundOf(encoder)]);
  expect(new Set(first.asked)).toEqual(new Set(SHIPPED));
  expect(first.asked).toHaveLength(new Set(SHIPPED).size);
  const { vector } = await first.embed('lorem ipsum');
  expect(noise.judge('some text', vector, 0.5).factor).toBeLessThan(1e-4);
  expect(cosine(background.subarray(0, DIMENSION), (await first.embed(SHIPPED[0] ?? '')).vector)).toBeCloseTo(
    1,
    6,
  );

  const second = new WordEmbedder(DIMENSION);
  expect(await backgroundOf(encoderOf(second))).toEqual(background);
  expect(second.asked).toEqual([]);
});
