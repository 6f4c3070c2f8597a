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

/** Names and values, by turns. */
export const SECURE_HEADERS: readonly string[] = Object.entries({
  'Content-Security-Policy': policyOf(),
  'X-Content-Type-Options': 'nosniff',
  'X-Frame-Options': 'DENY',
  'Referrer-Policy': 'no-referrer',
  'Cross-Origin-Opener-Policy': 'same-origin',
  'Cross-Origin-Resource-Policy': 'same-origin',
}).flat();

/** Only what came through TLS may promise it; the proxy that ends it says so. */
export const STRICT_TRANSPORT = ['Strict-Transport-Security', 'max-age=31536000'] as const;

/** Middleware that sets what keeps browsers from misusing an answer; a route may set other values. */
export function secureHeaders(context: Context, next: Next): Promise<void> {
  for (let at = 0; at < SECURE_HEADERS.length; at += 2) {
    context.res.setHeader(SECURE_HEADERS[at] as string, SECURE_HEADERS[at + 1] as string);
  }
  if (context.secure) context.set(...STRICT_TRANSPORT);
  return next();
}
