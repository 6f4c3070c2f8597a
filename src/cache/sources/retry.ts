import type { LookupFunction } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { AppError, type ErrorCode } from '../../shared/errors.js';
import type { Source } from '../source.js';
import { abortedFault, isWorthRetrying } from './faults.js';
import type { Environment } from './proxy.js';

/** The bounds that every download keeps unless a source is made with others. Times are milliseconds. */
export const WIRE_DEFAULTS = {
  /** Until a TCP and TLS connection stands. */
  connectTimeoutMs: 10_000,
  /** From the request (connection included) until the headers of its answer. */
  headersTimeoutMs: 30_000,
  /** Longest silence between two pieces of a body. */
  idleTimeoutMs: 20_000,
  /** For one file (or one archive), all its attempts and waits together. */
  fileDeadlineMs: 3_600_000,
  /** Lowest average rate of a body, measured over `rateWindowMs` of waiting for the network. 0: any rate. */
  minBytesPerSecond: 4_096,
  rateWindowMs: 30_000,
  /** Attempts in a row that may fail before the source is given up. */
  attempts: 5,
  /** An attempt that brought at least this many new bytes makes the count of attempts start again. */
  progressBytes: 1_048_576,
  /** The first wait between two attempts lies between half of this and this; the range doubles each time. */
  backoffBaseMs: 500,
  /** The range of waits never exceeds this. */
  backoffCapMs: 15_000,
  /** The longest `Retry-After` that is waited for; with a longer one the source is given up at once. */
  retryAfterCapMs: 60_000,
  /** Redirects that one request follows. */
  maxRedirects: 5,
  /** Files that one source delivers at the same time. */
  concurrency: 4,
  /** Bytes that an archive may hold, packed and unpacked, beyond the files that are wanted from it. */
  archiveSlackBytes: 536_870_912,
  /**
   * Whether a wait between two attempts keeps an otherwise idle process alive. A daemon has its server for
   * that; a program that does nothing but download needs `true`, or it ends in the middle of a wait.
   */
  holdProcess: false,
};

/** See {@link WIRE_DEFAULTS}. */
export type WireLimits = Readonly<typeof WIRE_DEFAULTS>;

/** An attempt failed and another one follows: for the caller's log. */
export interface SourceEvent {
  readonly kind: 'retry';
  readonly source: string;
  /** The pinned path, or the archive's name. */
  readonly file: string;
  /** The number of the attempt that failed, from 1, since the last progress. */
  readonly attempt: number;
  /** How long the source waits before the next attempt, in milliseconds. */
  readonly waitMs: number;
  readonly code: ErrorCode;
  /** The failure in words, without credentials or query strings. */
  readonly reason: string;
}

export interface HttpSourceOptions {
  /** Bounds that differ from {@link WIRE_DEFAULTS}. */
  readonly limits?: Partial<WireLimits>;
  /** Told about each retry. Must not throw. */
  readonly onEvent?: (event: SourceEvent) => void;
}

/** Parts of the wire that a test replaces; a program leaves them as they are. */
export interface WireParts {
  /** Resolves host names. Default: `dns.lookup`. */
  readonly lookup?: LookupFunction;
  /** Which IP addresses a redirect must not reach. Default: {@link isPrivateAddress}. */
  readonly isPrivate?: (address: string) => boolean;
  /** Certificate authorities (PEM) to trust instead of the built-in ones. */
  readonly ca?: string;
  /** Where `HTTPS_PROXY` and the like are looked up. Default: `process.env`. */
  readonly env?: Environment;
}

/** A source that holds connections. */
export interface HttpSource extends Source {
  /** Ends its connections; deliveries under way fail with `aborted`. Afterwards it delivers nothing. */
  close(): Promise<void>;
}

/** Whose attempts are counted. */
export interface RetryContext {
  readonly source: string;
  readonly file: string;
  readonly limits: WireLimits;
  readonly signal: AbortSignal;
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
   * Runs `action` until it succeeds or {@link next} gives up; `cleanUp` is called after each failure.
   * @throws AppError as `next`
   */
  async run<T>(action: () => Promise<T>, cleanUp: () => void = () => undefined): Promise<T> {
    for (;;) {
      try {
        return await action();
      } catch (failure) {
        cleanUp();
        await this.next(failure);
      }
    }
  }

  /**
   * Returns when the next attempt may start.
   * @throws AppError the failure itself, where no attempt is left or worth its wait; `aborted`
   */
  async next(failure: unknown): Promise<void> {
    const { source, file, limits, signal, onEvent } = this.#context;
    if (signal.aborted) throw abortedFault();
    if (!(failure instanceof AppError) || !isWorthRetrying(failure)) throw failure;
    this.#failed += 1;
    if (this.#failed >= limits.attempts) throw failure;
    const demanded = failure.retryAfterMs ?? 0;
    if (demanded > limits.retryAfterCapMs) throw failure;
    const waitMs = Math.max(demanded, Math.round(backoffMs(this.#failed, limits)));
    if (performance.now() + waitMs >= this.deadline) throw failure;
    const { code, message: reason } = failure;
    onEvent?.({ kind: 'retry', source, file, attempt: this.#failed, waitMs, code, reason });
    await pause(waitMs, signal, limits.holdProcess);
  }
}

/** A wait with jitter: between half of a range that doubles with each failure, up to a cap, and all of it. */
export function backoffMs(
  failed: number,
  { backoffBaseMs, backoffCapMs }: Pick<WireLimits, 'backoffBaseMs' | 'backoffCapMs'>,
  random = Math.random(),
): number {
  return (Math.min(backoffCapMs, backoffBaseMs * 2 ** (failed - 1)) * (1 + random)) / 2;
}

async function pause(ms: number, signal: AbortSignal, ref: boolean): Promise<void> {
  try {
    await sleep(ms, undefined, { signal, ref });
  } catch {
    throw abortedFault();
  }
}
