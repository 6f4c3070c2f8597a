import { expect } from 'vitest';

/** How far a number may be from the example's: other processors round otherwise. */
const TOLERANCE = 0.02;

/**
 * What matches an example of the contract: the same fields with the same values, but for what is another one each
 * time (moments, request ids) or on each machine (the digest of a trained head, small differences of numbers).
 */
export function like(example: unknown, key = ''): unknown {
  if (Array.isArray(example)) return example.map((item) => like(item));
  if (typeof example === 'number') {
    return Number.isInteger(example) ? example : expect.closeTo(example, -Math.log10(2 * TOLERANCE));
  }
  if (typeof example !== 'object' || example === null) return example;
  // A head is trained on the spot.
  if (key === 'scorer')
    return { ...example, ...('digest' in example && { digest: expect.stringMatching(/^sha256:/) }) };
  // Log-odds go up and down a lot where probabilities hardly change.
  if (key === 'log_odds')
    return Object.fromEntries(Object.keys(example).map((name) => [name, expect.any(Number)]));
  return Object.fromEntries(Object.entries(example).map(([name, value]) => [name, like(value, name)]));
}
