import { AppError } from '../shared/errors.js';
import type { Log } from '../shared/log.js';
import { Crew, type PoolTotals, type WorkerStatus } from './crew.js';
import type { Embedder, Embedding, EmbedOptions } from './embedder.js';
import type { ModelBytes, ModelPlaces } from './model-bytes.js';
import { defaultPoolSettings, type PoolSettings } from './pool-settings.js';
import type { WorkerProcess } from './worker-process.js';

/** Options of {@link createPool}: any of {@link PoolSettings}, and where to log. */
export type PoolOptions = Partial<PoolSettings> & {
  readonly log: Log;
  /** A worker that was started ahead of the pool, which ends it like those that it starts itself. */
  readonly first?: WorkerProcess | undefined;
};

/** A pool as it is now. */
export interface PoolStatus {
  /** Whether a text would be embedded now: a worker passed its canary and lives. */
  readonly ready: boolean;
  /** The workers of the serving model, or, before there is one, those that wait for it or load it. */
  readonly workers: readonly WorkerStatus[];
  /** Those of a model that is being loaded while another serves. */
  readonly incoming: readonly WorkerStatus[];
  /** Texts that wait for a worker. */
  readonly waiting: number;
  /** Texts that workers are executing. */
  readonly executing: number;
  readonly totals: Readonly<PoolTotals>;
}

/**
 * Runs before a newly loaded model serves, with an embedder that is bound to that model.
 * @param proven resolves when the model is loaded and passed its canary, and rejects when it is not to be had
 */
export type Prepare = (embedder: Embedder, proven: Promise<void>) => Promise<void> | void;

/** An {@link Embedder} over worker processes, and its life. */
export interface Pool extends Embedder {
  /**
   * Lets the first worker read and load the model that the first `load` is expected to bring, while the caller still
   * verifies and reads it. The worker takes nothing but the pinned bytes; where it finds none, or where `load` brings
   * another model, nothing is lost but time. Nothing serves before `load`. At most once, before `load`.
   */
  begin(places: ModelPlaces): void;
  /**
   * Loads a model and lets it serve: the first one as soon as one worker has passed the canary, a later one when
   * all have, while the old workers go on; texts that the old ones have are finished by them. The pool keeps
   * `model` to start replacements from. When loading or `prepare` fails, whatever served before goes on.
   *
   * `prepare` is the place for what depends on the model, such as the vectors of the routes. It runs while workers
   * load the model: its embedder waits for them, and what must not exist without a proven model waits for `proven`.
   * The embedder stays valid as long as the model serves, so that whoever keeps the two together never mixes models.
   * @throws AppError `model_unloadable`, `canary_mismatch`: another attempt with these bytes is pointless;
   *   `worker_failed`, `draining`; whatever `prepare` throws
   */
  load(model: ModelBytes, prepare?: Prepare): Promise<void>;
  status(): PoolStatus;
  /**
   * Refuses a text of this client that nobody has read: says why not even a short one is let in now, or `undefined` where
   * one would be, or where nobody's would. Counts as a refusal like any other.
   */
  refuse(client: string): AppError | undefined;
  /**
   * Takes no more texts, finishes those it has within `deadlineMs` (default 10 s), rejects the rest with
   * `draining`, and ends every worker. Afterwards no process is left and nothing keeps the event loop alive.
   */
  close(deadlineMs?: number): Promise<void>;
}

const DEFAULT_CLOSE_DEADLINE_MS = 10_000;

/** Makes a pool and starts its workers, which load their libraries while the caller verifies the model. */
export function createPool(options: PoolOptions): Pool {
  const { log, first, ...given } = options;
  return new ProcessPool({ ...defaultPoolSettings(), ...given }, log, first);
}

class ProcessPool implements Pool {
  readonly #settings: PoolSettings;
  readonly #log: Log;
  readonly #totals: PoolTotals = { embedded: 0, failed: 0, restarts: 0 };
  /** Workers that were started ahead of the first model. */
  #spare: Crew | undefined;
  #incoming: Crew | undefined;
  #serving: Crew | undefined;
  readonly #retiring = new Set<Crew>();
  #lastLoad: Promise<void> = Promise.resolve();
  /** The digest of the model that the spare crew has begun with. */
  #begun: string | undefined;
  #closing = false;
  #closed: Promise<void> | undefined;

  constructor(settings: PoolSettings, log: Log, first: WorkerProcess | undefined) {
    this.#settings = settings;
    this.#log = log;
    this.#spare = this.#newCrew(first);
  }

  get dimension(): number {
    return this.#serving?.dimension ?? 0;
  }

  admit(texts: readonly string[], options?: EmbedOptions): void {
    if (this.#closing) throw closing();
    if (!this.#serving) throw notReady();
    this.#serving.admit(texts, options);
  }

  embed(text: string, options?: EmbedOptions): Promise<Embedding> {
    if (this.#closing) return Promise.reject(closing());
    if (this.#serving) return this.#serving.embed(text, options);
    return Promise.reject(notReady());
  }

  begin(places: ModelPlaces): void {
    if (this.#closing || !this.#spare) return;
    this.#begun = places.digest;
    this.#spare.begin(places);
  }

  load(model: ModelBytes, prepare?: Prepare): Promise<void> {
    const load = this.#lastLoad.then(() => this.#load(model, prepare));
    this.#lastLoad = load.catch(() => {});
    return load;
  }

  status(): PoolStatus {
    const main = this.#serving ?? this.#incoming ?? this.#spare;
    return {
      ready: this.#serving?.ready ?? false,
      workers: main?.workers ?? [],
      incoming: this.#serving ? (this.#incoming?.workers ?? []) : [],
      waiting: main?.waiting ?? 0,
      executing: main?.executing ?? 0,
      totals: { ...this.#totals },
    };
  }

  refuse(client: string): AppError | undefined {
    return this.#closing ? undefined : this.#serving?.refuse(client);
  }

  close(deadlineMs = DEFAULT_CLOSE_DEADLINE_MS): Promise<void> {
    this.#closing = true;
    this.#closed ??= this.#close(deadlineMs);
    return this.#closed;
  }

  async #load(model: ModelBytes, prepare: Prepare | undefined): Promise<void> {
    if (this.#closing) throw closing();
    const crew = this.#crewFor(model);
    this.#incoming = crew;
    try {
      const proven = crew.load(model, this.#serving ? this.#settings.workers : 1);
      // A rejection of either is looked at once both have come to an end.
      const ends = await Promise.allSettled([proven, runPrepare(prepare, crew, proven)]);
      for (const end of ends) if (end.status === 'rejected') throw end.reason;
      if (this.#closing) throw closing();
    } catch (error) {
      this.#log.error({ err: error }, 'the model was not taken into service');
      await crew.end();
      throw error;
    } finally {
      this.#incoming = undefined;
    }
    const old = this.#serving;
    this.#serving = crew;
    crew.startAll();
    if (old) this.#retire(old);
  }

  /** Lets the replaced workers finish what they have. No text takes longer than its retry may. */
  #retire(crew: Crew): void {
    this.#retiring.add(crew);
    void crew.drain(2 * this.#settings.hangTimeoutMs).then(() => this.#retiring.delete(crew));
  }

  async #close(deadlineMs: number): Promise<void> {
    await Promise.all([
      this.#spare?.end(),
      this.#incoming?.end(),
      this.#serving?.drain(deadlineMs),
      ...[...this.#retiring].map((crew) => crew.drain(deadlineMs)),
    ]);
  }

  /** The crew that was started ahead, unless it has begun with another model. */
  #crewFor(model: ModelBytes): Crew {
    const spare = this.#spare;
    this.#spare = undefined;
    if (spare && (this.#begun === undefined || this.#begun === model.digest)) return spare;
    if (spare) this.#retire(spare);
    return this.#newCrew();
  }

  #newCrew(first?: WorkerProcess): Crew {
    return new Crew(this.#settings, this.#totals, this.#log, first);
  }
}

async function runPrepare(
  prepare: Prepare | undefined,
  crew: Embedder,
  proven: Promise<void>,
): Promise<void> {
  await prepare?.(crew, proven);
}

function notReady(): AppError {
  return new AppError('not_ready', 'no model is loaded yet', { retryable: true });
}

function closing(): AppError {
  return new AppError('draining', 'shutting down: no more texts', { retryable: true });
}
