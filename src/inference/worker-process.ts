import { type ChildProcess, fork } from 'node:child_process';
import { createInterface } from 'node:readline';
import { Writable } from 'node:stream';
import type { ErrorCode } from '../shared/errors.js';
import type { Log } from '../shared/log.js';
import type { ModelBytes, ModelPlaces } from './model-bytes.js';
import { BYTES_FD, type FromWorker, type LoadTimes, type ToWorker, type WorkerResult } from './protocol.js';

/** What a worker process reports. After `exited` nothing more comes. */
export interface WorkerListener {
  warm(): void;
  /** The model is not where `begin` said. */
  unread(message: string): void;
  loaded(times: LoadTimes, batches: boolean): void;
  refused(code: ErrorCode, message: string): void;
  embedded(id: number, results: readonly WorkerResult[]): void;
  /** The process is gone, and everything that it had said was delivered before. */
  exited(exit: WorkerExit): void;
}

/** How a process ended: by itself with a code, or by a signal. */
export interface WorkerExit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

/**
 * Measured on two workers with the q8 model: together these take the memory of a worker from 144 to 103 MB
 * (PSS after 500 passes and a long one) and cost no time. Weights and the received file are large blocks, which
 * a default malloc keeps in per-thread arenas after they are freed.
 */
const MALLOC_ENV = {
  MALLOC_ARENA_MAX: '1',
  MALLOC_MMAP_THRESHOLD_: '131072',
  MALLOC_TRIM_THRESHOLD_: '131072',
};
const NODE_FLAGS = ['--expose-gc', '--max-semi-space-size=1'];

/** The worker gets these of the daemon's environment and no other: it needs no keys, tokens or NODE_OPTIONS. */
const PASSED_ENV = ['PATH', 'LD_LIBRARY_PATH', 'TZ'];

/** A worker that was asked to end gets this long for the forward pass that it is in. */
const END_GRACE_MS = 2_000;

/**
 * One child process, from spawn to exit. Knows nothing of queues and restarts. It may be started long before there
 * is anybody to listen to it: what it says until then waits for {@link attach}.
 */
export class WorkerProcess {
  /** When it was started, by `performance.now()`. */
  readonly startedAt = performance.now();
  readonly #child: ChildProcess;
  readonly #exited: Promise<void>;
  #audience: { readonly listener: WorkerListener; readonly log: Log } | undefined;
  #unheard: ((listener: WorkerListener, log: Log) => void)[] = [];

  constructor(entry: URL) {
    const child = fork(entry, [], {
      // stdin, stdout, stderr, the IPC channel, and the pipe for the model's bytes (BYTES_FD).
      stdio: ['ignore', 'pipe', 'pipe', 'ipc', 'pipe'],
      serialization: 'advanced',
      // Not the daemon's own flags: an inspector's port, for one, cannot be shared.
      execArgv: NODE_FLAGS,
      env: { ...MALLOC_ENV, ...pick(process.env, PASSED_ENV) },
    });
    this.#child = child;
    const { pid } = child;
    child.on('message', (message: FromWorker) => this.#tell((listener) => deliver(message, listener)));
    // Without a listener a broken pipe (the worker died while it was written to) would end the daemon.
    child.stdio?.[BYTES_FD]?.on('error', (error) =>
      this.#tell((_, log) => log.debug({ pid, err: error }, 'worker pipe broke')),
    );
    child.on('error', (error) =>
      this.#tell((_, log) => log.error({ pid, err: error }, 'inference worker error')),
    );

    const exit = new Promise<WorkerExit>((resolve) => {
      child.once('exit', (code, signal) => resolve({ code, signal }));
      // A process that could not be spawned has no pid and never emits 'exit'.
      child.once('error', () => child.pid === undefined && resolve({ code: null, signal: null }));
    });
    // 'exit' may overtake messages that are still in the channel; its end comes after the last of them.
    const disconnected = new Promise<void>((resolve) => {
      if (child.connected) child.once('disconnect', resolve);
      else resolve();
    });
    this.#exited = Promise.all([exit, disconnected]).then(([how]) =>
      this.#tell((listener) => listener.exited(how)),
    );
  }

  /** Delivers what the process has said so far and all that it will say. At most once. */
  attach(listener: WorkerListener, log: Log): void {
    this.#audience = { listener, log };
    this.#logOutput(log);
    for (const tell of this.#unheard.splice(0)) tell(listener, log);
  }

  /** `undefined` when the process could not be spawned. */
  get pid(): number | undefined {
    return this.#child.pid;
  }

  /** Tells where the model may lie. At most once. */
  begin({ spec, canary, files }: ModelPlaces): void {
    this.#send({ kind: 'begin', spec, canary, files });
  }

  /** Sends the model. At most once. */
  load({ spec, canary, model, tokenizer, tokenizerConfig }: ModelBytes): void {
    this.#send({
      kind: 'load',
      spec,
      canary,
      sizes: [model.byteLength, tokenizer.byteLength, tokenizerConfig.byteLength],
    });
    const pipe = this.#child.stdio?.[BYTES_FD];
    if (!(pipe instanceof Writable)) return;
    for (const bytes of [model, tokenizer, tokenizerConfig]) pipe.write(bytes);
    pipe.end();
  }

  /** Sends a group of texts; the worker answers in order. */
  embed(id: number, texts: readonly string[]): void {
    this.#send({ kind: 'embed', id, texts });
  }

  /** Ends the process at once, in whatever it is doing, stopped or hanging. */
  kill(): void {
    this.#child.kill('SIGKILL');
  }

  /** Lets the process end by itself, kills it when it does not, and waits until it is gone. */
  async end(): Promise<void> {
    if (this.#child.connected) this.#child.disconnect();
    const timer = setTimeout(() => this.kill(), END_GRACE_MS);
    await this.#exited;
    clearTimeout(timer);
  }

  #tell(event: (listener: WorkerListener, log: Log) => void): void {
    if (this.#audience) event(this.#audience.listener, this.#audience.log);
    else this.#unheard.push(event);
  }

  #send(message: ToWorker): void {
    // A failure means that the worker is dying, and its exit is dealt with elsewhere.
    if (this.#child.connected) this.#child.send(message, () => {});
  }

  /** Standard output is the daemon's own log: what a worker or a native library prints becomes a log line. */
  #logOutput(log: Log): void {
    const { pid, stdout, stderr } = this.#child;
    for (const stream of [stdout, stderr]) {
      if (!stream) continue;
      createInterface({ input: stream }).on('line', (line) =>
        log.warn({ pid, line }, 'inference worker output'),
      );
    }
  }
}

function deliver(message: FromWorker, listener: WorkerListener): void {
  if (message.kind === 'warm') listener.warm();
  else if (message.kind === 'unread') listener.unread(message.message);
  else if (message.kind === 'loaded') listener.loaded(message.times, message.batches);
  else if (message.kind === 'refused') listener.refused(message.code, message.message);
  else listener.embedded(message.id, message.results);
}

function pick(env: NodeJS.ProcessEnv, names: readonly string[]): NodeJS.ProcessEnv {
  return Object.fromEntries(names.flatMap((name) => (env[name] === undefined ? [] : [[name, env[name]]])));
}
