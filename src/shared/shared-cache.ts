import { throwIfAborted } from './concurrent.js';
import { AppError } from './errors.js';

interface Entry<Value> {
  readonly work: Promise<Value>;
  readonly stop: AbortController;
  readonly weight: number;
  waiting: number;
  settled: boolean;
}

/**
 * A bounded cache of results that take time to make. Callers who want the same key at the same time share
 * one piece of work, which is aborted only when the last of them has given up. Failures are not kept. The
 * entry that was not used for longest goes first.
 */
export class SharedCache<Value> {
  readonly #entries = new Map<string, Entry<Value>>();
  readonly #maxEntries: number;
  readonly #maxWeight: number;
  #weight = 0;

  /** @param maxWeight sum of the entries' weights, whatever unit those have */
  constructor(maxEntries: number, maxWeight: number) {
    this.#maxEntries = maxEntries;
    this.#maxWeight = maxWeight;
  }

  /**
   * The value of `key`, made by `make` where it is not there.
   * @throws what `make` throws; AppError `aborted`
   */
  async get(
    key: string,
    weight: number,
    make: (signal: AbortSignal) => Promise<Value>,
    signal?: AbortSignal,
  ): Promise<Value> {
    throwIfAborted(signal);
    const entry = this.#take(key) ?? this.#start(key, weight, make);
    this.#evict();
    if (entry.settled || !signal) {
      // A caller that cannot give up keeps the work alive.
      entry.waiting += 1;
      return entry.work;
    }
    return this.#await(key, entry, signal);
  }

  /** Aborts all work and forgets everything. */
  clear(): void {
    for (const [key, entry] of this.#entries) {
      entry.stop.abort(new AppError('aborted', 'closed'));
      this.#remove(key, entry);
    }
  }

  /** Takes an entry and puts it at the end, where the latest used are. */
  #take(key: string): Entry<Value> | undefined {
    const entry = this.#entries.get(key);
    if (!entry) return undefined;
    this.#entries.delete(key);
    this.#entries.set(key, entry);
    return entry;
  }

  #start(key: string, weight: number, make: (signal: AbortSignal) => Promise<Value>): Entry<Value> {
    const stop = new AbortController();
    const entry: Entry<Value> = { work: make(stop.signal), stop, weight, waiting: 0, settled: false };
    this.#entries.set(key, entry);
    this.#weight += weight;
    entry.work.then(
      () => {
        entry.settled = true;
      },
      () => this.#remove(key, entry),
    );
    return entry;
  }

  #await(key: string, entry: Entry<Value>, signal: AbortSignal): Promise<Value> {
    entry.waiting += 1;
    return new Promise<Value>((resolve, reject) => {
      const giveUp = (): void => {
        entry.waiting -= 1;
        if (entry.waiting === 0 && !entry.settled) {
          entry.stop.abort(signal.reason);
          this.#remove(key, entry);
        }
        try {
          throwIfAborted(signal);
        } catch (error) {
          reject(error);
        }
      };
      signal.addEventListener('abort', giveUp, { once: true });
      entry.work.then(resolve, reject).finally(() => signal.removeEventListener('abort', giveUp));
    });
  }

  #evict(): void {
    for (const [key, entry] of this.#entries) {
      if (this.#entries.size <= this.#maxEntries && this.#weight <= this.#maxWeight) return;
      // Those who wait for it still get it; it is only not kept.
      if (this.#entries.size > 1) this.#remove(key, entry);
    }
  }

  #remove(key: string, entry: Entry<Value>): void {
    if (this.#entries.get(key) !== entry) return;
    this.#entries.delete(key);
    this.#weight -= entry.weight;
  }
}
