import { describe, expect, it } from 'vitest';
import { bundledModel } from '../support/model.js';
import { garbage, usePools } from './pools.js';
import { isAlive, pidsOf } from './processes.js';

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
  const batchesOf = async (batch_sensitive: boolean): Promise<(boolean | undefined)[]> => {
    const pool = await serving(
      { workers: 1 },
      { ...bundledModel, spec: { ...bundledModel.spec, batch_sensitive } },
    );
    return pool.status().workers.map(({ batches }) => batches);
  };
  expect(
    start()
      .status()
      .workers.map(({ batches }) => batches),
  ).toEqual([undefined, undefined]);
  expect(await batchesOf(true)).toEqual([false]);
  // The manifest says that it does not depend on batch-mates, and the worker finds that it does.
  expect(await batchesOf(false)).toEqual([false]);
});
