import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { ModelIdentity } from '../../src/api/classify.js';
import { loadManifest } from '../../src/cache/manifest.js';
import { backgroundFile, builtInManifest, type Variant } from '../../src/config/program-files.js';
import { WorkerPool } from '../../src/inference/pool.js';
import { parseRouteSet } from '../../src/routes/parse.js';
import type { RouteSet } from '../../src/routes/set.js';
import { Classifier } from '../../src/scoring/classifier.js';
import { headScoring } from '../../src/scoring/head/head-scoring.js';
import { BACKGROUND, decodeBackground } from '../../src/scoring/noise.js';
import { bundledModel, cosine, headWorker, workerEntry } from '../support/model.js';
import { IN_SCOPE, IN_SCOPE_UNSEEN, OUT_OF_SCOPE, TRADE } from './held-out.js';
import { HELD_OUT, SMALL_SETS } from './probes.js';

const model: ModelIdentity = { id: 'bundled', revision: 'pinned', variant: 'q8', digest: 'sha256:pinned' };
const silent = { debug() {}, info() {}, warn() {}, error() {} };

function routesFile(name: string): RouteSet {
  const text = readFileSync(new URL(`../../routes/${name}`, import.meta.url), 'utf8');
  return parseRouteSet(text, { origin: name });
}

/** The background vectors that come with the program. */
async function shipped(variant: Variant): Promise<Float32Array | undefined> {
  const { digest, embedding } = await loadManifest(builtInManifest(variant));
  return decodeBackground(readFileSync(backgroundFile(variant)), digest, embedding.dimension);
}

/** Share of texts that were sent anywhere, and where. */
async function taken(
  classifier: Classifier,
  texts: readonly string[],
): Promise<{ share: number; list: string }> {
  const { decisions } = await classifier.classifyBatch(texts);
  const sent = texts.flatMap((text, index) => {
    const { route = null, score } = decisions[index] ?? {};
    return route === null ? [] : [`${text} → ${route} ${score}`];
  });
  return { share: sent.length / texts.length, list: sent.join('\n') };
}

describe.each(['nearest', 'head'] as const)('the default route set on the real model, by %s', (method) => {
  const set = routesFile('default.yaml');
  let pool: WorkerPool;
  let classifier: Classifier;

  beforeAll(async () => {
    pool = new WorkerPool({ log: silent, workerEntry, workers: 2 });
    await pool.load(bundledModel);
    classifier = new Classifier({
      encoder: { embedder: pool, model, background: async () => shipped('q8') },
      createScorer: headScoring({ method, workerEntry: headWorker }),
    });
    await classifier.load(set);
  });

  afterAll(async () => {
    classifier?.close();
    await pool?.close(0);
  });

  it.runIf(method === 'head')('embeds the background as a reference machine did', async () => {
    const [q8, fp32] = [await shipped('q8'), await shipped('fp32')];
    const cosines = await Promise.all(
      BACKGROUND.map(async (text, row) => {
        const { vector } = await pool.embed(text);
        const at = (all: Float32Array | undefined) => all?.subarray(row * 384, (row + 1) * 384) ?? [];
        return [cosine(vector, at(q8)), cosine(vector, at(fp32))] as const;
      }),
    );
    // Another processor rounds differently, as the canary allows for; another model's vectors are far off.
    for (const [same, other] of cosines) {
      expect(same).toBeGreaterThan(0.98);
      expect(other).toBeGreaterThan(0.9);
    }
    const sum = cosines.reduce((total, [same]) => total + same, 0);
    expect(sum / cosines.length).toBeGreaterThan(0.99);
  });

  /** Share of texts that went where they should, and what went elsewhere. */
  async function routed(expected: typeof IN_SCOPE): Promise<{ share: number; missed: string[] }> {
    const { decisions } = await classifier.classifyBatch(expected.map(([text]) => text));
    const missed = expected.flatMap(([text, route], index) => {
      const got = decisions[index]?.route ?? null;
      return got === route ? [] : [`${text} → ${got ?? '(none)'} instead of ${route}`];
    });
    return { share: 1 - missed.length / expected.length, missed };
  }

  it('is as large and as varied as promised', () => {
    expect(set.routes.length).toBeGreaterThanOrEqual(14);
    for (const { utterances, description, metadata } of set.routes) {
      expect(utterances.length).toBeGreaterThanOrEqual(14);
      expect(description).toBeDefined();
      expect(metadata).toBeDefined();
    }
    expect(set.warnings).toEqual([]);
    const own = new Set(set.routes.flatMap(({ utterances }) => utterances.map((text) => text.toLowerCase())));
    for (const [text] of [...IN_SCOPE, ...IN_SCOPE_UNSEEN]) expect(own.has(text.toLowerCase())).toBe(false);
  });

  it('routes 90 % of the texts that it was improved with, and 80 % of those it was not', async () => {
    const seen = await routed(IN_SCOPE);
    expect(seen.share, seen.missed.join('\n')).toBeGreaterThanOrEqual(0.9);
    const unseen = await routed(IN_SCOPE_UNSEEN);
    expect(unseen.share, unseen.missed.join('\n')).toBeGreaterThanOrEqual(0.8);
  });

  it('abstains from most texts that no route is for', async () => {
    const { share, list } = await taken(classifier, OUT_OF_SCOPE);
    expect(share, list).toBeLessThanOrEqual(method === 'head' ? 0.2 : 0.4);
  });

  it('abstains from noise and from other languages, and reads a request that quotes one', async () => {
    for (const kind of ['symbols', 'keyboard'] as const) {
      const { share, list } = await taken(classifier, HELD_OUT[kind]);
      expect(share, list).toBe(0);
    }
    const { share, list } = await taken(classifier, HELD_OUT.languages);
    expect(share, list).toBeLessThanOrEqual(0.05);
    const asked = ['nonsense', 'languages', 'symbols', 'names', 'keyboard'] as const;
    const all = await taken(
      classifier,
      asked.flatMap((each) => HELD_OUT[each]),
    );
    expect(all.share, all.list).toBeLessThanOrEqual(0.05);
    const quoting = await routed(HELD_OUT.quoting.map((text) => [text, 'translation'] as const));
    expect(quoting.share, quoting.missed.join('\n')).toBeGreaterThanOrEqual(0.75);
  });

  it('reads words that the vocabulary has in pieces only, and says what it cannot read', async () => {
    const trade = await routed(TRADE);
    expect(trade.share, trade.missed.join('\n')).toBeGreaterThanOrEqual(0.75);
    const legible = async (texts: readonly string[]): Promise<number> => {
      const { decisions } = await classifier.classifyBatch(texts);
      return decisions.filter((decision) => decision.legible !== false).length / texts.length;
    };
    expect(await legible(TRADE.map(([text]) => text))).toBeGreaterThanOrEqual(0.9);
    expect(await legible(HELD_OUT.languages)).toBeLessThanOrEqual(0.05);
  });

  it('sends no name and no nonsense to labels by name alone', async () => {
    const labels = ['hardware', 'software', 'network', 'orders', 'billing'];
    const texts = [...HELD_OUT.nonsense, ...HELD_OUT.names, ...HELD_OUT.languages];
    const { decisions } = await classifier.classifyBatch(texts, { labels });
    const sent = texts.filter((_, index) => decisions[index]?.route !== null);
    expect(sent.length / texts.length, sent.join('\n')).toBeLessThanOrEqual(0.05);
    const { decision } = await classifier.classify({
      text: 'the screen stays black',
      labels: ['hardware', 'billing'],
    });
    expect(decision.score).toBeLessThan(0.75);
  });

  it('takes labels by name alone', async () => {
    const labels = ['cooking', 'politics', 'sports'];
    const at = async (text: string) => (await classifier.classify({ text, labels })).decision.route;
    expect(await at('fry the onions in butter')).toBe('cooking');
    expect(await at('parliament passed the new bill')).toBe('politics');
    expect(await at('they scored in the last minute of the match')).toBe('sports');
  });
});

describe.each(Object.entries(SMALL_SETS))('a set of %s utterances', (_, utterances) => {
  it.each(['auto', 'nearest'] as const)(
    'is not confident about what is like none of them, by %s',
    async (method) => {
      const pool = new WorkerPool({ log: silent, workerEntry, workers: 2 });
      await pool.load(bundledModel);
      const classifier = new Classifier({
        encoder: { embedder: pool, model, background: async () => shipped('q8') },
        createScorer: headScoring({ method, workerEntry: headWorker }),
      });
      try {
        const routes = Object.entries(utterances).map(([name, texts]) => ({ name, utterances: texts }));
        await classifier.load(parseRouteSet(JSON.stringify({ routes }), { origin: 'small.json' }));
        const { quoting: _quoting, ...kinds } = HELD_OUT;
        const { share, list } = await taken(classifier, Object.values(kinds).flat());
        expect(share, list).toBeLessThanOrEqual(0.05);
        const { decision } = await classifier.classify({ text: 'zebra quantum flux' });
        expect(decision.route).toBeNull();
        expect(decision.score).toBeLessThan(0.1);
        const own = routes.flatMap(({ name, utterances: [text = ''] }) => [[text, name] as const]);
        for (const [text, name] of own) {
          expect((await classifier.classify({ text })).decision.route).toBe(name);
        }
      } finally {
        classifier.close();
        await pool.close(0);
      }
    },
  );
});
