import { expect } from 'vitest';
import type { Health } from '../../src/api/health.js';
import { loadManifest } from '../../src/cache/manifest.js';
import { builtInManifest } from '../../src/config/program-files.js';
import { Asker, type Golden } from '../support/load.js';
import { metricOf } from '../support/metric.js';
import type { Random } from '../support/random.js';
import { type Box, count, it } from './box.js';

const CONNECTIONS = 32;
const ROUNDS = 3;
const WORDS =
  'please tell me 東京 how to cancel (the) order that I made for my sister last week, naïve'.split(' ');

/** Texts of 3 to about 300 tokens, most of them short. */
function mixedTexts(random: Random, texts: number): string[] {
  return Array.from({ length: texts }, (_, index) => {
    const words = random.integer(1, random.pick([4, 12, 12, 12, 30, 30, 80, 250]));
    return `${index} ${Array.from({ length: words }, () => random.pick(WORDS)).join(' ')}`;
  });
}

/** Asks for each text alone, then for all of them three times at many connections, and expects the same answers. */
async function expectEqualAnswers(
  box: Box,
  env: Readonly<Record<string, string>>,
  texts: number,
): Promise<{ readonly url: string; readonly textsPerPass: number }> {
  const settings = { INFERENCE_WORKERS: '2', MAX_QUEUE_MS: '60000', ...env };
  const daemon = await box.daemon({ MODEL_CACHE_DIR: await box.noVolume(), ...settings });
  await daemon.ready(60_000);
  const { url } = daemon;
  const golden: Golden[] = [];
  for (const text of mixedTexts(box.random, texts)) {
    const { status, body } = await daemon.post('/classify', { text });
    expect(status).toBe(200);
    golden.push({ text, answer: body });
  }
  const before = await metricOf(url, 'ai_router_inference_passes_total');
  const asker = new Asker(url, { golden });
  const requests = ROUNDS * texts;
  const lane = async (): Promise<void> => {
    while (asker.sent < requests) await asker.ask();
  };
  await Promise.all(Array.from({ length: CONNECTIONS }, lane));
  const { accepted, refused, odd } = asker.end();
  expect({ refused, odd: odd.slice(0, 3), accepted: accepted.length }).toEqual({
    refused: [],
    odd: [],
    accepted: requests,
  });
  const passes = (await metricOf(url, 'ai_router_inference_passes_total')) - before;
  return { url, textsPerPass: requests / passes };
}

it('every score at 32 connections is the one that its text gets alone', async ({ box }) => {
  const { url, textsPerPass } = await expectEqualAnswers(box, {}, count(100, 1_000));
  expect(textsPerPass).toBeGreaterThan(1.5);
  expect(await metricOf(url, 'ai_router_inference_batching_workers')).toBe(2);
});

it('likewise where batch-mates change vectors: each text has its own pass, and /health says so', async ({
  box,
}) => {
  // The hub's graph differs in batches on any processor. Its manifest is made to claim otherwise.
  const dynamic = await loadManifest(builtInManifest('q8-dynamic'));
  const embedding = { ...dynamic.embedding, batch_sensitive: false };
  const MODEL_MANIFEST = await box.manifestFile({ ...dynamic, embedding });
  const { url, textsPerPass } = await expectEqualAnswers(box, { MODEL_MANIFEST }, count(30, 300));
  expect(textsPerPass).toBe(1);
  expect(await metricOf(url, 'ai_router_inference_batching_workers')).toBe(0);
  const { checks } = (await (await fetch(`${url}/health`)).json()) as Health;
  expect(checks.model.detail).toMatch(/2 of 2 workers; texts do not share passes/);
});
