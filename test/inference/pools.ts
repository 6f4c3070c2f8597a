import { afterEach, beforeAll } from 'vitest';
import type { ModelBytes } from '../../src/inference/model-bytes.js';
import { createPool, type Pool, type PoolOptions } from '../../src/inference/pool.js';
import { bundledModel, goldenCases, workerEntry } from '../support/model.js';
import { until } from './processes.js';

export const silent = { debug() {}, info() {}, warn() {}, error() {} };

export const texts = goldenCases.map(({ text }) => text).filter((text) => text.length < 200);
/** Takes a worker about a second, so that a test can catch it at work. */
export const slowText = '東'.repeat(1_000_000);
export const garbage: ModelBytes = { ...bundledModel, model: Buffer.alloc(100_000, 7) };

/** The pools of a test file. */
export interface Pools {
  /** Starts a pool that is closed after the test. */
  start(options?: Partial<PoolOptions>): Pool;
  /** The same with the bundled model, once all its workers are ready. */
  serving(options?: Partial<PoolOptions>): Promise<Pool>;
  /** What each of {@link texts} gives when it runs alone. */
  readonly alone: ReadonlyMap<string, Float32Array>;
}

export function usePools(): Pools {
  const started: Pool[] = [];
  const start = (options: Partial<PoolOptions> = {}): Pool => {
    const pool = createPool({ log: silent, workerEntry, workers: 2, backoffMinMs: 20, ...options });
    started.push(pool);
    return pool;
  };
  const serving = async (options: Partial<PoolOptions> = {}): Promise<Pool> => {
    const pool = start(options);
    await pool.load(bundledModel);
    await until(() => pool.status().workers.every(({ state }) => state === 'ready'), 'all workers ready');
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
