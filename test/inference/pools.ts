import { afterEach, beforeAll, expect } from 'vitest';
import { type PoolSettings, WorkerPool } from '../../src/inference/pool.js';
import type { ModelBytes } from '../../src/inference/protocol.js';
import type { Log } from '../../src/shared/log.js';
import { eventually } from '../support/eventually.js';
import { bundledModel, goldenCases, workerEntry } from '../support/model.js';

/** Options of a pool under test. */
export type PoolOptions = Partial<PoolSettings & { readonly log: Log }>;

export const silent = { debug() {}, info() {}, warn() {}, error() {} };

export const texts = goldenCases.map(({ text }) => text).filter((text) => text.length < 200);
/** Takes a worker some tenths of a second, so that a test can catch it at work. */
export const slowText = '東'.repeat(400_000);
export const garbage: ModelBytes = { ...bundledModel, model: Buffer.alloc(100_000, 7) };

/** The pools of a test file. */
export interface Pools {
  /** Starts a pool that is closed after the test. */
  start(options?: PoolOptions): WorkerPool;
  /** The same with a model, the bundled one by default, once all its workers are ready. */
  serving(options?: PoolOptions, model?: ModelBytes): Promise<WorkerPool>;
  /** The vector of each of {@link texts} when it runs alone. */
  readonly alone: ReadonlyMap<string, Float32Array>;
}

export function usePools(): Pools {
  const started: WorkerPool[] = [];
  const start = (options: PoolOptions = {}): WorkerPool => {
    const pool = new WorkerPool({ log: silent, workerEntry, workers: 2, backoffMinMs: 20, ...options });
    started.push(pool);
    return pool;
  };
  const serving = async (options: PoolOptions = {}, model = bundledModel): Promise<WorkerPool> => {
    const pool = start(options);
    await pool.load(model);
    await eventually(() =>
      expect(
        pool.status().workers.every(({ state }) => state === 'ready'),
        'all workers ready',
      ).toBe(true),
    );
    return pool;
  };
  const alone = new Map<string, Float32Array>();
  beforeAll(async () => {
    const pool = await serving({ workers: 1 });
    for (const text of texts) alone.set(text, (await pool.embed(text)).vector);
  });
  afterEach(async () => {
    await Promise.all(started.splice(0).map((pool) => pool.close(0)));
  });
  return { start, serving, alone };
}
