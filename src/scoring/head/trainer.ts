import { type ChildProcess, fork } from 'node:child_process';
import { childEnv } from '../../shared/child.js';
import { unlessAborted } from '../../shared/concurrent.js';
import { AppError, messageOf } from '../../shared/errors.js';
import type { Head, HeadTexts, HeadVectors } from './fit.js';

/** Messages to the process: first the texts, then their vectors. */
export type ToTrainer = { readonly texts: HeadTexts } | { readonly vectors: HeadVectors };

/** The only answer. */
export type FromTrainer = { readonly head: Head } | Failure;

interface Failure {
  readonly failure: string;
  /** Whether something else ended the process, most often a kernel without memory. */
  readonly killed?: boolean;
}

/** The compiled `head-worker.js`. */
const HEAD_WORKER = new URL('./head-worker.js', import.meta.url);

/**
 * A process that trains one head. It starts and learns the words of the texts while their vectors are being made. A process
 * and not a thread: its memory goes back whole, and where memory runs out the kernel ends it before what serves.
 */
export class Trainer {
  readonly #child: ChildProcess;
  readonly #answer: Promise<FromTrainer>;

  /** @param entry the compiled `head-worker.js` */
  constructor(texts: HeadTexts, entry: URL = HEAD_WORKER) {
    this.#child = fork(entry, {
      serialization: 'advanced',
      // No flags of the parent: an inspector's port cannot be shared.
      execArgv: [],
      env: childEnv(),
      stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
    });
    this.#answer = new Promise((resolve) => {
      this.#child.once('message', resolve);
      this.#child.on('error', (error) => resolve({ failure: messageOf(error) }));
      this.#child.once('exit', (code, signal) =>
        resolve({ failure: `its process ended with ${signal ?? `code ${code}`}`, killed: signal !== null }),
      );
    });
    this.#send({ texts });
  }

  /**
   * Trains the head.
   * @throws AppError `aborted` when `signal` was; `internal` when training failed, retryable when something ended the process
   */
  async train(vectors: HeadVectors, signal?: AbortSignal): Promise<Head> {
    this.#send({ vectors });
    const answer = await unlessAborted(this.#answer, signal);
    if ('head' in answer) return answer.head;
    const { failure, killed = false } = answer;
    throw new AppError('internal', `the head could not be trained: ${failure}`, { retryable: killed });
  }

  /** Ends the process, in whatever it is doing. */
  close(): void {
    this.#child.kill('SIGKILL');
  }

  #send(message: ToTrainer): void {
    // Where it has died, its exit says so.
    if (this.#child.connected) this.#child.send(message, () => undefined);
  }
}
