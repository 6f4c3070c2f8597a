import type { Context, Next } from 'koa';

/** Directives of a Content-Security-Policy. */
export type Policy = Readonly<Record<string, string>>;

/** Answers are data: nothing of them may run, load or be framed. */
const STRICT: Policy = {
  'default-src': "'none'",
  'base-uri': "'none'",
  'form-action': "'none'",
  'frame-ancestors': "'none'",
};

/** The strict policy with some directives of a page's own, for a route that answers one. */
export function policyOf(own: Policy = {}): string {
  return Object.entries({ ...STRICT, ...own })
    .map(([directive, sources]) => `${directive} ${sources}`)
    .join('; ');
}

const HEADERS = Object.entries({
  'Content-Security-Policy': policyOf(),
  'X-Content-Type-Options': 'nosniff',
  'X-Frame-Options': 'DENY',
  'Referrer-Policy': 'no-referrer',
  'Cross-Origin-Opener-Policy': 'same-origin',
  'Cross-Origin-Resource-Policy': 'same-origin',
});

/** Middleware that sets what keeps browsers from misusing an answer; a route may set other values. */
export function secureHeaders(context: Context, next: Next): Promise<void> {
  for (const [name, value] of HEADERS) context.res.setHeader(name, value);
  // Only what came through TLS may promise it; the proxy that ends it says so.
  if (context.secure) context.set('Strict-Transport-Security', 'max-age=31536000');
  return next();
}
