import { existsSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { beforeAll, describe, expect, it } from 'vitest';
import { parseRouteSet } from '../../../src/routes/parse.js';
import { Classifier } from '../../../src/scoring/classifier.js';
import { createHeadCache, decodeHeads, encodeHeads } from '../../../src/scoring/head/head-cache.js';
import { type HeadReport, headScoring } from '../../../src/scoring/head/head-scoring.js';
import type { Encoder } from '../../../src/scoring/scorer.js';
import { type ByteStore, createVectorCache } from '../../../src/scoring/vector-cache.js';
import { headWorker } from '../../support/model.js';
import { temporaryFolder } from '../../support/volume.js';
import { MODEL, memoryStore, WordEmbedder } from '../word-embedder.js';

const ROUTES = [
  {
    name: 'billing',
    utterances: [
      'refund my invoice',
      'why was my card charged twice',
      'send the invoice again',
      'card refund',
    ],
    metadata: { queue: 'finance' },
  },
  {
    name: 'weather',
    utterances: [
      'will it rain tomorrow',
      'is it sunny today',
      'rain or sun today',
      'how cold is it tomorrow',
    ],
  },
  {
    name: 'music',
    utterances: ['play some jazz music', 'next song please', 'turn the music up', 'play that song'],
  },
];
const SET = parseRouteSet(JSON.stringify(ROUTES), { origin: 'r.json' });

/** One for all: making a word's vector takes time. */
const embedder = new WordEmbedder();
const auxiliary = createVectorCache(memoryStore(), { modelKey: 'words', dimension: embedder.dimension });

/** Result of loading a set with a head. */
async function load(
  set = SET,
  {
    store = memoryStore(),
    method = 'auto',
  }: { store?: ByteStore; method?: 'auto' | 'head' | 'nearest' } = {},
) {
  embedder.asked.length = 0;
  const encoder: Encoder = { embedder, model: MODEL, heads: createHeadCache(store), auxiliary };
  const reports: HeadReport[] = [];
  const classifier = new Classifier({
    encoder,
    createScorer: headScoring({
      method,
      workerEntry: headWorker,
      onReport: (report) => reports.push(report),
    }),
  });
  await classifier.load(set);
  return { classifier, asked: embedder.asked.length, report: reports.at(-1) };
}

describe('a set with a head', () => {
  let classifier: Classifier;
  beforeAll(async () => {
    ({ classifier } = await load());
  });

  it('names the head in every decision, and explains what it contributed', async () => {
    const { decision } = await classifier.classify({ text: 'is it cold today', explain: true });
    expect(decision.route).toBe('weather');
    expect(decision.scorer).toEqual({
      method: 'head',
      version: 5,
      digest: expect.stringMatching(/^sha256:[0-9a-f]{64}$/),
    });
    for (const { score, contribution } of decision.candidates) {
      const { head = 0, similarity = 0, bias = 0 } = contribution?.log_odds ?? {};
      expect(1 / (1 + Math.exp(-head - similarity - bias))).toBeCloseTo(score, 4);
      expect(contribution?.head_probability).toBeLessThan(1);
    }
  });

  it('explains which words speak for a route', async () => {
    const { decision } = await classifier.classify({ text: 'another invoice, please', explain: true });
    const [best] = decision.candidates;
    expect(best?.route).toBe('billing');
    const [word] = best?.contribution?.words ?? [];
    expect(word).toMatchObject({ text: 'invoice' });
    expect(word?.log_odds).toBeGreaterThan(0);
    for (const { contribution } of decision.candidates.slice(1)) {
      const own = contribution?.words.find(({ text }) => text === 'invoice');
      expect(own?.log_odds ?? 0).toBeLessThan(0);
    }
  });

  it('sends nowhere what is like its texts of no route', async () => {
    const none = ['is my invoice for the concert correct', 'how much is a concert', 'concert tickets please'];
    const set = parseRouteSet(JSON.stringify({ routes: ROUTES, none }), { origin: 'r.json' });
    const text = 'where are my concert tickets';
    for (const method of ['head', 'nearest'] as const) {
      const { classifier: having } = await load(set, { method });
      for (const one of [...none, text])
        expect((await having.classify({ text: one })).decision.route).toBeNull();
      const some = await having.classify({ text, routes: ['music'] });
      expect(some.decision.route).toBeNull();
      const own = await having.classify({ text: 'refund my invoice' });
      expect(own.decision).toMatchObject({ route: 'billing', routes_digest: set.digest });
    }
  });

  it('abstains from what it knows nothing of', async () => {
    expect((await classifier.classify({ text: 'zebras graze quietly' })).decision.route).toBeNull();
  });

  it('returns every route above its threshold with multi, the best first', async () => {
    const text = 'will it rain tomorrow and play some jazz music';
    const { decision } = await classifier.classify({ text, multi: true, threshold: 0.05, top_k: 1 });
    expect(decision.routes?.map(({ route }) => route).toSorted()).toEqual(['music', 'weather']);
    expect(decision.route).toBe(decision.routes?.[0]?.route);
    expect(decision.routes?.[0]).toEqual(decision.candidates[0]);
    const none = await classifier.classify({ text: 'zebras graze quietly', multi: true });
    expect(none.decision).toMatchObject({ route: null, routes: [] });
    const { decision: billing } = await classifier.classify({ text: 'refund my invoice', multi: true });
    expect(billing.routes).toEqual([
      {
        route: 'billing',
        score: billing.score,
        similarity: 1,
        metadata: { queue: 'finance' },
      },
    ]);
    expect((await classifier.classify({ text: 'rain' })).decision).not.toHaveProperty('routes');
  });

  it('has the same head and scores whatever the order in the file', async () => {
    const reversed = ROUTES.toReversed().map((route) => ({
      ...route,
      utterances: route.utterances.toReversed(),
    }));
    const other = await load(parseRouteSet(JSON.stringify(reversed), { origin: 'r.json' }));
    const texts = ['rain tomorrow', 'card song', 'nothing'];
    expect((await other.classifier.classifyBatch(texts, { explain: true })).decisions).toEqual(
      (await classifier.classifyBatch(texts, { explain: true })).decisions,
    );
  });

  it('is scored by nearest utterances when asked to', async () => {
    const { classifier: other, report } = await load(SET, { method: 'nearest' });
    expect((await other.classify({ text: 'rain' })).decision.scorer).toEqual({
      method: 'nearest',
      version: 2,
    });
    expect(report).toMatchObject({ method: 'nearest', trained: false });
  });
});

describe('a set that is too small for a head', () => {
  const one = parseRouteSet('- { name: only, utterances: [a b, c d, e f, g h] }', { origin: 'r.yaml' });

  it('is scored by its nearest utterances, and says why', async () => {
    const { classifier, report } = await load(one);
    expect(report).toMatchObject({ method: 'nearest', reason: expect.stringContaining('two routes') });
    expect((await classifier.classify({ text: 'a b' })).decision).toMatchObject({
      route: 'only',
      scorer: { method: 'nearest' },
    });
  });

  it('is refused where a head is demanded', async () => {
    await expect(load(one, { method: 'head' })).rejects.toMatchObject({
      code: 'routes_invalid',
      message: expect.stringMatching(/^CLASSIFY_METHOD=head: a head needs two routes or more/),
    });
    const text = 'method: head\nroutes: [{ name: only, utterances: [a b, c d, e f] }]';
    await expect(load(parseRouteSet(text, { origin: 'r.yaml' }))).rejects.toMatchObject({
      code: 'routes_invalid',
      issues: [{ path: 'method', message: expect.stringMatching(/^cannot be "head": a head needs two/) }],
    });
  });
});

describe('a head in the cache', () => {
  it('spares the next boot the training, and the texts that go with it', async () => {
    const store = memoryStore();
    const first = await load(SET, { store });
    const second = await load(SET, { store });
    expect([first.report?.trained, second.report?.trained]).toEqual([true, false]);
    expect(second.asked).toBe(SET.utteranceCount);
    const ask = async ({ classifier }: typeof first) =>
      (await classifier.classify({ text: 'rain' })).decision;
    expect(await ask(second)).toEqual(await ask(first));
  });

  it('stays when another set is loaded, so that going back trains nothing', async () => {
    const store = memoryStore();
    const other = parseRouteSet(JSON.stringify(ROUTES.slice(0, 2)), { origin: 'r.json' });
    await load(SET, { store });
    expect((await load(other, { store })).report?.trained).toBe(true);
    expect((await load(SET, { store })).report?.trained).toBe(false);
  });

  it.each([
    [
      'one flipped bit',
      (bytes: Buffer) => Buffer.from(bytes.map((byte, at) => (at === 200 ? byte ^ 1 : byte))),
    ],
    ['a cut', (bytes: Buffer) => bytes.subarray(0, bytes.length - 50)],
    ['nothing but a few bytes', () => Buffer.from('rot')],
  ])('is trained again after %s, and the fault is named', async (_name, rot) => {
    const store = memoryStore();
    const { classifier } = await load(SET, { store });
    const bytes = Buffer.from(store.bytes ?? []);
    store.bytes = rot(bytes);
    const again = await load(SET, { store });
    expect(again.report).toMatchObject({
      trained: true,
      cacheFault: expect.stringContaining('stored heads'),
    });
    const ask = async (by: Classifier) => (await by.classify({ text: 'rain' })).decision;
    expect(await ask(again.classifier)).toEqual(await ask(classifier));
    expect((await load(SET, { store })).report).toMatchObject({ trained: false });
  });

  it.each<[string, (head: Buffer) => Buffer]>([
    ['null', (head) => forged(head, () => null)],
    ['broken JSON', (head) => Buffer.from(head.map((byte, at) => (at === 4 ? 0x78 : byte)))],
    ['one route', (head) => forged(head, (numbers) => ({ ...numbers, routes: 1 }))],
    ['two billion routes', (head) => forged(head, (numbers) => ({ ...numbers, routes: 2e9 }))],
    ['another dimension', (head) => forged(head, (numbers) => ({ ...numbers, dimension: 383 }))],
    ['no calibration', (head) => forged(head, ({ calibration: _, ...numbers }) => numbers)],
    ['a threshold of text', (head) => forged(head, (numbers) => ({ ...numbers, threshold: 'low' }))],
    ['weights that are no numbers', (head) => head.fill(0xff, jsonEnd(head), jsonEnd(head) + 4)],
    ['words of a route that is not there', (head) => head.fill(0xff, head.length - 2)],
    [
      'more words than it has',
      (head) =>
        forged(head, (numbers) => ({ ...numbers, words: { ...Object(numbers.words), entries: 2e9 } })),
    ],
    ['too few weights', (head) => head.subarray(0, -4)],
    ['a length beyond its end', (head) => Buffer.concat([Buffer.alloc(4, 0xff), head.subarray(4)])],
    ['nothing', () => Buffer.alloc(0)],
  ])('that was forged with %s, under a right checksum, is trained anew', async (_name, forge) => {
    const store = memoryStore();
    await load(SET, { store });
    const before = decodeHeads(store.bytes ?? new Uint8Array());
    if (!before.ok) throw new Error(before.fault);
    store.bytes = encodeHeads(
      new Map([...before.table].map(([key, head]) => [key, forge(Buffer.from(head))])),
    );
    const again = await load(SET, { store });
    expect(again.report).toMatchObject({ method: 'head', trained: true, cacheFault: expect.any(String) });
    expect((await again.classifier.classify({ text: 'rain' })).decision.route).toBe('weather');
    const after = decodeHeads(store.bytes);
    expect(after.ok && [...after.table].map(([key, head]) => [key, Buffer.from(head)])).toEqual(
      [...before.table].map(([key, head]) => [key, Buffer.from(head)]),
    );
    expect((await load(SET, { store })).report?.trained).toBe(false);
  });

  it('costs only time where it cannot be kept', async () => {
    const store: ByteStore = {
      load: async () => undefined,
      save: async () => {
        throw new Error('disk full');
      },
    };
    expect((await load(SET, { store })).report).toMatchObject({ trained: true, cacheFault: 'disk full' });
  });
});

describe('training', () => {
  it('can be aborted, and the old set goes on', async () => {
    const { classifier } = await load();
    const words = Array.from({ length: 60 }, (_, i) => `word${i}`);
    const large = words.map((name, r) => ({
      name,
      utterances: Array.from(
        { length: 20 },
        (_, u) => `${name} ${words[(r + u) % 60]} ${words[(u * 7) % 60]} ${u}`,
      ),
    }));
    const set = parseRouteSet(JSON.stringify(large), { origin: 'r.json' });
    const stop = new AbortController();
    let embedded = false;
    const work = classifier.load(set, {
      signal: stop.signal,
      onProgress: (done, total) => {
        embedded = done === total;
        if (embedded) setTimeout(() => stop.abort(), 20);
      },
    });
    await expect(work).rejects.toMatchObject({ code: 'aborted' });
    expect(embedded).toBe(true);
    expect((await classifier.classify({ text: 'rain' })).decision.routes_digest).toBe(SET.digest);
  });

  it('whose process is killed trains again, once', async () => {
    const folder = await temporaryFolder();
    const entry = join(folder, 'killed-once.mjs');
    await writeFile(
      entry,
      `import { existsSync, writeFileSync } from 'node:fs';
      const mark = ${JSON.stringify(join(folder, 'mark'))};
      const isFirst = !existsSync(mark);
      writeFileSync(mark, '');
      if (isFirst) process.kill(process.pid, 'SIGKILL');
      await import(${JSON.stringify(headWorker.href)});`,
    );
    const reports: HeadReport[] = [];
    const classifier = new Classifier({
      encoder: { embedder, model: MODEL },
      createScorer: headScoring({
        workerEntry: pathToFileURL(entry),
        onReport: (report) => reports.push(report),
      }),
    });
    await classifier.load(SET);
    expect(existsSync(join(folder, 'mark'))).toBe(true);
    expect(reports[0]).toMatchObject({ method: 'head', trained: true });
  });

  it('that fails leaves a set that is scored by nearest, or is an error where a head is demanded', async () => {
    const broken = new URL('../../support/broken-module.mjs', import.meta.url);
    const make = (method: 'auto' | 'head', reports: HeadReport[]): Classifier =>
      new Classifier({
        encoder: { embedder, model: MODEL },
        createScorer: headScoring({
          method,
          workerEntry: broken,
          onReport: (report) => reports.push(report),
        }),
      });
    const reports: HeadReport[] = [];
    await make('auto', reports).load(SET);
    expect(reports[0]).toMatchObject({
      method: 'nearest',
      reason: expect.stringContaining('its process ended with code 1'),
    });
    await expect(make('head', []).load(SET)).rejects.toMatchObject({ code: 'internal' });
  });
});

function jsonEnd(head: Buffer): number {
  return 4 + head.readUInt32LE(0);
}

/** The head with other numbers before its weights. */
function forged(head: Buffer, change: (numbers: Record<string, unknown>) => unknown): Buffer {
  const end = jsonEnd(head);
  const json = Buffer.from(JSON.stringify(change(JSON.parse(head.toString('utf8', 4, end)))));
  const length = Buffer.alloc(4);
  length.writeUInt32LE(json.length);
  return Buffer.concat([length, json, head.subarray(end)]);
}
