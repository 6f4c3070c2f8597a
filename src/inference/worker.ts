import { type ChildProcess, spawn } from 'node:child_process';
import { Socket } from 'node:net';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { childEnv } from '../shared/child.js';
import { type ErrorCode, messageOf } from '../shared/errors.js';
import type { Log } from '../shared/log.js';
import { TURN } from './batches.js';
import {
  CHANNEL_FD,
  type FromWorker,
  type LoadTimes,
  type ModelBytes,
  readFrames,
  type ToWorker,
  type WorkerResult,
  type WorkerText,
  writeFrame,
} from './protocol.js';
import type { Job } from './queue.js';

/**
 * Measured on two workers with the q8 model: together these take the memory of a worker from 144 to 103 MB
 * (PSS after 500 passes and a long one) and cost no time. Weights and the received file are large blocks, which
 * a default malloc keeps in per-thread arenas after they are freed.
 */
const MALLOC_ENV = {
  MALLOC_ARENA_MAX: '1',
  MALLOC_MMAP_THRESHOLD_: '65536',
  MALLOC_TRIM_THRESHOLD_: '131072',
};
const NODE_FLAGS = ['--expose-gc', '--max-semi-space-size=1'];

/** A worker that was asked to end gets this long for the forward pass that it is in. */
const END_GRACE_MS = 2_000;

/** A timer that fires this much late says that this process was stopped, so that its own clock means nothing. */
const LATE_MS = 1_000;

/** Exit of a process: by itself with a code, or by a signal. */
export interface WorkerExit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

/** Events of a {@link WorkerProcess}. */
interface ProcessListener {
  message(message: FromWorker, bytes: Buffer): void;
  /** The process is gone, and all its messages were delivered before. */
  exited(exit: WorkerExit): void;
}

/** One child process, from spawn to exit. Knows nothing of queues and restarts. */
class WorkerProcess {
  /** On the clock of `performance.now()`. */
  readonly startedAt = performance.now();
  readonly #child: ChildProcess;
  readonly #channel: Socket | undefined;
  readonly #exited: Promise<void>;

  constructor(entry: URL, listener: ProcessListener, log: Log) {
    // Not the daemon's own flags: an inspector's port, for one, cannot be shared.
    const child = spawn(process.execPath, [...NODE_FLAGS, fileURLToPath(entry)], {
      // stdin, stdout, stderr, CHANNEL_FD.
      stdio: ['ignore', 'pipe', 'pipe', 'pipe'],
      env: { ...MALLOC_ENV, ...childEnv() },
    });
    this.#child = child;
    const { pid } = child;
    const channel = child.stdio[CHANNEL_FD];
    this.#channel = channel instanceof Socket ? channel : undefined;
    if (this.#channel) readFrames<FromWorker>(this.#channel, (...frame) => listener.message(...frame));
    // Without a listener a broken pipe (the worker died while it was written to) would end the daemon.
    this.#channel?.on('error', (error) => log.debug({ pid, err: error }, 'inference worker channel error'));
    child.on('error', (error) => log.error({ pid, err: error }, 'inference worker error'));
    // Standard output is the daemon's own log: what a worker or a native library prints becomes a log line.
    for (const stream of [child.stdout, child.stderr]) {
      if (!stream) continue;
      createInterface({ input: stream }).on('line', (line) =>
        log.warn({ pid, line }, 'inference worker output'),
      );
    }
    const exit = new Promise<WorkerExit>((resolve) => {
      child.once('exit', (code, signal) => resolve({ code, signal }));
      // A process that could not be spawned has no pid and never emits 'exit'.
      child.once('error', () => child.pid === undefined && resolve({ code: null, signal: null }));
    });
    // 'exit' may overtake messages that are still in the channel; its end comes after the last of them.
    const closed = new Promise<void>((resolve) => {
      if (this.#channel && pid !== undefined) this.#channel.once('close', () => resolve());
      else resolve();
    });
    this.#exited = Promise.all([exit, closed]).then(([how]) => listener.exited(how));
  }

  /** `undefined` when the process could not be spawned. */
  get pid(): number | undefined {
    return this.#child.pid;
  }

  /** Sends a message. A failure means that the worker is dying, and its exit is handled elsewhere. */
  send(message: ToWorker, bytes?: readonly Uint8Array[]): void {
    if (this.#channel?.writable) void writeFrame(this.#channel, message, bytes);
  }

  /** Ends the process at once, in whatever it is doing, stopped or hanging. */
  kill(): void {
    this.#child.kill('SIGKILL');
  }

  /** Lets the process end by itself, kills it when it does not, and waits until it is gone. */
  async end(): Promise<void> {
    this.#channel?.end();
    const timer = setTimeout(() => this.kill(), END_GRACE_MS);
    await this.#exited;
    clearTimeout(timer);
  }
}

/**
 * `starting` loading its libraries, `warm` waiting for a model, `loading` the model and its canary,
 * `ready` serving, `restarting` dead, its successor waits for its time, `ended` for good.
 */
export const WORKER_STATES = ['starting', 'warm', 'loading', 'ready', 'restarting', 'ended'] as const;

/** One of {@link WORKER_STATES}. */
export type WorkerState = (typeof WORKER_STATES)[number];

/** One worker as it is now. */
export interface WorkerStatus {
  /** `null` while there is no process. */
  readonly pid: number | null;
  readonly state: WorkerState;
  /** Processes started in this slot after the first. */
  readonly restarts: number;
  /** Whether texts may share forward passes: they do where that changes no bit on this machine. Unknown before `ready`. */
  readonly batches: boolean | undefined;
}

/** Loss of a process that had no model in service yet. */
export interface LoadCrash {
  /** Whether it had got as far as the model, so that the model may be to blame. */
  readonly warm: boolean;
  readonly reason: string;
  readonly exit: WorkerExit;
}

/** Settings of a {@link WorkerSlot}. */
export interface WorkerSettings {
  /** The compiled `entry.ts`. */
  readonly workerEntry: URL;
  /** A worker that has embedded nothing for this long although it has texts is killed and replaced. */
  readonly hangTimeoutMs: number;
  /** The same for loading a model, libraries and canary included. */
  readonly loadTimeoutMs: number;
  /** Wait before a lost worker's successor starts; doubles with each loss in a row. */
  readonly backoffMinMs: number;
  readonly backoffMaxMs: number;
  /** A worker that served this long was healthy: its loss is the first in a row. */
  readonly healthyAfterMs: number;
}

/** Events of a {@link WorkerSlot}. */
export interface SlotListener {
  /** The model is loaded and passed its canary; also after a restart. */
  ready(): void;
  /** The model is at fault. The process is being ended. */
  rejected(code: ErrorCode, message: string): void;
  /** The native runtime does not load on this system. The process is ending. */
  unusable(message: string): void;
  /** The process died before it was ready. Another follows after a backoff. */
  loadCrashed(crash: LoadCrash): void;
  /** Results arrived, whose jobs are settled after this call: the worker should get more first, which idles soon. */
  answered(passes: number): void;
  embedded(job: Job, vector: Float32Array, result: Exclude<WorkerResult, { failure: string }>): void;
  /** This text failed, or killed the process. */
  failed(job: Job, reason: string): void;
  /** These texts were at a process that died, in the order in which they were sent. */
  returned(jobs: readonly Job[]): void;
  restarted(): void;
}

/** Starts a worker, which loads the native runtime, and ends it. Returns why it does not load, if it does not. */
export async function probeRuntime(entry: URL, log: Log): Promise<string | undefined> {
  let worker: WorkerProcess | undefined;
  try {
    return await new Promise<string | undefined>((resolve) => {
      worker = new WorkerProcess(
        entry,
        {
          message: (message) => resolve(message.kind === 'unusable' ? message.message : undefined),
          exited: (exit) => resolve(`the process that loads it ${describe(exit)}`),
        },
        log,
      );
    });
  } finally {
    await worker?.end();
  }
}

/** Keeps one worker process running: kills one that hangs, and starts successors at a bounded rate. */
export class WorkerSlot {
  readonly #settings: WorkerSettings;
  readonly #listener: SlotListener;
  readonly #log: Log;
  #process: WorkerProcess | undefined;
  #model: ModelBytes | undefined;
  #state: WorkerState = 'starting';
  #batches: boolean | undefined;
  #started = false;
  #warm = false;
  #restarts = 0;
  /** Losses in a row. */
  #failures = 0;
  #readyAt: number | undefined;
  /** The texts at the process, by id, in the order in which they were sent. */
  readonly #jobs = new Map<number, Job>();
  #work = 0;
  /** Texts of its last answer, and when that came. */
  #answered = { texts: 0, at: 0 };
  #nextId = 0;
  #killedBecause: string | undefined;
  #watchdog: NodeJS.Timeout | undefined;
  #restart: NodeJS.Timeout | undefined;

  constructor(settings: WorkerSettings, listener: SlotListener, log: Log) {
    this.#settings = settings;
    this.#listener = listener;
    this.#log = log;
  }

  get status(): WorkerStatus {
    const { pid = null } = this.#process ?? {};
    return { pid, state: this.#state, restarts: this.#restarts, batches: this.#batches };
  }

  /** Texts at the process, executing or waiting there. */
  get inFlight(): number {
    return this.#jobs.size;
  }

  /** Texts that the process waits for before its next pass, at most: as many as it has just answered. */
  get gathers(): number {
    const { texts, at } = this.#answered;
    const over = !this.#batches || performance.now() - at > TURN.gatherMs;
    return over ? 0 : Math.max(0, texts - this.#jobs.size);
  }

  /** Work of the texts at the process, as `workOf` estimates it. */
  get work(): number {
    return this.#work;
  }

  /** Whether the worker may get a text: one that is suspect stays alone. */
  get canAccept(): boolean {
    const [job] = this.#jobs.values();
    return this.#state === 'ready' && job?.suspect !== true;
  }

  /** Starts the first process, unless that was done already. */
  start(): void {
    if (this.#started || this.#state === 'ended') return;
    this.#started = true;
    this.#spawn();
  }

  /** Gives the slot its model, for this process and all its successors. At most once. */
  setModel(model: ModelBytes): void {
    this.#model = model;
    this.#load();
  }

  /** Sends texts to the worker, which must be `ready`. */
  take(jobs: readonly Job[]): void {
    if (this.#jobs.size === 0) this.#watch('hung', this.#settings.hangTimeoutMs);
    const texts: WorkerText[] = [];
    for (const job of jobs) {
      const id = this.#nextId++;
      this.#jobs.set(id, job);
      this.#work += job.work;
      texts.push({ id, text: job.text });
    }
    this.#process?.send({ kind: 'embed', texts });
  }

  /** Ends the slot: at once with `kill`, else when the process is through with its current pass. */
  async end(how: 'kill' | 'finish'): Promise<void> {
    this.#state = 'ended';
    clearTimeout(this.#watchdog);
    clearTimeout(this.#restart);
    if (how === 'kill') this.#process?.kill();
    await this.#process?.end();
  }

  #spawn(): void {
    this.#state = 'starting';
    this.#batches = undefined;
    this.#warm = false;
    this.#killedBecause = undefined;
    this.#readyAt = undefined;
    const listener: ProcessListener = {
      message: (message, bytes) => this.#onMessage(message, bytes),
      exited: (exit) => this.#onExited(exit),
    };
    try {
      this.#process = new WorkerProcess(this.#settings.workerEntry, listener, this.#log);
    } catch (error) {
      this.#log.error({ err: error }, 'cannot start an inference worker');
      queueMicrotask(() => this.#onExited({ code: null, signal: null }, messageOf(error)));
      return;
    }
    this.#load();
  }

  /** Sends the model; the message waits in the channel until the process has its libraries. */
  #load(): void {
    if (!this.#process || !this.#model) return;
    const { spec, canary, recipe, model, tokenizer, tokenizerConfig } = this.#model;
    this.#watch('did not load the model in time', this.#settings.loadTimeoutMs);
    const sizes = [model.byteLength, tokenizer.byteLength, tokenizerConfig.byteLength] as const;
    this.#process.send({ kind: 'load', spec, canary, recipe, sizes }, [model, tokenizer, tokenizerConfig]);
    if (this.#warm) this.#state = 'loading';
  }

  #onMessage(message: FromWorker, bytes: Buffer): void {
    if (message.kind === 'embedded') {
      this.#onEmbedded(message.passes, message.results, bytes);
    } else if (message.kind === 'unusable') {
      this.#killedBecause = `cannot load the native runtime: ${message.message}`;
      this.#listener.unusable(message.message);
    } else if (message.kind === 'started') {
      if (this.#state !== 'starting') return;
      this.#warm = true;
      this.#state = this.#model ? 'loading' : 'warm';
    } else if (this.#state === 'loading') {
      clearTimeout(this.#watchdog);
      if (message.kind === 'loaded') this.#onLoaded(message.times, message.batches);
      else {
        this.#listener.rejected(message.code, message.message);
        this.#kill(`rejected the model: ${message.message}`);
      }
    }
  }

  #onLoaded(times: LoadTimes, batches: boolean): void {
    this.#state = 'ready';
    this.#batches = batches;
    this.#readyAt = performance.now();
    const startMs = Math.round(this.#readyAt - (this.#process?.startedAt ?? this.#readyAt));
    const timings = { start_ms: startMs, load_ms: times.modelMs, self_test_ms: times.canaryMs };
    this.#log.info({ pid: this.#process?.pid, ...timings, batches }, 'inference worker ready');
    this.#listener.ready();
  }

  #onEmbedded(passes: number, results: readonly WorkerResult[], bytes: Buffer): void {
    this.#answered = { texts: results.length, at: performance.now() };
    const jobs = results.map(({ id }) => this.#jobs.get(id));
    for (const [index, job] of jobs.entries()) {
      this.#jobs.delete(results[index]?.id ?? -1);
      this.#work -= job?.work ?? 0;
    }
    if (this.#jobs.size > 0) this.#watch('hung', this.#settings.hangTimeoutMs);
    else clearTimeout(this.#watchdog);
    this.#listener.answered(passes);
    const vectorBytes = 4 * (this.#model?.spec.dimension ?? 0);
    let offset = 0;
    for (const [index, result] of results.entries()) {
      const job = jobs[index];
      if ('failure' in result) {
        if (job) this.#listener.failed(job, `the runtime said: ${result.failure}`);
        continue;
      }
      // Memory of its own: a view would keep the whole message alive.
      const start = bytes.byteOffset + offset;
      const vector = new Float32Array(bytes.buffer.slice(start, start + vectorBytes));
      offset += vectorBytes;
      if (job) this.#listener.embedded(job, vector, result);
    }
  }

  #onExited(exit: WorkerExit, cause?: string): void {
    clearTimeout(this.#watchdog);
    const pid = this.#process?.pid;
    this.#process = undefined;
    const jobs = [...this.#jobs.values()];
    this.#jobs.clear();
    this.#work = 0;
    if (this.#state === 'ended') {
      this.#listener.returned(jobs);
      return;
    }
    const reason = cause ?? this.#killedBecause ?? describe(exit);
    const ready = this.#readyAt;
    if (ready !== undefined && performance.now() - ready >= this.#settings.healthyAfterMs) this.#failures = 0;
    const delayMs = Math.min(this.#settings.backoffMaxMs, this.#settings.backoffMinMs * 2 ** this.#failures);
    this.#failures += 1;
    this.#state = 'restarting';
    this.#log.error({ pid, reason, delay_ms: delayMs }, 'inference worker lost, starting another');
    this.#restart = setTimeout(() => {
      this.#restarts += 1;
      this.#listener.restarted();
      this.#spawn();
    }, delayMs);

    const [only] = jobs;
    if (only && jobs.length === 1) this.#listener.failed(only, `the worker ${reason}`);
    else {
      for (const job of jobs) job.suspect = true;
      this.#listener.returned(jobs);
    }
    if (ready === undefined) this.#listener.loadCrashed({ warm: this.#warm, reason, exit });
  }

  /** Kills the process unless the watchdog is cleared or replaced in time. */
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
