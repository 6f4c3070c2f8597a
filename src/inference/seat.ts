import type { ErrorCode } from '../shared/errors.js';
import { messageOf } from '../shared/errors.js';
import type { Log } from '../shared/log.js';
import type { Job } from './job.js';
import type { ModelBytes, ModelPlaces } from './model-bytes.js';
import type { PoolSettings } from './pool-settings.js';
import type { LoadTimes, WorkerEmbedding, WorkerResult } from './protocol.js';
import { type WorkerExit, WorkerProcess } from './worker-process.js';

/**
 * `starting` loading its libraries, `warm` waiting for a model, `loading` the model and its canary,
 * `ready` serving, `restarting` dead, its successor waits for its time, `ended` for good.
 */
export type SeatState = 'starting' | 'warm' | 'loading' | 'ready' | 'restarting' | 'ended';

/** How a process was lost while it had no model in service yet. */
export interface LoadCrash {
  /** Whether it had got as far as the model, so that the model may be to blame. */
  readonly warm: boolean;
  readonly reason: string;
  readonly exit: WorkerExit;
}

/** What a seat tells its crew. */
export interface SeatListener {
  /** The model is loaded and passed its canary; also after a restart. */
  ready(): void;
  /** The model is at fault. The process is being ended; the seat starts no other unless told to. */
  refused(code: ErrorCode, message: string): void;
  /** The process died before it was ready. Another follows after a backoff. */
  loadCrashed(crash: LoadCrash): void;
  /** There is room for a group of texts. */
  roomy(): void;
  embedded(job: Job, embedding: WorkerEmbedding): void;
  /** This text failed or killed the process. */
  failed(job: Job, reason: string): void;
  /** These texts had been sent to a process that died before it had answered them, in order. */
  returned(jobs: readonly Job[]): void;
  restarted(): void;
}

/** A timer that fires this much late says that this process was stopped, so that its own clock means nothing. */
const LATE_MS = 1_000;

/** Texts that were sent together and are answered together. */
interface Group {
  readonly id: number;
  readonly jobs: readonly Job[];
  /** Of all of them together. */
  readonly work: number;
}

/** One worker's place: keeps a process in it, kills one that hangs, and starts successors at a bounded rate. */
export class Seat {
  readonly #settings: PoolSettings;
  readonly #listener: SeatListener;
  readonly #log: Log;
  #process: WorkerProcess | undefined;
  #model: ModelBytes | undefined;
  /** The process reads or has read the model by itself. */
  #begun = false;
  #state: SeatState = 'starting';
  #started = false;
  #warm = false;
  #restarts = 0;
  /** Deaths since the last healthy spell. */
  #failures = 0;
  #readyAt: number | undefined;
  /** What is at the process, in order: it executes the first. */
  #groups: Group[] = [];
  #nextId = 0;
  #killedBecause: string | undefined;
  #watchdog: NodeJS.Timeout | undefined;
  #restart: NodeJS.Timeout | undefined;

  constructor(settings: PoolSettings, listener: SeatListener, log: Log) {
    this.#settings = settings;
    this.#listener = listener;
    this.#log = log;
  }

  /**
   * Starts the seat's first process, if that was not done yet.
   * @param first one that was started ahead
   */
  start(first?: WorkerProcess): void {
    if (this.#started || this.#state === 'ended') return;
    this.#started = true;
    this.#spawn(first);
  }

  get status(): { pid: number | null; state: SeatState; restarts: number } {
    return { pid: this.#process?.pid ?? null, state: this.#state, restarts: this.#restarts };
  }

  /** Texts at the process; one of them is being executed, the others wait there. */
  get inFlight(): number {
    return this.#groups.reduce((sum, { jobs }) => sum + jobs.length, 0);
  }

  /** The work of the texts at the process, as `workOf` estimates it. */
  get work(): number {
    return this.#groups.reduce((sum, { work }) => sum + work, 0);
  }

  get hasRoom(): boolean {
    return this.#state === 'ready' && this.#groups.length < this.#settings.groupsPerWorker;
  }

  /** Lets the process, and none of its successors, read the model by itself, which `setModel` will follow with. */
  begin(places: ModelPlaces): void {
    if (!this.#process || this.#model) return;
    this.#begun = true;
    this.#watch('did not load the model in time', this.#settings.loadTimeoutMs);
    this.#process.begin(places);
    if (this.#warm) this.#state = 'loading';
  }

  /** Gives the seat its model, for this process and all its successors. At most once. */
  setModel(model: ModelBytes): void {
    this.#model = model;
    if (this.#process && !this.#begun) this.#load(this.#process, model);
  }

  /** Sends texts that are to be answered together. The seat must have room. */
  take(jobs: readonly Job[]): void {
    const group = { id: this.#nextId++, jobs, work: jobs.reduce((sum, { work }) => sum + work, 0) };
    this.#groups.push(group);
    if (this.#groups.length === 1) this.#watch('hung', this.#settings.hangTimeoutMs);
    this.#process?.embed(
      group.id,
      jobs.map(({ text }) => text),
    );
  }

  /** Ends the seat: at once with `kill`, else when the process is through with what it executes. */
  async end(how: 'kill' | 'finish'): Promise<void> {
    this.#state = 'ended';
    clearTimeout(this.#watchdog);
    clearTimeout(this.#restart);
    if (how === 'kill') this.#process?.kill();
    await this.#process?.end();
  }

  #spawn(first?: WorkerProcess): void {
    this.#state = 'starting';
    this.#warm = false;
    this.#begun = false;
    this.#killedBecause = undefined;
    this.#readyAt = undefined;
    let process: WorkerProcess;
    try {
      process = first ?? new WorkerProcess(this.#settings.workerEntry);
      this.#process = process;
      process.attach(
        {
          warm: () => this.#onWarm(),
          unread: (message) => this.#onUnread(message),
          loaded: (times, batches) => this.#onLoaded(times, batches),
          refused: (code, message) => this.#onRefused(code, message),
          embedded: (id, results) => this.#onAnswer(id, results),
          exited: (exit) => this.#onExited(exit),
        },
        this.#log,
      );
    } catch (error) {
      this.#log.error({ err: error }, 'cannot start an inference worker');
      queueMicrotask(() => this.#onExited({ code: null, signal: null }, messageOf(error)));
      return;
    }
    if (this.#model) this.#load(process, this.#model);
  }

  #load(process: WorkerProcess, model: ModelBytes): void {
    this.#watch('did not load the model in time', this.#settings.loadTimeoutMs);
    // The message waits in the channel until the process has its libraries.
    process.load(model);
    if (this.#warm) this.#state = 'loading';
  }

  #onWarm(): void {
    if (this.#state !== 'starting') return;
    this.#warm = true;
    this.#state = this.#model || this.#begun ? 'loading' : 'warm';
  }

  /** An empty volume, most often: the bytes follow. */
  #onUnread(message: string): void {
    if (this.#state !== 'loading') return;
    clearTimeout(this.#watchdog);
    this.#log.debug({ pid: this.#process?.pid, reason: message }, 'inference worker waits for the model');
    this.#begun = false;
    this.#state = 'warm';
    if (this.#process && this.#model) this.#load(this.#process, this.#model);
  }

  #onLoaded(times: LoadTimes, batches: boolean): void {
    if (this.#state !== 'loading') return;
    clearTimeout(this.#watchdog);
    this.#state = 'ready';
    this.#readyAt = performance.now();
    const sinceSpawnMs = Math.round(this.#readyAt - (this.#process?.startedAt ?? this.#readyAt));
    this.#log.info({ pid: this.#process?.pid, sinceSpawnMs, ...times, batches }, 'inference worker ready');
    this.#listener.ready();
    if (this.hasRoom) this.#listener.roomy();
  }

  #onRefused(code: ErrorCode, message: string): void {
    if (this.#state !== 'loading') return;
    clearTimeout(this.#watchdog);
    this.#listener.refused(code, message);
    this.#kill(`refused the model: ${message}`);
  }

  #onAnswer(id: number, results: readonly WorkerResult[]): void {
    const [group] = this.#groups;
    if (group?.id !== id || group.jobs.length !== results.length) {
      // Answers come in order; one out of order means that this process cannot be trusted.
      this.#kill('answered out of order');
      return;
    }
    this.#groups.shift();
    if (this.#groups.length > 0) this.#watch('hung', this.#settings.hangTimeoutMs);
    else clearTimeout(this.#watchdog);
    // The process first, which would idle soon; the answers take longer to write.
    if (this.hasRoom) this.#listener.roomy();
    for (const [index, job] of group.jobs.entries()) {
      const result = results[index];
      if (!result || 'failure' in result)
        this.#listener.failed(job, `the runtime said: ${result?.failure ?? 'nothing'}`);
      else this.#listener.embedded(job, result);
    }
  }

  #onExited(exit: WorkerExit, cause?: string): void {
    clearTimeout(this.#watchdog);
    const pid = this.#process?.pid;
    this.#process = undefined;
    const [executing, ...waiting] = this.#groups;
    this.#groups = [];
    const behind = waiting.flatMap(({ jobs }) => jobs);
    if (this.#state === 'ended') {
      this.#listener.returned([...(executing?.jobs ?? []), ...behind]);
      return;
    }
    const reason = cause ?? this.#killedBecause ?? describe(exit);
    const ready = this.#readyAt;
    if (ready !== undefined && performance.now() - ready >= this.#settings.healthyAfterMs) this.#failures = 0;
    const delayMs = Math.min(this.#settings.backoffMaxMs, this.#settings.backoffMinMs * 2 ** this.#failures);
    this.#failures += 1;
    this.#state = 'restarting';
    this.#log.error({ pid, reason, delayMs }, 'inference worker lost, starting another');
    this.#restart = setTimeout(() => {
      this.#restarts += 1;
      this.#listener.restarted();
      this.#spawn();
    }, delayMs);

    this.#listener.returned(behind);
    const [only, ...others] = executing?.jobs ?? [];
    if (only && others.length === 0) this.#listener.failed(only, `the worker ${reason}`);
    else if (executing) {
      for (const job of executing.jobs) job.suspect = true;
      this.#listener.returned(executing.jobs);
    }
    if (ready === undefined) this.#listener.loadCrashed({ warm: this.#warm, reason, exit });
  }

  /** Kills the process unless somebody clears or replaces the watchdog in time. */
  #watch(reason: string, timeoutMs: number): void {
    clearTimeout(this.#watchdog);
    const due = performance.now() + timeoutMs;
    this.#watchdog = setTimeout(() => {
      // After a pause of this process itself (SIGSTOP, a frozen container) the answer may lie in the channel.
      if (performance.now() - due > LATE_MS) this.#watch(reason, timeoutMs);
      else this.#kill(reason);
    }, timeoutMs);
  }

  #kill(reason: string): void {
    this.#killedBecause = reason;
    this.#process?.kill();
  }
}

function describe({ code, signal }: WorkerExit): string {
  if (signal !== null) return `was ended by ${signal}`;
  return code === null ? 'could not be started' : `exited with code ${code}`;
}
