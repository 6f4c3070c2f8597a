import { describe, expect, it } from 'vitest';
import { type Embedder, EmbeddingCache } from '../../src/inference/embedder.js';

function counting(): Embedder & { asked: string[] } {
  const asked: string[] = [];
  return {
    dimension: 2,
    asked,
    admit(texts) {
      if (texts.length > 1) throw new Error(`too many: ${texts}`);
    },
    async embed(text) {
      asked.push(text);
      if (text === 'bad') throw new Error('no');
      const timing = { queueMs: 1, tokenizeMs: 1, inferenceMs: 1 };
      return {
        vector: Float32Array.of(text.length, 1),
        tokens: text.length,
        truncatedTokens: 0,
        legibility: 'legible',
        timing,
      };
    },
  };
}

describe('EmbeddingCache', () => {
  it('asks once for a text, and says that it took no time', async () => {
    const embedder = counting();
    const cache = new EmbeddingCache(embedder, 10_000);
    const first = await cache.embed('hello');
    const second = await cache.embed('hello');
    expect(embedder.asked).toEqual(['hello']);
    expect(second).toMatchObject({ vector: first.vector, tokens: 5, timing: { inferenceMs: 0 } });
    expect(cache.status).toMatchObject({ hits: 1, misses: 1, entries: 1 });
  });

  it('forgets the least recently used, and never holds more than it may', async () => {
    const embedder = counting();
    const cache = new EmbeddingCache(embedder, 900);
    for (const text of ['a', 'b', 'c']) await cache.embed(text);
    await cache.embed('a');
    await cache.embed('d');
    expect(cache.status.bytes).toBeLessThanOrEqual(900);
    embedder.asked.length = 0;
    await cache.embed('a');
    expect(embedder.asked).toEqual([]);
    await cache.embed('b');
    expect(embedder.asked).toEqual(['b']);
  });

  it('asks for those texts of a request to be let in that it does not know', async () => {
    const cache = new EmbeddingCache(counting(), 10_000);
    await cache.embed('known');
    expect(() => cache.admit(['known', 'known'])).not.toThrow();
    expect(() => cache.admit(['known', 'new'])).not.toThrow();
    expect(() => cache.admit(['new', 'known', 'newer'])).toThrow('too many: new,newer');
  });

  it('remembers neither failures nor what is too large, nor anything when it may not', async () => {
    const embedder = counting();
    const cache = new EmbeddingCache(embedder, 400);
    await expect(cache.embed('bad')).rejects.toThrow('no');
    await expect(cache.embed('bad')).rejects.toThrow('no');
    await cache.embed('x'.repeat(400));
    expect(cache.status.entries).toBe(0);
    const none = new EmbeddingCache(embedder, 0);
    await none.embed('a');
    expect(none.status).toMatchObject({ entries: 0, bytes: 0 });
  });
});
