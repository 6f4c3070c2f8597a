import { hash } from 'node:crypto';
import { beforeEach, expect, it, vi } from 'vitest';
import { Authenticator } from '../../src/http/auth.js';
import type { RequestContext } from '../../src/http/request.js';

/** Lengths of what was compared, in the order of the comparisons. */
const compared = vi.hoisted((): [number, number][] => []);

vi.mock(import('node:crypto'), async (original) => {
  const crypto = await original();
  const timingSafeEqual: typeof crypto.timingSafeEqual = (one, other) => {
    compared.push([one.byteLength, other.byteLength]);
    return crypto.timingSafeEqual(one, other);
  };
  return { ...crypto, timingSafeEqual };
});

const [FIRST, SECOND, ADMIN] = [
  'first-key-of-good-length',
  'second-key-of-good-length',
  'admin-key-of-good-length',
];
const digestOf = (key: string) => `sha256:${hash('sha256', key)}`;
const keys = { apiKeys: [FIRST, SECOND].map(digestOf), adminKeys: [digestOf(ADMIN)] };

function identify(authorization: string) {
  const context = { get: () => authorization, ip: '203.0.113.7' } as unknown as RequestContext;
  return new Authenticator({ current: keys }).identify(context);
}

beforeEach(() => {
  compared.length = 0;
});

it.each([
  ['the first key', FIRST, FIRST],
  ['the last key', ADMIN, ADMIN],
  ['a key but for its last character', `${FIRST.slice(0, -1)}x`, undefined],
  ['the beginning of a key', FIRST.slice(0, 8), undefined],
  ['one character', 'f', undefined],
  ['a key and more', `${FIRST}x`, undefined],
  ['a long text', 'x'.repeat(15_000), undefined],
  ['the digest of a key', digestOf(FIRST), undefined],
  ['its digits alone', digestOf(FIRST).slice(-64), undefined],
  ['characters beyond ASCII', 'ÿ'.repeat(24), undefined],
])('%s takes one comparison of digests for each key, whether it is one or not', (_, token, known) => {
  const { key } = identify(`Bearer ${token}`);
  expect(key).toBe(known && digestOf(known));
  expect(compared).toEqual(Array.from({ length: 3 }, () => [32, 32]));
});

it.each(['', 'Bearer', 'Bearer ', `Basic ${FIRST}`, `Bearer ${FIRST} ${SECOND}`, FIRST])(
  'no key is compared with what is none: %j',
  (authorization) => {
    expect(identify(authorization)).toEqual({ client: '203.0.113.7', key: undefined, admin: false });
    expect(compared).toEqual([]);
  },
);
