import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { checkShape, JSON_LIMITS } from '../../src/http/body.js';

function accepted(text: string): boolean {
  try {
    checkShape(Buffer.from(text));
    return true;
  } catch {
    return false;
  }
}

function depthOf(value: unknown): number {
  if (typeof value !== 'object' || value === null) return 0;
  return 1 + Math.max(0, ...Object.values(value).map(depthOf));
}

describe('checkShape', () => {
  it('takes every JSON value within its bounds, whatever stands in the strings', () => {
    fc.assert(
      fc.property(fc.jsonValue({ maxDepth: 6, stringUnit: 'binary' }), (value) => {
        expect(depthOf(value)).toBeLessThanOrEqual(JSON_LIMITS.depth);
        expect(accepted(JSON.stringify(value))).toBe(true);
      }),
    );
  });

  it('counts brackets outside of strings only', () => {
    const brackets = '[{'.repeat(JSON_LIMITS.depth);
    fc.assert(
      fc.property(fc.nat({ max: 9 }), (escapes) => {
        // An even number of backslashes escapes itself; an odd one escapes the quote, and the string goes on.
        expect(accepted(`"${brackets}${'\\'.repeat(2 * escapes)}\\"${brackets}"`)).toBe(true);
        expect(accepted(`"${'\\'.repeat(2 * escapes)}"${brackets}`)).toBe(false);
      }),
    );
  });

  it.each([
    ['lists', '[', ']'],
    ['objects', '{"a":', '}'],
  ])('refuses %s one level too deep', (_, open, close) => {
    const nested = (depth: number) => `${open.repeat(depth)}0${close.repeat(depth)}`;
    expect(accepted(nested(JSON_LIMITS.depth))).toBe(true);
    expect(accepted(nested(JSON_LIMITS.depth + 1))).toBe(false);
  });

  it('refuses one key too many', () => {
    const keys = (count: number) => `{${Array.from({ length: count }, () => '"a":0').join(',')}}`;
    expect(accepted(keys(JSON_LIMITS.keys))).toBe(true);
    expect(accepted(keys(JSON_LIMITS.keys + 1))).toBe(false);
  });

  it('leaves what is no JSON to the parser', () => {
    fc.assert(fc.property(fc.uint8Array(), (bytes) => checkShape(bytes) === undefined));
  });
});
