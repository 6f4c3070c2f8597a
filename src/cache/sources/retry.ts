import { setTimeout as sleep } from 'node:timers/promises';
import { AppError } from '../../shared/errors.js';
import { abortedFault, isWorthWaiting } from './faults.js';
import type { SourceEvent, WireLimits } from './wire.js';

/** Whose attempts are counted. */
export interface RetryContext {
  readonly source: string;
  readonly file: string;
  readonly limits: WireLimits;
  readonly signal: AbortSignal;
  readonly random: () => number;
  readonly onEvent: ((event: SourceEvent) => void) | undefined;
}

/**
 * The attempts at one file: how many failed since something last came through, how long to wait before the
 * next, and when to stop trying. The deadline counts from the construction.
 */
export class Attempts {
  readonly #context: RetryContext;
  /** When the file has to be there, on the clock of `performance.now()`. */
  readonly deadline: number;
  #failed = 0;
  #fresh = 0;

  constructor(context: RetryContext) {
    this.#context = context;
    this.deadline = performance.now() + context.limits.fileDeadlineMs;
  }

  /** Notes `bytes` that were not there before. */
  progress(bytes: number): void {
    this.#fresh += bytes;
    if (this.#fresh < this.#context.limits.progressBytes) return;
    this.#fresh = 0;
    this.#failed = 0;
  }

  /**
   * Returns when the next attempt may start.
   * @throws AppError the failure itself, where no attempt is left or worth its wait; `aborted`
   */
  async next(failure: unknown): Promise<void> {
    const { source, file, limits, signal, random, onEvent } = this.#context;
    if (signal.aborted) throw abortedFault();
    // What is no fault of a source is a mistake of ours, and waiting does not mend it.
    if (!(failure instanceof AppError) || !isWorthWaiting(failure)) throw failure;
    const error = failure;
    this.#failed += 1;
    if (this.#failed >= limits.attempts) throw exhausted(error, this.#failed);
    const demanded = error.retryAfterMs ?? 0;
    if (demanded > limits.retryAfterCapMs) throw error;
    const waitMs = Math.max(demanded, Math.round(backoffMs(this.#failed, limits, random)));
    if (performance.now() + waitMs >= this.deadline) throw error;
    onEvent?.({
      kind: 'retry',
      source,
      file,
      attempt: this.#failed,
      waitMs,
      code: error.code,
      reason: error.message,
    });
    await pause(waitMs, signal, limits.holdProcess);
  }
}

/** A wait with full jitter: anywhere between 0 and a range that doubles with each failure, up to a cap. */
export function backoffMs(
  failed: number,
  limits: Pick<WireLimits, 'backoffBaseMs' | 'backoffCapMs'>,
  random: () => number = Math.random,
): number {
  return random() * Math.min(limits.backoffCapMs, limits.backoffBaseMs * 2 ** (failed - 1));
}

async function pause(ms: number, signal: AbortSignal, ref: boolean): Promise<void> {
  try {
    await sleep(ms, undefined, { signal, ref });
  } catch {
    throw abortedFault();
  }
}

function exhausted(error: AppError, attempts: number): AppError {
  if (attempts === 1) return error;
  return new AppError(error.code, `${error.message} (attempt ${attempts}, the last)`, {
    retryable: error.retryable,
    ...(error.retryAfterMs === undefined ? {} : { retryAfterMs: error.retryAfterMs }),
    cause: error.cause,
  });
}
