import { describe, expect, it } from 'vitest';
import { AnswerCache, type KeptAnswer } from '../../src/http/answer-cache.js';

const SET = {};
const usage = { texts: 1, tokens: 3, truncatedTexts: 0, truncatedTokens: 0 };
const answer = (json: string): KeptAnswer => ({ json, usage, route: 'a', kind: 'routes' });

function holding(count: number): AnswerCache {
  const cache = new AnswerCache();
  cache.get('', SET);
  for (let n = 0; n < count; n += 1) cache.keep(`body ${n}`, SET, answer(`${n}`));
  return cache;
}

describe('AnswerCache', () => {
  it('answers an equal body, and no other', () => {
    const cache = holding(2);
    expect(cache.get('body 1', SET)).toEqual(answer('1'));
    expect(cache.get('body 2', SET)).toBeUndefined();
  });

  it('forgets everything when another set decides', () => {
    const cache = holding(2);
    expect(cache.get('body 0', {})).toBeUndefined();
    expect(cache.get('body 1', SET)).toBeUndefined();
  });

  it('keeps nothing of a set that does not decide any more', () => {
    const cache = holding(0);
    const next = {};
    cache.get('body', next);
    cache.keep('body', SET, answer('stale'));
    expect(cache.get('body', next)).toBeUndefined();
  });

  it('holds a thousand answers, and forgets the least recently used', () => {
    const cache = holding(1_000);
    cache.get('body 0', SET);
    cache.keep('one more', SET, answer('new'));
    expect(cache.get('body 1', SET)).toBeUndefined();
    for (const body of ['body 0', 'body 2', 'one more']) expect(cache.get(body, SET)).toBeDefined();
  });

  it('keeps neither long bodies nor long answers', () => {
    const cache = holding(0);
    const long = 'x'.repeat(8_193);
    cache.keep(long, SET, answer('short'));
    cache.keep('short', SET, answer(long));
    expect(cache.get(long, SET)).toBeUndefined();
    expect(cache.get('short', SET)).toBeUndefined();
  });
});
