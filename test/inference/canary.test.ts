import { expect, it } from 'vitest';
import type { CanarySpec } from '../../src/cache/manifest.js';
import { checkCanary } from '../../src/inference/canary.js';

const canary: CanarySpec = {
  min_cosine: 0.98,
  cases: [
    { text: 'first', embedding: base64([1, 0, 0]) },
    { text: 'second', embedding: base64([0, 1, 0]) },
  ],
};
const good: Record<string, number[]> = { first: [1, 0.01, 0], second: [0, 1, 0] };

function base64(values: number[]): string {
  const bytes = Buffer.alloc(values.length * 4);
  for (const [index, value] of values.entries()) bytes.writeFloatLE(value, index * 4);
  return bytes.toString('base64');
}

function check(answers: Record<string, number[]>): Promise<void> {
  return checkCanary(canary, { dimension: 3 }, async (text) => Float32Array.from(answers[text] ?? []));
}

it('lets a model pass whose answers are near enough', async () => {
  await expect(check(good)).resolves.toBeUndefined();
});

it('names the text, the cosine and what was expected', async () => {
  await expect(check({ ...good, second: [0, 0.6, 0.8] })).rejects.toMatchObject({
    code: 'canary_mismatch',
    retryable: false,
    message: `the model's answer to "second" has cosine 0.60000 to the known one, expected at least 0.98`,
  });
});

it.each([
  ['NaN', [Number.NaN, 0, 0], /not finite/],
  ['infinity', [Number.POSITIVE_INFINITY, 0, 0], /not finite/],
  ['a zero vector', [0, 0, 0], /cosine NaN/],
  ['another dimension', [1, 0], /has 2 values, expected 3/],
])('refuses %s', async (_, first, message) => {
  await expect(check({ ...good, first })).rejects.toMatchObject({
    code: 'canary_mismatch',
    message: expect.stringMatching(message),
  });
});
