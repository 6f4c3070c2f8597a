import { describe, expect, it } from 'vitest';
import { parseRouteSet } from '../../src/routes/parse.js';
import type { RouteSet } from '../../src/routes/set.js';
import {
  createVectorCache,
  decodeVectors,
  encodeVectors,
  textDigest,
} from '../../src/scoring/vector-cache.js';
import { embedRoutes } from '../../src/scoring/vectors.js';
import { AppError } from '../../src/shared/errors.js';
import { forwardPass, memoryStore, WordEmbedder } from './word-embedder.js';

function setOf(routes: Record<string, readonly string[]>): RouteSet {
  const list = Object.entries(routes).map(([name, utterances]) => ({ name, utterances }));
  return parseRouteSet(JSON.stringify(list), { origin: 'routes.json' });
}

const SET = setOf({ a: ['one two', 'three'], b: ['four', 'one two', 'five six'] });

describe('the vectors of a route set', () => {
  it('stand row by row, those of one route together, each distinct utterance embedded once', async () => {
    const embedder = new WordEmbedder();
    const progress: string[] = [];
    const { vectors, report } = await embedRoutes(SET, embedder, {
      onProgress: (done, total) => progress.push(`${done}/${total}`),
    });
    expect(embedder.asked.toSorted()).toEqual(['five six', 'four', 'one two', 'three']);
    expect(report).toEqual({ embedded: 4, reused: 0, cached: 0, empty: [], cacheFault: undefined });
    expect(progress).toEqual(['1/4', '2/4', '3/4', '4/4']);
    expect([...vectors.offsets]).toEqual([0, 2, 5]);
    const utterances = SET.routes.flatMap((route) => route.utterances);
    for (const [row, text] of utterances.entries()) {
      expect(vectors.matrix.row(row)).toEqual((await embedder.embed(text)).vector);
    }
  });

  it('are taken from the set before where an utterance has not changed', async () => {
    const embedder = new WordEmbedder();
    const { vectors: previous } = await embedRoutes(SET, embedder);
    embedder.asked.length = 0;
    const { vectors, report } = await embedRoutes(setOf({ c: ['seven', 'four'], a: ['three'] }), embedder, {
      previous,
    });
    expect(embedder.asked).toEqual(['seven']);
    expect(report).toMatchObject({ embedded: 1, reused: 2 });
    expect(vectors.matrix.row(1)).toEqual(previous.matrix.row(2));
  });

  it('are embedded by several workers at once, but not by more than allowed', async () => {
    const embedder = new WordEmbedder();
    embedder.before = (_text, signal) => forwardPass(5, signal);
    const many = setOf({ a: Array.from({ length: 20 }, (_, index) => `text ${index}`) });
    await embedRoutes(many, embedder, { concurrency: 4 });
    expect(embedder.mostUnderway).toBe(4);
  });

  it('stop being embedded when aborted, and nothing is under way afterwards', async () => {
    const embedder = new WordEmbedder();
    const stop = new AbortController();
    embedder.before = (_text, signal) => {
      if (embedder.asked.length === 8) stop.abort();
      return forwardPass(5, signal);
    };
    const many = setOf({ a: Array.from({ length: 100 }, (_, index) => `text ${index}`) });
    const work = embedRoutes(many, embedder, { concurrency: 4, signal: stop.signal });
    await expect(work).rejects.toMatchObject({ code: 'aborted' });
    expect(embedder.underway).toBe(0);
    expect(embedder.asked.length).toBeLessThan(20);
  });

  it('wait while the embedder is overloaded, and fail at once when it fails', async () => {
    const embedder = new WordEmbedder();
    let busy = 3;
    embedder.before = () => {
      busy -= 1;
      if (busy >= 0) throw new AppError('overloaded', 'busy', { retryable: true, retryAfterMs: 1 });
    };
    await expect(embedRoutes(SET, embedder)).resolves.toBeDefined();
    embedder.before = () => {
      throw new AppError('draining', 'closing');
    };
    await expect(embedRoutes(SET, embedder)).rejects.toMatchObject({ code: 'draining' });
  });
});

describe('the vector cache', () => {
  const options = { modelKey: 'sha256:model', dimension: 384 };

  it('saves a later boot all embedding', async () => {
    const store = memoryStore();
    const first = await embedRoutes(SET, new WordEmbedder(), { cache: createVectorCache(store, options) });
    const embedder = new WordEmbedder();
    const second = await embedRoutes(SET, embedder, { cache: createVectorCache(store, options) });
    expect(embedder.asked).toEqual([]);
    expect(second.report).toEqual({ embedded: 0, reused: 0, cached: 4, empty: [], cacheFault: undefined });
    for (const row of [0, 1, 2, 3, 4])
      expect(second.vectors.matrix.row(row)).toEqual(first.vectors.matrix.row(row));
    expect(store.saves).toBe(1);
  });

  it('keeps what the latest set does not use, up to a bound, the most recent first', async () => {
    const store = memoryStore();
    const cache = createVectorCache(store, { ...options, keepUnused: 2 });
    const embedder = new WordEmbedder();
    for (const text of ['first', 'second', 'third', 'fourth'])
      await embedRoutes(setOf({ a: [text] }), embedder, { cache });
    const { vectors } = await cache.get(['first', 'second', 'third', 'fourth']);
    expect([...vectors.keys()]).toEqual(['second', 'third', 'fourth']);
  });

  const bytes = Buffer.from(
    encodeVectors('sha256:model', 3, new Map([[textDigest('a'), Float32Array.of(0.8, -0.6, 1e-9)]])),
  );

  it('reads back exactly what it wrote, wherever in memory the bytes lie', () => {
    const shifted = Buffer.alloc(bytes.length + 1);
    bytes.copy(shifted, 1);
    const decoded = decodeVectors('sha256:model', 3, shifted.subarray(1));
    expect(decoded.ok && [...decoded.table]).toEqual([[textDigest('a'), Float32Array.of(0.8, -0.6, 1e-9)]]);
  });

  it.each([
    ['not numbers', Number.NaN],
    ['infinite', Number.POSITIVE_INFINITY],
    ['too long', 1e9],
    ['zero', 0],
  ])('takes no vectors that are %s, whatever their checksum', async (_name, value) => {
    const forged = encodeVectors(
      'sha256:model',
      3,
      new Map([[textDigest('a'), new Float32Array(3).fill(value)]]),
    );
    const store = memoryStore();
    await store.save(forged);
    const cache = createVectorCache(store, { modelKey: 'sha256:model', dimension: 3 });
    expect(await cache.get(['a'])).toEqual({
      vectors: new Map(),
      fault: expect.stringContaining('length is not 1'),
    });
    const own = new Map([['a', Float32Array.of(0.8, -0.6, 0)]]);
    await cache.put(own);
    expect(await cache.get(['a'])).toEqual({ vectors: own });
  });

  it('says how large a file a set can need', async () => {
    const asked: number[] = [];
    const store = { load: async (max: number) => void asked.push(max), save: async () => undefined };
    const cache = createVectorCache(store, { modelKey: 'sha256:model', dimension: 384 });
    await cache.get(['a']);
    await cache.get(['a'], 100_000);
    expect(asked[0]).toBeLessThan(40 * 2 ** 20);
    expect(asked[1]).toBeGreaterThan(100_000 * 1_568);
  });

  it('trusts no file with a single bit flipped, cut off, of another model or another dimension', () => {
    for (let bit = 0; bit < bytes.length * 8; bit += 1) {
      const rotten = Buffer.from(bytes);
      rotten[bit >> 3] = (rotten[bit >> 3] ?? 0) ^ (1 << (bit & 7));
      expect(decodeVectors('sha256:model', 3, rotten).ok, `bit ${bit}`).toBe(false);
    }
    for (let length = 0; length < bytes.length; length += 1) {
      expect(decodeVectors('sha256:model', 3, bytes.subarray(0, length)).ok).toBe(false);
    }
    expect(decodeVectors('sha256:other', 3, bytes)).toEqual({
      ok: false,
      fault: expect.stringContaining('another model'),
    });
    expect(decodeVectors('sha256:model', 4, bytes)).toEqual({
      ok: false,
      fault: expect.stringContaining('dimension'),
    });
  });

  it('names a damaged file and replaces it', async () => {
    const store = memoryStore();
    store.bytes = Buffer.from('garbage');
    const cache = createVectorCache(store, options);
    const { report } = await embedRoutes(SET, new WordEmbedder(), { cache });
    expect(report).toMatchObject({ embedded: 4, cacheFault: expect.stringContaining('cut off') });
    expect((await cache.get(['three'])).vectors.size).toBe(1);
  });

  it('never costs the set when the disk fails', async () => {
    const cache = createVectorCache(
      {
        load: () => Promise.reject(new Error('EIO')),
        save: () => Promise.reject(new Error('ENOSPC')),
      },
      options,
    );
    const { report } = await embedRoutes(SET, new WordEmbedder(), { cache });
    expect(report).toMatchObject({ embedded: 4, cacheFault: 'ENOSPC' });
  });
});
