import { availableParallelism } from 'node:os';
import { AppError } from '../shared/errors.js';
import type { Log } from '../shared/log.js';
import { BATCH_LIMITS } from './batches.js';
import type { Embedder, Embedding, EmbedOptions } from './embedder.js';
import type { ModelBytes } from './protocol.js';
import { Job, Pace, Queue, workOf } from './queue.js';
import { type LoadCrash, type WorkerSettings, WorkerSlot, type WorkerStatus } from './worker.js';

/** Settings of a {@link WorkerPool}. */
export interface PoolSettings extends WorkerSettings {
  /** Worker processes, each with one single-threaded session. */
  readonly workers: number;
  /** Texts that may wait; more are rejected with `overloaded`. */
  readonly maxQueue: number;
  /** Maximum estimated queueing time in milliseconds; longer waits are rejected with `overloaded`. */
  readonly maxQueueMs: number;
  /**
   * A worker gets texts until it has about this many milliseconds of work: enough that it never idles and that texts
   * of like length meet in a pass, little enough that no text waits for long behind others that cannot be passed.
   */
  readonly backlogMs: number;
  /**
   * Where texts share passes it gets about this much work (see `workOf`) in any case: two full passes. A slow machine
   * needs shared passes most, and would never fill one within `backlogMs`.
   */
  readonly backlogWork: number;
  /** The native runtime does not load on this system, so that no worker will ever serve. */
  readonly onUnusable: (reason: string) => void;
}

/** The settings that apply where {@link WorkerPool} gets no others. */
export const POOL_DEFAULTS: Omit<PoolSettings, 'workers'> = {
  workerEntry: new URL('./inference-worker.js', import.meta.url),
  maxQueue: 1_024,
  maxQueueMs: Number.POSITIVE_INFINITY,
  backlogMs: 32,
  backlogWork: 2 * BATCH_LIMITS.tokens,
  onUnusable: () => undefined,
  hangTimeoutMs: 30_000,
  loadTimeoutMs: 60_000,
  backoffMinMs: 100,
  backoffMaxMs: 30_000,
  healthyAfterMs: 10_000,
};

/** Counters over the life of a pool. */
export interface PoolTotals {
  embedded: number;
  /** Forward passes; fewer than texts where texts share them. */
  passes: number;
  /** Texts rejected with `worker_failed`. */
  failed: number;
  /** Worker processes started in place of lost ones. */
  restarts: number;
}

/** A pool as it is now. */
export interface PoolStatus {
  /** Whether a text would be embedded now: a worker passed its canary and lives. */
  readonly ready: boolean;
  readonly workers: readonly WorkerStatus[];
  /** Texts that wait, here or at a worker. */
  readonly waiting: number;
  /** Workers that have a text. */
  readonly executing: number;
  readonly totals: Readonly<PoolTotals>;
}

/** A text that kills this many workers, or fails on as many, is given up. */
const MAX_ATTEMPTS = 2;
/** A model that kills this many workers before one has served cannot be loaded. */
const MAX_LOAD_CRASHES = 3;
const MIN_RETRY_AFTER_MS = 100;
const MAX_RETRY_AFTER_MS = 30_000;
const DEFAULT_CLOSE_DEADLINE_MS = 10_000;

/** An {@link Embedder} over worker processes that serve one model, with one queue before them. */
export class WorkerPool implements Embedder {
  readonly #settings: PoolSettings;
  readonly #log: Log;
  readonly #totals: PoolTotals = { embedded: 0, passes: 0, failed: 0, restarts: 0 };
  readonly #queue = new Queue();
  readonly #pace = new Pace();
  #slots: readonly WorkerSlot[];
  #model: ModelBytes | undefined;
  /** A load that waits for its outcome. */
  #load: { crashes: LoadCrash[]; resolve(): void; reject(error: AppError): void } | undefined;
  /** A worker has passed the canary. */
  #proven = false;
  #draining = false;
  #ending = false;
  #closed: Promise<void> | undefined;
  #whenIdle: (() => void)[] = [];
  #willFeed = false;

  /**
   * Starts the first worker, which loads its libraries while the caller verifies the model. The others follow when
   * there is a text to embed, or when the model is loaded: sooner, they would share the cores with what the first
   * answer waits for.
   */
  constructor({ log, ...settings }: Partial<PoolSettings> & { readonly log: Log }) {
    this.#settings = { ...POOL_DEFAULTS, workers: availableParallelism(), ...settings };
    this.#log = log;
    this.#slots = this.#newSlots();
    this.#slots[0]?.start();
  }

  /** Length of the vectors; 0 before there is a model. */
  get dimension(): number {
    return this.#model?.spec.dimension ?? 0;
  }

  /** The verified bytes of its model's `tokenizer.json`; undefined before there is a model. */
  get tokenizerBytes(): Uint8Array | undefined {
    return this.#model?.tokenizer;
  }

  status(): PoolStatus {
    const workers = this.#slots.map(({ status }) => status);
    return {
      ready: this.#proven && !this.#draining && workers.some(({ state }) => state === 'ready'),
      workers,
      waiting:
        this.#queue.size + this.#slots.reduce((sum, { inFlight }) => sum + Math.max(0, inFlight - 1), 0),
      executing: this.#slots.filter(({ inFlight }) => inFlight > 0).length,
      totals: { ...this.#totals },
    };
  }

  /**
   * Loads the model of this pool, which keeps it to start replacements from. Resolves when one worker has passed the
   * canary; the others follow. Texts may be embedded from the call on: they wait for the outcome. After a failure
   * another load may follow, after a success none.
   * @throws AppError `model_unloadable`, `canary_mismatch`: another attempt with these bytes is pointless;
   *   `worker_failed` when workers die of something else; `draining`
   */
  async load(model: ModelBytes): Promise<void> {
    if (this.#draining) throw draining();
    if (this.#model) throw new AppError('internal', 'a pool serves one model');
    this.#model = model;
    try {
      await new Promise<void>((resolve, reject) => {
        this.#load = { crashes: [], resolve, reject };
        for (const slot of this.#slots) slot.setModel(model);
        this.#slots[0]?.start();
      });
      this.#load = undefined;
    } catch (error) {
      this.#load = undefined;
      if (!this.#draining) this.#log.error({ err: error }, 'model load failed');
      this.#model = undefined;
      this.#rejectWaiting(error as AppError);
      await Promise.all(this.#slots.map((slot) => slot.end('kill')));
      if (!this.#draining) this.#slots = this.#newSlots();
      throw error;
    }
    this.#startAll();
  }

  admit(texts: readonly string[], options: EmbedOptions = {}): void {
    const rejection = this.#unavailable() ?? this.#overload(texts, options);
    if (rejection) throw rejection;
  }

  embed(text: string, options: EmbedOptions = {}): Promise<Embedding> {
    const rejection = this.#unavailable() ?? (options.admitted ? undefined : this.#overload([text], options));
    if (rejection) return Promise.reject(rejection);
    const job = new Job(text, this.#workOf([text]), options.client ?? '');
    this.#queue.push(job);
    const drop = (reason: unknown): void => {
      this.#queue.remove(job);
      job.reject(new AppError('aborted', 'the caller gave the text up', { cause: reason }));
      this.#checkIdle();
    };
    if (options.onAbort) options.onAbort(drop);
    else if (options.signal) dropWith(options.signal, job, drop);
    this.#startAll();
    this.#feedSoon();
    return job.promise;
  }

  /**
   * Returns the `overloaded` error that a short text of this client would get now, or `undefined` where it would be
   * admitted, or where no text would be: before the model is loaded, and while the pool drains. Changes nothing.
   * @param ahead short texts of this client that are to come before it
   */
  rejectionFor(client: string, ahead = 0): AppError | undefined {
    return this.#unavailable() ? undefined : this.#overload([''], { client }, ahead);
  }

  /**
   * Takes no more texts, finishes those it has within `deadlineMs`, rejects the rest with `draining`, and ends every
   * worker; at once where the model is not loaded yet. Afterwards no process is left.
   */
  close(deadlineMs = DEFAULT_CLOSE_DEADLINE_MS): Promise<void> {
    this.#draining = true;
    this.#closed ??= this.#close(deadlineMs);
    return this.#closed;
  }

  async #close(deadlineMs: number): Promise<void> {
    if (this.#proven) {
      let timer: NodeJS.Timeout | undefined;
      await new Promise<void>((resolve) => {
        timer = setTimeout(resolve, deadlineMs);
        this.#whenIdle.push(resolve);
        this.#checkIdle();
      });
      clearTimeout(timer);
    }
    this.#ending = true;
    this.#load?.reject(draining());
    const idle = this.#proven && !this.#isBusy();
    this.#rejectWaiting(draining());
    await Promise.all(this.#slots.map((slot) => slot.end(idle ? 'finish' : 'kill')));
  }

  #newSlots(): readonly WorkerSlot[] {
    const listener = {
      ready: () => {
        this.#proven = true;
        this.#load?.resolve();
        this.#feed();
      },
      rejected: (...fault: ConstructorParameters<typeof AppError>) =>
        this.#load?.reject(new AppError(...fault)),
      unusable: (reason: string) => {
        // Once a worker has served, the libraries are being replaced: the others go on.
        if (!this.#proven) this.#settings.onUnusable(reason);
      },
      loadCrashed: (crash: LoadCrash) => this.#onLoadCrashed(crash),
      answered: (passes: number) => {
        this.#totals.passes += passes;
        this.#feed();
        // Before the answers are made that this turn's results lead to: texts that it brings too go first.
        this.#feedSoon();
      },
      embedded: (job: Job, ...[vector, result]: Parameters<Job['resolve']>) => {
        this.#pace.observe(result.tokens, result.tokenizeMs + result.inferenceMs);
        this.#totals.embedded += 1;
        job.resolve(vector, result);
        this.#checkIdle();
      },
      failed: (job: Job, reason: string) => this.#onFailed(job, reason),
      returned: (jobs: readonly Job[]) => this.#requeue(jobs),
      restarted: () => {
        this.#totals.restarts += 1;
      },
    };
    const { workers } = this.#settings;
    return Array.from({ length: workers }, () => new WorkerSlot(this.#settings, listener, this.#log));
  }

  #startAll(): void {
    for (const slot of this.#slots) slot.start();
  }

  #workOf(texts: readonly string[]): number {
    const maxTokens = this.#model?.spec.max_tokens ?? 0;
    return texts.reduce((sum, text) => sum + workOf(text, maxTokens), 0);
  }

  #unavailable(): AppError | undefined {
    if (this.#draining) return draining();
    if (!this.#model) return new AppError('not_ready', 'no model is loaded yet', { retryable: true });
    return undefined;
  }

  /** Decides by the estimated time of these texts, and of the work before them, whether they are admitted. */
  #overload(
    texts: readonly string[],
    { client = '', deadline = Number.POSITIVE_INFINITY }: EmbedOptions,
    ahead = 0,
  ): AppError | undefined {
    const { maxQueue, maxQueueMs, workers } = this.#settings;
    const leftMs = deadline - performance.now();
    const aloneMs = this.#pace.ms(this.#workOf(texts)) / Math.min(workers, texts.length);
    if (aloneMs > leftMs) return tooLarge(texts.length, aloneMs, leftMs);
    const atWorkers = this.#slots.reduce((sum, { work }) => sum + work, 0);
    const waitMs = this.#pace.ms(this.#queue.workBefore(client, ahead) + atWorkers) / workers;
    if (waitMs + aloneMs > leftMs) {
      const message = `these texts would take about ${Math.ceil(waitMs + aloneMs)} ms with those that wait already, longer than the ${Math.floor(leftMs)} ms left (REQUEST_TIMEOUT_MS)`;
      return overloaded(message, waitMs + aloneMs - leftMs);
    }
    const mayWait = (): boolean =>
      this.#queue.size === 0 || (waitMs <= maxQueueMs && this.#queue.hasRoom(client, maxQueue, ahead));
    // Texts that arrived in this turn of the event loop have not been offered to a worker yet.
    if (this.#willFeed && !mayWait()) this.#feed();
    if (mayWait()) return undefined;
    const message = `${this.#queue.size} texts are waiting already, for about ${Math.ceil(waitMs)} ms (MAX_QUEUE, MAX_QUEUE_MS)`;
    return overloaded(message, waitMs);
  }

  /** Hands texts over when this turn of the event loop has brought all that it brings: each message wakes a worker. */
  #feedSoon(): void {
    if (this.#willFeed) return;
    this.#willFeed = true;
    setImmediate(() => this.#feed());
  }

  /** Hands waiting texts to the workers, to the least busy one first. */
  #feed(): void {
    this.#willFeed = false;
    for (let slot = this.#leastBusy(); slot; slot = this.#leastBusy()) {
      const jobs = this.#nextFor(slot);
      if (jobs.length === 0) return;
      slot.take(jobs);
    }
  }

  #leastBusy(): WorkerSlot | undefined {
    let best: WorkerSlot | undefined;
    for (const slot of this.#slots) {
      if (slot.canAccept && (!best || slot.work < best.work)) best = slot;
    }
    return best;
  }

  /**
   * Takes from the queue what a worker gets next, as far as its backlog has room: its share of what waits, or what it waits
   * for itself while more are to come. Two workers that share the first of them would both wait for the rest.
   */
  #nextFor(slot: WorkerSlot): Job[] {
    const { backlogMs, backlogWork } = this.#settings;
    const { size } = this.#queue;
    const expected = this.#slots.reduce((sum, { gathers }) => sum + gathers, 0);
    const share = Math.max(Math.ceil(size / this.#slots.length), size < expected ? slot.gathers : 0);
    const jobs: Job[] = [];
    let { work } = slot;
    for (let job = this.#queue.first; job && jobs.length < share; job = this.#queue.first) {
      work += job.work;
      const isShort = this.#pace.ms(work) <= backlogMs || (slot.status.batches && work <= backlogWork);
      const fits = !job.suspect && isShort;
      const alone = slot.inFlight === 0 && jobs.length === 0;
      if (!fits && !alone) break;
      this.#queue.shift();
      jobs.push(job);
      if (job.suspect) break;
    }
    return jobs;
  }

  #onLoadCrashed(crash: LoadCrash): void {
    if (!this.#load) return;
    const { crashes } = this.#load;
    crashes.push(crash);
    if (crashes.length < MAX_LOAD_CRASHES) return;
    // SIGKILL comes from outside, most often from a kernel without memory; the model did not do it.
    const atFault = crashes.every(({ warm, exit }) => warm && exit.signal !== 'SIGKILL');
    this.#load.reject(
      atFault
        ? new AppError(
            'model_unloadable',
            `loading the model ended ${crashes.length} workers: ${crash.reason}`,
          )
        : new AppError('worker_failed', `inference workers do not start: the last one ${crash.reason}`, {
            retryable: true,
          }),
    );
  }

  #onFailed(job: Job, reason: string): void {
    job.attempts += 1;
    if (!job.settled && job.attempts >= MAX_ATTEMPTS) {
      this.#totals.failed += 1;
      const message = `embedding failed ${job.attempts} times, the last because ${reason}`;
      job.reject(new AppError('worker_failed', message, { retryable: true }));
    }
    this.#requeue([job]);
  }

  /** Puts texts back at the head of the queue, in their order; they have waited longest. */
  #requeue(jobs: readonly Job[]): void {
    const waiting = jobs.filter(({ settled }) => !settled);
    if (this.#ending || !this.#model) for (const job of waiting) job.reject(draining());
    else this.#queue.unshift(...waiting);
    this.#feed();
    this.#checkIdle();
  }

  #rejectWaiting(error: AppError): void {
    for (let job = this.#queue.shift(); job; job = this.#queue.shift()) job.reject(error);
  }

  #isBusy(): boolean {
    return this.#queue.size > 0 || this.#slots.some(({ inFlight }) => inFlight > 0);
  }

  #checkIdle(): void {
    if (this.#whenIdle.length === 0 || this.#isBusy()) return;
    // A worker's texts come back one after the other: those that are to be tried again may be among the next.
    queueMicrotask(() => {
      if (this.#isBusy()) return;
      for (const resolve of this.#whenIdle.splice(0)) resolve();
    });
  }
}

function draining(): AppError {
  return new AppError('draining', 'shutting down: no more texts', { retryable: true });
}

function tooLarge(texts: number, aloneMs: number, leftMs: number): AppError {
  const fit = Math.max(0, Math.floor((texts * leftMs) / aloneMs));
  const message = `${texts} texts of this length take about ${Math.ceil(aloneMs)} ms even on an idle daemon, longer than the ${Math.max(0, Math.floor(leftMs))} ms left (REQUEST_TIMEOUT_MS); about ${fit} fit into one request`;
  return new AppError('request_too_large', message, { gate: 'deadline' });
}

function overloaded(message: string, retryMs: number): AppError {
  return new AppError('overloaded', message, {
    retryable: true,
    retryAfterMs: Math.round(Math.min(MAX_RETRY_AFTER_MS, Math.max(MIN_RETRY_AFTER_MS, retryMs))),
    gate: 'queue',
  });
}

/** Drops a job when a signal aborts, and leaves the signal when the job has settled. */
function dropWith(signal: AbortSignal, job: Job, drop: (reason: unknown) => void): void {
  if (signal.aborted) drop(signal.reason);
  const onAbort = (): void => drop(signal.reason);
  const leave = (): void => signal.removeEventListener('abort', onAbort);
  signal.addEventListener('abort', onAbort, { once: true });
  job.promise.then(leave, leave);
}
