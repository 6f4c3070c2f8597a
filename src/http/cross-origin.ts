import type { Middleware } from 'koa';

/** How long a browser may remember what it is allowed, in seconds. */
const MAX_AGE = 600;

/** Middleware that lets pages of some origins, or of any (`*`), ask this daemon. Keys travel as bearer, never as cookies. */
export function crossOrigin(origins: readonly string[]): Middleware {
  const any = origins.includes('*');
  // Loaded only where there are origins: nobody else should wait for it at boot.
  const loading = import('@koa/cors').then(({ default: cors }) =>
    cors({
      origin: (context) => {
        if (any) return '*';
        const origin = context.get('Origin');
        return origins.includes(origin) ? origin : '';
      },
      exposeHeaders: [
        'ETag',
        'RateLimit',
        'RateLimit-Policy',
        'Retry-After',
        'Server-Timing',
        'WWW-Authenticate',
        'X-Request-Id',
      ],
      maxAge: MAX_AGE,
    }),
  );
  return async (context, next) => (await loading)(context, next);
}
