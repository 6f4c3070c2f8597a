import { availableParallelism } from 'node:os';

/** Everything about a pool that can be set. */
export interface PoolSettings {
  /** Worker processes, each with one single-threaded session. */
  readonly workers: number;
  /** The compiled `inference-worker.js`. */
  readonly workerEntry: URL;
  /** Texts that may wait; more are refused with `overloaded`. */
  readonly maxQueue: number;
  /** Longest wait before texts are refused, in milliseconds, estimated from the work that waits already. */
  readonly maxQueueMs: number;
  /** Groups of texts at one worker: one executing, the others waiting there so that it never idles. */
  readonly groupsPerWorker: number;
  /**
   * Texts that wait go to a worker in groups of about this many milliseconds of work: each message wakes somebody
   * who takes a core from a forward pass, and nobody is answered before the whole group is.
   */
  readonly groupMs: number;
  /** The same where texts of a group may share forward passes: the more there are, the more find their like. */
  readonly batchGroupMs: number;
  /** A worker that has not answered a group of texts after this long is killed and replaced. */
  readonly hangTimeoutMs: number;
  /** The same for loading a model, libraries and canary included. */
  readonly loadTimeoutMs: number;
  /** Wait before a lost worker's successor starts; doubles with each loss in a row. */
  readonly backoffMinMs: number;
  readonly backoffMaxMs: number;
  /** A worker that served this long was healthy: its loss is the first in a row. */
  readonly healthyAfterMs: number;
}

/** The settings that hold where `createPool` is told nothing else. */
export function defaultPoolSettings(): PoolSettings {
  return {
    workers: availableParallelism(),
    workerEntry: new URL('./inference-worker.js', import.meta.url),
    maxQueue: 1_024,
    maxQueueMs: Number.POSITIVE_INFINITY,
    groupsPerWorker: 2,
    groupMs: 16,
    batchGroupMs: 48,
    hangTimeoutMs: 30_000,
    loadTimeoutMs: 60_000,
    backoffMinMs: 100,
    backoffMaxMs: 30_000,
    healthyAfterMs: 10_000,
  };
}
