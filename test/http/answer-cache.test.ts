import { describe, expect, it } from 'vitest';
import { AnswerCache, type KeptAnswer } from '../../src/http/answer-cache.js';

const SET = {};
const usage = { texts: 1, tokens: 3, truncatedTexts: 0, truncatedTokens: 0 };
const answer = (json: string): KeptAnswer => ({ json, usage, route: 'a', kind: 'routes' });

function holding(count: number): AnswerCache {
  const cache = new AnswerCache();
  for (let n = 0; n < count; n += 1) cache.keep(`body ${n}`, SET, answer(`${n}`));
  return cache;
}

describe('AnswerCache', () => {
  it('answers an equal body, and no other', () => {
    const cache = holding(2);
    expect(cache.get('body 1', SET)).toEqual(answer('1'));
    expect(cache.get('body 2', SET)).toBeUndefined();
  });

  it('gives no answer of another set, nor any while none decides', () => {
    const cache = holding(1);
    expect(cache.get('body 0', {})).toBeUndefined();
    expect(cache.get('body 0', undefined)).toBeUndefined();
    cache.keep('body', undefined, answer('nobody'));
    expect(cache.get('body', undefined)).toBeUndefined();
  });

  it('takes an answer that comes late, from a set that decides no more, for no other', () => {
    const cache = holding(0);
    const next = {};
    cache.keep('body', next, answer('new'));
    cache.keep('body', SET, answer('stale'));
    expect(cache.get('body', next)).toEqual(answer('new'));
  });

  it('holds a thousand answers, and forgets the least recently used', () => {
    const cache = holding(1_000);
    cache.get('body 0', SET);
    cache.keep('one more', SET, answer('new'));
    expect(cache.get('body 1', SET)).toBeUndefined();
    for (const body of ['body 0', 'body 2', 'one more']) expect(cache.get(body, SET)).toBeDefined();
  });

  it('keeps neither long bodies nor long answers', () => {
    const longest = 'x'.repeat(4_096);
    const cache = holding(999);
    cache.keep(longest, SET, answer(longest));
    expect(cache.get(longest, SET)).toBeDefined();
    cache.keep(`${longest}x`, SET, answer('short'));
    cache.keep('short', SET, answer(`${longest}x`));
    expect(cache.get('short', SET)).toBeUndefined();
    // Nothing had to make room for them.
    expect(cache.get('body 0', SET)).toBeDefined();
  });

  it('gives an answer a hundred times, so that what it came from is used now and then', () => {
    const cache = holding(1);
    for (let use = 0; use < 100; use += 1) expect(cache.get('body 0', SET)).toBeDefined();
    expect(cache.get('body 0', SET)).toBeUndefined();
  });
});
