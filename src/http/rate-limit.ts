import type { Context } from 'koa';
import type { RateLimit } from '../config/parsers.js';
import { AppError } from '../shared/errors.js';

/** Counts one request of a client; throws when it is one too many. */
export type Meter = (context: Context, client: string) => Promise<void>;

/**
 * Makes a meter. Its answers carry the fields of draft-ietf-httpapi-ratelimit-headers. Clients are forgotten when
 * their window ends.
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
