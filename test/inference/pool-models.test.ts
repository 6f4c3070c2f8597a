import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it, onTestFinished } from 'vitest';
import type { ModelBytes, PlacedFile } from '../../src/inference/model-bytes.js';
import { bundledModel, modelFile } from '../support/model.js';
import { garbage, usePools } from './pools.js';
import { isAlive, pidsOf, until } from './processes.js';

const { start, serving, alone } = usePools();

describe('a model at fault', () => {
  const [first, ...rest] = bundledModel.canary.cases;
  const wrongCanary = {
    ...bundledModel.canary,
    cases: [{ text: 'Something else entirely', embedding: first?.embedding ?? '' }, ...rest],
  };

  it.each([
    ['a garbage graph', garbage, 'model_unloadable'],
    ['a garbage tokenizer', { ...bundledModel, tokenizer: Buffer.from('{}') }, 'model_unloadable'],
    [
      'another dimension',
      { ...bundledModel, spec: { ...bundledModel.spec, dimension: 768 } },
      'model_unloadable',
    ],
    ['a canary it does not know', { ...bundledModel, canary: wrongCanary }, 'canary_mismatch'],
  ])('%s: refused once, and no restart loop', async (_, model, code) => {
    const pool = start();
    const pids = pidsOf(pool);
    await expect(pool.load(model)).rejects.toMatchObject({ code, retryable: false });
    await new Promise((resolve) => setTimeout(resolve, 200));
    expect(pool.status()).toMatchObject({ ready: false, totals: { restarts: 0 } });
    expect(pids.filter(isAlive)).toEqual([]);
  });

  it('is forgiven: a good one loads afterwards', async () => {
    const pool = start({ workers: 1 });
    await expect(pool.load(garbage)).rejects.toMatchObject({ code: 'model_unloadable' });
    await pool.load(bundledModel);
    expect((await pool.embed('hi')).vector).toEqual(alone.get('hi'));
  });
});

describe('a model that the first worker begins with by itself', () => {
  const { spec, canary } = bundledModel;
  const digest = 'sha256:bundled';
  const place = (path: string, ...before: string[]): PlacedFile => ({
    paths: [...before, fileURLToPath(new URL(`../../model/${path}`, import.meta.url))],
    size: modelFile(path).length,
    sha256: createHash('sha256').update(modelFile(path)).digest('hex'),
  });
  const others = [place(spec.tokenizer), place(spec.tokenizer_config)];

  it.each([
    ['where it lies', () => []],
    ['behind a link, a folder, a file that rotted and one that was cut', rotten],
  ])('is read %s, and no byte of it through the daemon', async (_, before) => {
    const pool = start({ workers: 1 });
    pool.begin({ digest, spec, canary, files: [place(spec.model, ...before()), ...others] });
    await pool.load({ ...garbage, digest });
    expect((await pool.embed('hi')).vector).toEqual(alone.get('hi'));
    expect(pool.status().totals.restarts).toBe(0);
  });

  it('waits for the bytes where there are none', async () => {
    const pool = start({ workers: 1 });
    const [weights] = [place(spec.model)];
    pool.begin({ digest, spec, canary, files: [{ ...weights, paths: rotten() }, ...others] });
    await pool.load({ ...bundledModel, digest });
    expect((await pool.embed('hi')).vector).toEqual(alone.get('hi'));
    expect(pool.status().totals.restarts).toBe(0);
  });

  it('is not taken for another one', async () => {
    const pool = start({ workers: 1 });
    pool.begin({ digest, spec, canary, files: [place(spec.model), ...others] });
    await expect(pool.load({ ...garbage, digest: 'sha256:garbage' })).rejects.toMatchObject({
      code: 'model_unloadable',
    });
  });

  /** Paths where other bytes lie than the pinned ones. */
  function rotten(): string[] {
    const folder = mkdtempSync(join(tmpdir(), 'ai-router-places-'));
    onTestFinished(() => rmSync(folder, { recursive: true }));
    const bytes = modelFile(spec.model);
    writeFileSync(join(folder, 'cut'), bytes.subarray(1));
    bytes[bytes.length >> 1] = ~(bytes[bytes.length >> 1] ?? 0);
    writeFileSync(join(folder, 'rotted'), bytes);
    symlinkSync(fileURLToPath(new URL(`../../model/${spec.model}`, import.meta.url)), join(folder, 'link'));
    return ['missing', 'link', '', 'rotted', 'cut'].map((name) => join(folder, name));
  }
});

describe('what is prepared while a model is loaded', () => {
  it('has an embedder that waits for the model', async () => {
    const pool = start({ workers: 1 });
    let ready: boolean | undefined;
    await pool.load(bundledModel, async (embedder, proven) => {
      ready = pool.status().ready;
      expect((await embedder.embed('hi')).vector).toEqual(alone.get('hi'));
      await proven;
    });
    expect([ready, pool.status().ready]).toEqual([false, true]);
  });

  it('learns that there will be none', async () => {
    const pool = start({ workers: 1 });
    const learned: unknown[] = [];
    const load = pool.load(garbage, async (embedder, proven) => {
      learned.push(...(await Promise.allSettled([embedder.embed('hi'), proven])));
    });
    await expect(load).rejects.toMatchObject({ code: 'model_unloadable' });
    const refusal = { status: 'rejected', reason: { code: 'model_unloadable' } };
    expect(learned).toMatchObject([refusal, refusal]);
  });
});

describe('another model while one serves', () => {
  const unscaled: ModelBytes = { ...bundledModel, spec: { ...bundledModel.spec, normalize: false } };
  const isUnscaled = (vector: Float32Array) => Math.abs(Math.hypot(...vector) - 1) > 0.1;

  it('takes over without a text lost, and the old workers end', async () => {
    const pool = await serving();
    const old = pidsOf(pool);
    let loaded = false;
    let embedded = 0;
    const traffic = (async () => {
      while (!loaded) {
        const pair = await Promise.all([pool.embed('hi'), pool.embed('hello there')]);
        embedded += pair.length;
      }
    })();
    let prepared: Float32Array | undefined;
    await pool.load(unscaled, async (embedder) => {
      prepared = (await embedder.embed('hi')).vector;
      expect(isUnscaled((await pool.embed('hi')).vector)).toBe(false);
    });
    loaded = true;
    await traffic;
    expect(embedded).toBeGreaterThan(0);
    const { vector } = await pool.embed('hi');
    expect(isUnscaled(vector)).toBe(true);
    expect(vector).toEqual(prepared);
    await until(() => !old.some(isAlive), 'the old workers gone');
    expect(pool.status().totals.restarts).toBe(0);
  });

  it.each([
    ['cannot be loaded', garbage, undefined, { code: 'model_unloadable' }],
    [
      'loads, but cannot be prepared for',
      unscaled,
      () => Promise.reject(new Error('no routes')),
      { message: 'no routes' },
    ],
  ])('%s: the old one goes on', async (_, model, prepare, error) => {
    const pool = await serving();
    const pids = pidsOf(pool);
    await expect(pool.load(model, prepare)).rejects.toMatchObject(error);
    expect(pidsOf(pool)).toEqual(pids);
    expect(pool.status()).toMatchObject({ ready: true, incoming: [] });
    expect((await pool.embed('hi')).vector).toEqual(alone.get('hi'));
  });
});
