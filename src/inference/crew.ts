import { AppError } from '../shared/errors.js';
import type { Log } from '../shared/log.js';
import { Admission, workOf } from './admission.js';
import type { Embedder, Embedding, EmbedOptions } from './embedder.js';
import { FairQueue } from './fair-queue.js';
import { Job, MAX_ATTEMPTS } from './job.js';
import type { ModelBytes, ModelPlaces } from './model-bytes.js';
import type { PoolSettings } from './pool-settings.js';
import { type LoadCrash, Seat, type SeatState } from './seat.js';
import type { WorkerProcess } from './worker-process.js';

/** Counts over the life of a pool, all its models together. */
export interface PoolTotals {
  embedded: number;
  /** Texts rejected with `worker_failed`. */
  failed: number;
  /** Worker processes started in place of lost ones. */
  restarts: number;
}

/** One worker as it is now. */
export interface WorkerStatus {
  /** `null` while there is no process. */
  readonly pid: number | null;
  readonly state: SeatState;
  /** Processes started in this place after the first. */
  readonly restarts: number;
}

/** A model that kills this many workers before one has served cannot be loaded. */
const MAX_LOAD_CRASHES = 3;
const MIN_RETRY_AFTER_MS = 100;
const MAX_RETRY_AFTER_MS = 30_000;

/** The workers of one model and the queue before them. Serves one model, or none yet, in its life. */
export class Crew implements Embedder {
  readonly #settings: PoolSettings;
  readonly #totals: PoolTotals;
  readonly #seats: readonly Seat[];
  readonly #queue = new FairQueue<Job>();
  readonly #admission: Admission;
  #model: ModelBytes | undefined;
  /** A load that waits for its verdict. */
  #load: { quorum: number; crashes: LoadCrash[]; resolve(): void; reject(error: AppError): void } | undefined;
  /** What {@link load} returned. */
  #verdict: Promise<void> | undefined;
  #accepted = false;
  #draining = false;
  #ending = false;
  #ended: Promise<void> | undefined;
  #whenIdle: (() => void)[] = [];
  #willFeed = false;

  /**
   * Starts the first worker, which loads its libraries and waits for the model. The others follow when it is ready
   * and a text is there to be embedded, or when they are told to ({@link startAll}): they would only share the cores
   * with what the first answer waits for.
   * @param first a worker that was started ahead
   */
  constructor(settings: PoolSettings, totals: PoolTotals, log: Log, first?: WorkerProcess) {
    this.#settings = settings;
    this.#totals = totals;
    this.#admission = new Admission(settings.maxQueueMs);
    this.#seats = Array.from(
      { length: settings.workers },
      () =>
        new Seat(
          settings,
          {
            ready: () => this.#checkQuorum(),
            refused: (code, message) => this.#load?.reject(new AppError(code, message)),
            loadCrashed: (crash) => this.#onLoadCrashed(crash),
            roomy: () => this.#feed(),
            embedded: (job, embedding) => {
              this.#admission.observe(embedding.tokens, embedding.tokenizeMs + embedding.inferenceMs);
              totals.embedded += 1;
              job.resolve(embedding);
              this.#checkIdle();
            },
            failed: (job, reason) => this.#onFailed(job, reason),
            returned: (jobs) => this.#requeue(jobs),
            restarted: () => {
              totals.restarts += 1;
            },
          },
          log,
        ),
    );
    this.#seats[0]?.start(first);
  }

  /** Length of the vectors; 0 before there is a model. */
  get dimension(): number {
    return this.#model?.spec.dimension ?? 0;
  }

  /** Whether a text would be embedded now. */
  get ready(): boolean {
    return this.#accepted && !this.#draining && this.#seats.some((seat) => seat.status.state === 'ready');
  }

  get workers(): WorkerStatus[] {
    return this.#seats.map((seat) => seat.status);
  }

  /** Texts that no worker executes yet, here or at a worker. */
  get waiting(): number {
    return this.#queue.size + this.#seats.reduce((sum, seat) => sum + Math.max(0, seat.inFlight - 1), 0);
  }

  /** Texts being executed. */
  get executing(): number {
    return this.#seats.filter((seat) => seat.inFlight > 0).length;
  }

  /** Lets the first worker read by itself the model that {@link load} will follow with. At most once. */
  begin(places: ModelPlaces): void {
    this.#seats[0]?.begin(places);
  }

  /**
   * Gives all workers the model. At most once. Resolves when `quorum` of them passed the canary; the others
   * follow, and so does every replacement.
   * @throws AppError `model_unloadable`, `canary_mismatch` when the model is at fault; `worker_failed` when
   *   workers die of something else; `draining`. The crew must be ended then.
   */
  load(model: ModelBytes, quorum: number): Promise<void> {
    this.#model = model;
    const verdict = new Promise<void>((resolve, reject) => {
      this.#load = { quorum, crashes: [], resolve, reject };
    });
    this.#verdict = verdict.finally(() => {
      this.#load = undefined;
    });
    for (const seat of this.#seats) seat.setModel(model);
    // A model that takes another's place has to wait for all of its workers anyway.
    if (quorum > 1) this.startAll();
    this.#checkQuorum();
    return this.#verdict;
  }

  /** Starts the workers that are not started yet. */
  startAll(): void {
    for (const seat of this.#seats) seat.start();
  }

  admit(texts: readonly string[], options: EmbedOptions = {}): void {
    const work = texts.reduce((sum, text) => sum + this.#workOf(text), 0);
    const refusal = this.#unavailable() ?? this.#overload(work, options);
    if (refusal) throw refusal;
  }

  /** As the port says; while the model is being loaded, a text waits for the verdict. */
  embed(text: string, options: EmbedOptions = {}): Promise<Embedding> {
    const verdict = this.#verdict;
    if (this.#load && verdict !== undefined) return verdict.then(() => this.embed(text, options));
    const work = this.#workOf(text);
    const refusal = this.#unavailable() ?? (options.admitted ? undefined : this.#overload(work, options));
    if (refusal) return Promise.reject(refusal);
    // Asked for only now: a request makes its signal when somebody wants it, which a refused one need not.
    const { signal } = options;
    if (signal?.aborted) return Promise.reject(aborted(signal));
    const job = new Job(text, work, options.client);
    this.#queue.push(job);
    this.startAll();
    this.#feedSoon();
    if (!signal) return job.promise;
    const onAbort = () => {
      this.#queue.remove(job);
      job.reject(aborted(signal));
      this.#checkIdle();
    };
    signal.addEventListener('abort', onAbort, { once: true });
    return job.promise.finally(() => signal.removeEventListener('abort', onAbort));
  }

  /**
   * Takes no more texts, finishes those it has, and ends the workers. Texts that are not finished after
   * `deadlineMs` are rejected with `draining`. May be called again with a nearer deadline.
   */
  async drain(deadlineMs: number): Promise<void> {
    this.#draining = true;
    let timer: NodeJS.Timeout | undefined;
    await new Promise<void>((resolve) => {
      timer = setTimeout(resolve, deadlineMs);
      this.#whenIdle.push(resolve);
      this.#checkIdle();
    });
    clearTimeout(timer);
    await this.end();
  }

  /** Ends the workers now, or as soon as their current forward pass is over; resolves when all are gone. */
  end(): Promise<void> {
    this.#ended ??= this.#end();
    return this.#ended;
  }

  async #end(): Promise<void> {
    this.#ending = true;
    this.#draining = true;
    this.#load?.reject(draining());
    const busy = this.#isBusy();
    for (let job = this.#queue.shift(); job; job = this.#queue.shift()) job.reject(draining());
    await Promise.all(this.#seats.map((seat) => seat.end(busy || !this.#accepted ? 'kill' : 'finish')));
  }

  #workOf(text: string): number {
    return workOf(text, this.#model?.spec.max_tokens ?? 0);
  }

  #unavailable(): AppError | undefined {
    if (this.#draining) return draining();
    if (!this.#accepted) return new AppError('not_ready', 'no model is loaded yet', { retryable: true });
    return undefined;
  }

  /** Why texts of so much work are not let in, if they are not. */
  #overload(work: number, { client = '', deadline }: EmbedOptions): AppError | undefined {
    const before = this.#workBefore(client);
    const doneMs = this.#admission.waitMs(before + work, this.#seats.length);
    const leftMs = (deadline ?? Number.POSITIVE_INFINITY) - performance.now();
    if (doneMs > leftMs) {
      const message = `these texts would take about ${Math.ceil(doneMs)} ms with what waits before them, longer than the ${Math.floor(leftMs)} ms that are left (REQUEST_TIMEOUT_MS); fewer at once have a chance`;
      return overloaded(message, doneMs - leftMs);
    }
    return this.#noRoom(client, before);
  }

  /** As the pool says. */
  refuse(client: string): AppError | undefined {
    return this.#unavailable() ? undefined : this.#noRoom(client, this.#workBefore(client));
  }

  /** What is done before a next text of this client. */
  #workBefore(client: string): number {
    return this.#queue.workBefore(client) + this.#seats.reduce((sum, seat) => sum + seat.work, 0);
  }

  /** Why a text before which so much work is done may not wait. */
  #noRoom(client: string, before: number): AppError | undefined {
    // What arrived in this turn is not waiting for a worker yet.
    if (this.#willFeed && this.#queue.size >= this.#settings.maxQueue) this.#feed();
    if (this.#queue.size === 0) return undefined;
    const waitMs = this.#admission.waitMs(before, this.#seats.length);
    const applicant = { client, waits: this.#queue.has(client), waitMs };
    if (!this.#isFull(client) && !this.#admission.refuses(applicant)) return undefined;
    const message = `${this.#queue.size} texts are waiting already, for about ${Math.ceil(waitMs)} ms (MAX_QUEUE, MAX_QUEUE_MS)`;
    return overloaded(message, waitMs);
  }

  /** Whether there is no place for one more text of this client, which has a place as long as it has few of them. */
  #isFull(client: string): boolean {
    const { maxQueue } = this.#settings;
    const { size } = this.#queue;
    return size >= maxQueue && (size >= 2 * maxQueue || this.#queue.hasItsShare(client, maxQueue));
  }

  /** Hands a text to an idle worker at once; else waits for what else arrives in this turn of the event loop. */
  #feedSoon(): void {
    if (this.#seats.some((seat) => seat.hasRoom && seat.inFlight === 0)) {
      this.#feed();
      return;
    }
    if (this.#willFeed) return;
    this.#willFeed = true;
    setImmediate(() => {
      this.#willFeed = false;
      this.#feed();
    });
  }

  /** Hands waiting texts to the workers, an idle one first. */
  #feed(): void {
    for (let seat = this.#roomiest(); seat; seat = this.#roomiest()) {
      const group = this.#nextGroup();
      if (group.length === 0) return;
      seat.take(group);
    }
  }

  /** The texts that a worker gets next: its share of those that wait, as long as they take little time together. */
  #nextGroup(): Job[] {
    const share = Math.ceil(this.#queue.size / this.#seats.length);
    const { groupMs, batchGroupMs } = this.#settings;
    const mostMs = this.#model?.spec.batch_sensitive === false ? batchGroupMs : groupMs;
    const group: Job[] = [];
    let work = 0;
    for (let job = this.#queue.first; job && group.length < share; job = this.#queue.first) {
      work += job.work;
      const fits = !job.suspect && this.#admission.waitMs(work, 1) <= mostMs;
      if (group.length > 0 && !fits) break;
      this.#queue.shift();
      group.push(job);
      if (job.suspect) break;
    }
    return group;
  }

  #roomiest(): Seat | undefined {
    let best: Seat | undefined;
    for (const seat of this.#seats) {
      if (seat.hasRoom && (!best || seat.inFlight < best.inFlight)) best = seat;
    }
    return best;
  }

  #checkQuorum(): void {
    const ready = this.#seats.filter((seat) => seat.status.state === 'ready').length;
    if (!this.#load || ready < this.#load.quorum) return;
    this.#accepted = true;
    this.#load.resolve();
  }

  #onLoadCrashed(crash: LoadCrash): void {
    if (!this.#load) return;
    this.#load.crashes.push(crash);
    if (this.#load.crashes.length < MAX_LOAD_CRASHES) return;
    // SIGKILL comes from outside, most often from a kernel without memory; the model did not do it.
    const atFault = this.#load.crashes.every(({ warm, exit }) => warm && exit.signal !== 'SIGKILL');
    this.#load.reject(
      atFault
        ? new AppError(
            'model_unloadable',
            `loading the model ended ${MAX_LOAD_CRASHES} workers: ${crash.reason}`,
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
      job.giveUp(reason);
    }
    this.#requeue([job]);
  }

  /** Puts texts back at the head of the queue, in their order; they have waited longest. */
  #requeue(jobs: readonly Job[]): void {
    for (const job of jobs.toReversed()) {
      if (job.settled) continue;
      if (this.#ending) job.reject(draining());
      else this.#queue.unshift(job);
    }
    this.#feed();
    this.#checkIdle();
  }

  #isBusy(): boolean {
    return this.#queue.size > 0 || this.#seats.some((seat) => seat.inFlight > 0);
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

function overloaded(message: string, retryMs: number): AppError {
  return new AppError('overloaded', message, {
    retryable: true,
    retryAfterMs: Math.round(Math.min(MAX_RETRY_AFTER_MS, Math.max(MIN_RETRY_AFTER_MS, retryMs))),
  });
}

function aborted(signal: AbortSignal): AppError {
  return new AppError('aborted', 'the caller gave the text up', { cause: signal.reason });
}
