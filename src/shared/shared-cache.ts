import { LRUCache } from 'lru-cache';
import { throwIfAborted, unlessAborted } from './concurrent.js';
import { AppError } from './errors.js';

interface Job<Value> {
  readonly work: Promise<Value>;
  readonly stop: AbortController;
  /** Callers that wait for it. */
  waiting: number;
}

/**
 * A bounded cache of results that take time to make. Callers that want the same key at the same time share one piece of
 * work, which is aborted only when the last of them has given up. Failures are not kept.
 */
export class SharedCache<Value extends object> {
  readonly #kept: LRUCache<string, Value>;
  readonly #jobs = new Map<string, Job<Value>>();

  /** @param maxWeight sum of the entries' weights, whatever unit those have */
  constructor(maxEntries: number, maxWeight: number) {
    this.#kept = new LRUCache({ max: maxEntries, maxSize: maxWeight });
  }

  /**
   * Returns the value of `key`, made by `make` where it is not there.
   * @throws what `make` throws; AppError `aborted`
   */
  async get(
    key: string,
    weight: number,
    make: (signal: AbortSignal) => Promise<Value>,
    signal?: AbortSignal,
  ): Promise<Value> {
    throwIfAborted(signal);
    const kept = this.#kept.get(key);
    if (kept) return kept;
    const job = this.#jobs.get(key) ?? this.#start(key, weight, make);
    job.waiting += 1;
    try {
      return await unlessAborted(job.work, signal);
    } finally {
      job.waiting -= 1;
      if (job.waiting === 0) job.stop.abort(signal?.reason);
    }
  }

  /** Aborts all work and forgets everything. */
  clear(): void {
    for (const { stop } of this.#jobs.values()) stop.abort(new AppError('aborted', 'closed'));
    this.#kept.clear();
  }

  #start(key: string, weight: number, make: (signal: AbortSignal) => Promise<Value>): Job<Value> {
    const stop = new AbortController();
    const job = { work: make(stop.signal), stop, waiting: 0 };
    this.#jobs.set(key, job);
    // A caller that comes after an abort needs work of its own.
    const forget = (): void => void (this.#jobs.get(key) === job && this.#jobs.delete(key));
    stop.signal.addEventListener('abort', forget, { once: true });
    // The cache takes no weight below 1, and says so by throwing where no caller could catch it.
    const keep = (value: Value): void => void this.#kept.set(key, value, { size: Math.max(1, weight) });
    job.work.then(keep, forget).finally(forget);
    return job;
  }
}
