import { AppError } from '../shared/errors.js';
import type { Embedding } from './embedder.js';
import type { WorkerEmbedding } from './protocol.js';

/** A text that kills this many workers, or fails on as many, is given up. */
export const MAX_ATTEMPTS = 2;

/** One text on its way to a vector. It settles once; whatever comes later is dropped. */
export class Job {
  /** Workers that died, hung or failed while they executed this text and no other. */
  attempts = 0;
  /** A worker died of this text or of another one of its group: it is tried alone, which will tell. */
  suspect = false;
  readonly promise: Promise<Embedding>;
  readonly #enqueuedAt = performance.now();
  #settle: { resolve(embedding: Embedding): void; reject(error: AppError): void } | undefined;

  constructor(
    readonly text: string,
    /** See `workOf`. */
    readonly work: number,
    /** For whom it is: clients take turns. */
    readonly client = '',
  ) {
    this.promise = new Promise((resolve, reject) => {
      this.#settle = { resolve, reject };
    });
  }

  get settled(): boolean {
    return this.#settle === undefined;
  }

  resolve({ vector, tokens, truncatedTokens, tokenizeMs, inferenceMs }: WorkerEmbedding): void {
    const queueMs = Math.max(0, performance.now() - this.#enqueuedAt - tokenizeMs - inferenceMs);
    this.#settle?.resolve({
      // A view over the whole received message otherwise, which it would keep alive.
      vector: vector.slice(),
      tokens,
      truncatedTokens,
      timing: { queueMs, tokenizeMs, inferenceMs },
    });
    this.#settle = undefined;
  }

  reject(error: AppError): void {
    this.#settle?.reject(error);
    this.#settle = undefined;
  }

  /** The text is given up because of what happened to the workers that executed it. */
  giveUp(reason: string): void {
    this.reject(
      new AppError('worker_failed', `embedding failed ${this.attempts} times, the last because ${reason}`, {
        retryable: true,
      }),
    );
  }
}
