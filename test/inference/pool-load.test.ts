import { describe, expect, it } from 'vitest';
import type { WorkerPool } from '../../src/inference/pool.js';
import { eventually } from '../support/eventually.js';
import { bundledModel } from '../support/model.js';
import { isAlive, memoryOf, pidsOf } from '../support/processes.js';
import { garbage, usePools } from './pools.js';

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
  ])('%s: rejected once, and no restart loop', async (_, model, code) => {
    const pool = start();
    const pids = pidsOf(pool);
    await expect(pool.load(model)).rejects.toMatchObject({ code, retryable: false });
    expect(pids.filter(isAlive)).toEqual([]);
    expect(pool.status()).toMatchObject({ ready: false, totals: { restarts: 0 } });
    expect(pidsOf(pool)).toEqual([]);
    await expect(pool.embed('hi')).rejects.toMatchObject({ code: 'not_ready' });
  });

  it('does not spoil the pool: a good one loads afterwards, and is the last', async () => {
    const pool = start({ workers: 1 });
    await expect(pool.load(garbage)).rejects.toMatchObject({ code: 'model_unloadable' });
    await pool.load(bundledModel);
    expect((await pool.embed('hi')).vector).toEqual(alone.get('hi'));
    await expect(pool.load(bundledModel)).rejects.toMatchObject({ code: 'internal' });
    expect((await pool.embed('hi')).vector).toEqual(alone.get('hi'));
  });
});

describe('a text that comes while the model is loaded', () => {
  it('waits for the model', async () => {
    const pool = start({ workers: 1 });
    const load = pool.load(bundledModel);
    expect(pool.dimension).toBe(384);
    const embedding = pool.embed('hi');
    expect(pool.status()).toMatchObject({ ready: false, waiting: 1, executing: 0 });
    expect((await embedding).vector).toEqual(alone.get('hi'));
    await load;
    expect(pool.status().ready).toBe(true);
  });

  it('fails with the model', async () => {
    const pool = start({ workers: 1 });
    const load = pool.load(garbage);
    const outcomes = await Promise.allSettled([pool.embed('hi'), load]);
    const failure = { status: 'rejected', reason: { code: 'model_unloadable' } };
    expect(outcomes).toMatchObject([failure, failure]);
  });
});

it('each worker says whether texts share its passes', async () => {
  const batchesOf = (pool: WorkerPool) => pool.status().workers.map(({ batches }) => batches);
  expect(batchesOf(start())).toEqual([undefined, undefined]);
  const { spec, canary } = bundledModel;
  const sensitive = { ...bundledModel, spec: { ...spec, batch_sensitive: true } };
  expect(batchesOf(await serving({ workers: 1 }, sensitive))).toEqual([false]);
  // The manifest says that batch-mates change nothing, and the worker finds that they do.
  const dynamic = { ...bundledModel, canary: { ...canary, min_cosine: 0.9 }, recipe: undefined };
  expect(batchesOf(await serving({ workers: 1 }, dynamic))).toEqual([false]);
});

it.skipIf(process.platform !== 'linux')(
  'a worker keeps neither the received file nor the derived graph',
  async () => {
    const pool = await serving({ workers: 1 });
    const [{ pid } = { pid: null }] = pool.status().workers;
    // 56 MB without, 102 with them.
    await eventually(() => expect(memoryOf([pid ?? 0])).toBeLessThan(80));
  },
);

describe('q8 with fixed scales', () => {
  it('shares passes among waiting texts, and each vector is what the text has alone, to the bit', async () => {
    const pool = await serving();
    expect(pool.status().workers.map(({ batches }) => batches)).toEqual([true, true]);
    const words = 'please tell me how to cancel the order that I made for my sister last week'.split(' ');
    const many = Array.from({ length: 300 }, (_, index) => {
      const length = 1 + ((index * 7) % 16);
      return `${words.slice(0, length).join(' ')} ${index % 40 === 0 ? 'word '.repeat(300) : index}`;
    });
    const single: Float32Array[] = [];
    for (const text of many) single.push((await pool.embed(text)).vector);
    const before = pool.status().totals.passes;
    expect(before).toBe(many.length);
    const together = await Promise.all(many.map((text) => pool.embed(text)));
    expect(together.map(({ vector }) => vector)).toEqual(single);
    expect(pool.status().totals.passes - before).toBeLessThan(many.length / 2);
  });

  it('lets texts that arrive together share the first pass', async () => {
    const pool = await serving({ workers: 1 });
    const { passes } = pool.status().totals;
    await Promise.all(['one parcel', 'two parcels', 'three parcels'].map((text) => pool.embed(text)));
    expect(pool.status().totals.passes - passes).toBe(1);
  });

  it('waits a moment for the next texts of clients that it answered, which then share one pass', async () => {
    const pool = await serving({ workers: 1 });
    const lane = async (texts: readonly string[]): Promise<void> => {
      for (const text of texts) await pool.embed(text);
    };
    const lanes = Array.from({ length: 6 }, (_, index) => new Array<string>(20).fill(`parcel ${index}`));
    // Half of the lanes would otherwise wait for the pass of the other half: three texts a pass. A busy machine may be late.
    await eventually(async () => {
      const { passes, embedded } = pool.status().totals;
      await Promise.all(lanes.map(lane));
      const { totals } = pool.status();
      expect((totals.embedded - embedded) / (totals.passes - passes)).toBeGreaterThan(4);
    });
  });

  it('is not loaded with a recipe of another file', async () => {
    const pool = start({ workers: 1 });
    const other = { ...bundledModel, model: Buffer.concat([bundledModel.model, Buffer.of(0)]) };
    await expect(pool.load(other)).rejects.toMatchObject({ code: 'model_unloadable' });
  });
});
