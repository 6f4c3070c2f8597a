import { once, setMaxListeners } from 'node:events';
import { setImmediate as yieldToOthers } from 'node:timers/promises';
import { AppError } from './errors.js';

/**
 * Runs `work` on every item, at most `limit` at once, and gives the results in the items' order. Where many end at once,
 * because nothing had to be waited for, other work gets its turn in between. The first
 * failure aborts the signal that the others were given; it is thrown once all of them have ended, so that
 * nothing is still running afterwards.
 * @throws what `work` threw first; AppError `aborted` when `signal` was aborted
 */
export async function mapConcurrent<Item, Result>(
  items: readonly Item[],
  limit: number,
  work: (item: Item, signal: AbortSignal, index: number) => Promise<Result>,
  signal?: AbortSignal,
): Promise<Result[]> {
  const stop = new AbortController();
  const both = signal ? AbortSignal.any([signal, stop.signal]) : stop.signal;
  // Each item under way listens; Node warns from the eleventh on.
  setMaxListeners(0, both);
  const results: Result[] = new Array(items.length);
  const queue = items.entries();
  const slices = new Slices(both);
  const lane = async (): Promise<void> => {
    for (const [index, item] of queue) {
      throwIfAborted(both);
      results[index] = await work(item, both, index);
      if (slices.over) await slices.giveWay();
    }
  };
  let first: { error: unknown } | undefined;
  const lanes = Array.from({ length: Math.min(Math.max(1, limit), items.length) }, () =>
    lane().catch((error: unknown) => {
      first ??= { error };
      stop.abort(error);
    }),
  );
  await Promise.all(lanes);
  if (first) {
    // The reason of the abort explains more than the error of the work that it ended.
    throwIfAborted(signal);
    throw first.error;
  }
  return results;
}

/**
 * Ends work whose result is no longer wanted.
 * @throws AppError `aborted`, or the signal's reason where that is an AppError itself
 */
export function throwIfAborted(signal: AbortSignal | undefined): void {
  if (!signal?.aborted) return;
  const reason: unknown = signal.reason;
  throw reason instanceof AppError
    ? reason
    : new AppError('aborted', 'the work was aborted', { cause: reason });
}

/**
 * Waits for `work`, but not longer than until `signal` aborts; the work itself goes on.
 * @throws what `work` throws; as {@link throwIfAborted}
 */
export async function unlessAborted<T>(work: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  throwIfAborted(signal);
  if (!signal) return work;
  const over = new AbortController();
  const aborted = once(signal, 'abort', { signal: over.signal }).catch(() => undefined);
  try {
    const first = await Promise.race([work, aborted.then(() => over)]);
    if (first !== over) return first as T;
    throwIfAborted(signal);
    return await work;
  } finally {
    over.abort();
  }
}

/** Long work on the event loop gives way to other work after this many milliseconds. */
export const SLICE_MS = 5;

/** Parts long work into slices, between which other work gets its turn. */
export class Slices {
  readonly #signal: AbortSignal | undefined;
  #since = performance.now();

  constructor(signal?: AbortSignal) {
    this.#signal = signal;
  }

  /** Whether it is time to give way. */
  get over(): boolean {
    return performance.now() - this.#since > SLICE_MS;
  }

  /**
   * Lets other work run, and begins the next slice.
   * @throws as {@link throwIfAborted}
   */
  async giveWay(): Promise<void> {
    await yieldToOthers();
    throwIfAborted(this.#signal);
    this.#since = performance.now();
  }
}
