import { getHeapStatistics } from 'node:v8';
import type { RateLimit } from '../config/parsers.js';
import { AppError } from '../shared/errors.js';
import type { RequestContext } from './request.js';

/*
 * Two of the gates that refuse requests because the daemon has enough to do. The full list is GATES in shared/errors.ts:
 * connections (server.ts), body_bytes and rate (here), queue and deadline (inference), answer_budget (answer-size.ts).
 */

/** Counts one request of the client; throws AppError `rate_limited` when it is one too many. */
export type Meter = (context: RequestContext, client: string) => Promise<void>;

/**
 * Makes a meter. Answers carry the fields of draft-ietf-httpapi-ratelimit-headers. Clients are forgotten when their window
 * ends.
 */
export function createMeter({ requests, seconds }: RateLimit): Meter {
  // Loaded only where there is a limit: it takes longer than anything else at boot.
  const loading = import('rate-limiter-flexible').then(({ default: library }) => ({
    limiter: new library.RateLimiterMemory({ points: requests, duration: seconds }),
    Refusal: library.RateLimiterRes,
  }));
  return async (context, client) => {
    const { limiter, Refusal } = await loading;
    const [state, refused] = await limiter.consume(client).then(
      (result) => [result, false] as const,
      (result: unknown) => {
        if (result instanceof Refusal) return [result, true] as const;
        throw result;
      },
    );
    const left = Math.max(0, state.remainingPoints);
    const resetSeconds = Math.max(1, Math.ceil(state.msBeforeNext / 1_000));
    context.set('RateLimit-Policy', `"default";q=${requests};w=${seconds}`);
    context.set('RateLimit', `"default";r=${left};t=${resetSeconds}`);
    if (!refused) return;
    throw new AppError('rate_limited', `more than ${requests} requests in ${seconds} s (RATE_LIMIT)`, {
      retryable: true,
      retryAfterMs: state.msBeforeNext,
      gate: 'rate',
    });
  };
}

/** Bytes of request and response bodies under way, all clients together, where memory allows it. */
const MAX_BYTES = 64 * 2 ** 20;
/** Part of the heap that they may be: parsed, a body takes several times its bytes. */
const HEAP_SHARE = 1 / 8;

/**
 * Memory for bodies under way: those that arrive, and the answers that are made of them. A client may hold half of it, so
 * that it cannot keep the others out.
 */
export class ByteBudget {
  readonly #total: number;
  readonly #perClient: number;
  readonly #clients = new Map<string, number>();
  #used = 0;

  /** @param largest size of one body or answer that must fit, in bytes */
  constructor(
    largest: number,
    total = Math.min(MAX_BYTES, getHeapStatistics().heap_size_limit * HEAP_SHARE),
  ) {
    this.#perClient = Math.max(largest, Math.floor(total / 2));
    this.#total = Math.max(total, 2 * this.#perClient);
  }

  /** Bytes under way. */
  get used(): number {
    return this.#used;
  }

  /**
   * Returns a function that takes bytes for a request, all of which are given back when its response is closed.
   * @throws (the function) AppError `overloaded`
   */
  lease({ state: { client }, res }: RequestContext): (bytes: number) => void {
    let held = 0;
    res.once('close', () => this.#give(client, held));
    return (bytes) => {
      const own = (this.#clients.get(client) ?? 0) + bytes;
      if (own > this.#perClient || this.#used + bytes > this.#total) {
        const whose = own > this.#perClient ? 'of this client' : 'of all clients';
        throw new AppError('overloaded', `bodies ${whose} take up the memory there is for them; try again`, {
          retryable: true,
          gate: 'body_bytes',
        });
      }
      if (res.destroyed) throw new AppError('aborted', 'the client closed the connection');
      held += bytes;
      this.#used += bytes;
      this.#clients.set(client, own);
    };
  }

  #give(client: string, bytes: number): void {
    this.#used -= bytes;
    const left = (this.#clients.get(client) ?? 0) - bytes;
    if (left > 0) this.#clients.set(client, left);
    else this.#clients.delete(client);
  }
}
