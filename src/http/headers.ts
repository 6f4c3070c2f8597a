import type { IncomingMessage } from 'node:http';
import type { Middleware, Next } from 'koa';
import { AppError } from '../shared/errors.js';
import type { RequestContext } from './request.js';

/** Directives of a Content-Security-Policy. */
type Policy = Readonly<Record<string, string>>;

/** Answers are data: nothing in them may run, load or be framed. */
const STRICT: Policy = {
  'default-src': "'none'",
  'base-uri': "'none'",
  'form-action': "'none'",
  'frame-ancestors': "'none'",
};

const SECURE_HEADERS: Readonly<Record<string, string>> = {
  'Content-Security-Policy': policyOf(),
  'X-Content-Type-Options': 'nosniff',
  'X-Frame-Options': 'DENY',
  'Referrer-Policy': 'no-referrer',
  'Cross-Origin-Opener-Policy': 'same-origin',
  'Cross-Origin-Resource-Policy': 'same-origin',
};

/** Seconds for which a browser may remember what a page of another origin is allowed. */
const CORS_MAX_AGE = 600;

/** Returns the strict policy with some directives of a page's own. */
export function policyOf(own: Policy = {}): string {
  return Object.entries({ ...STRICT, ...own })
    .map(([directive, sources]) => `${directive} ${sources}`)
    .join('; ');
}

/** Sets the headers that keep browsers from misusing an answer. An endpoint may set other values. */
export function secureHeaders(context: RequestContext, next: Next): Promise<void> {
  context.set(SECURE_HEADERS);
  // Only what came through TLS may promise it; the proxy that ends it says so.
  if (context.secure) context.set('Strict-Transport-Security', 'max-age=31536000');
  return next();
}

/** Middleware that lets pages of some origins, or of any (`*`), call this daemon. Keys travel as bearer, never as cookies. */
export async function crossOrigin(origins: readonly string[]): Promise<Middleware> {
  const { default: cors } = await import('@koa/cors');
  const any = origins.includes('*');
  return cors({
    origin: (context) => {
      const origin = context.get('Origin');
      return any ? '*' : origins.includes(origin) ? origin : '';
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
    maxAge: CORS_MAX_AGE,
  });
}

/**
 * Refuses request headers that Node's parser accepts: other versions of HTTP, too many headers (it would drop the last ones
 * silently), no Host or several (RFC 9112, 3.2), a target without a path, expectations that are not supported.
 * @throws AppError `headers_too_large`, `bad_request`, `expectation_failed`
 */
export function validateHeaders(
  { rawHeaders, httpVersion, headers, url }: IncomingMessage,
  maxHeaders: number,
): void {
  if (!httpVersion.startsWith('1.')) throw new AppError('bad_request', 'send HTTP/1.1');
  // "http://" is an absolute URL to the parser, though it has no host.
  if (!/^(\/|\*$|https?:\/\/[^/])/i.test(url ?? '')) {
    throw new AppError('bad_request', 'invalid request target');
  }
  if (rawHeaders.length / 2 > maxHeaders) {
    throw new AppError('headers_too_large', `a request may have ${maxHeaders} headers at most (MAX_HEADERS)`);
  }
  let hosts = 0;
  for (let at = 0; at < rawHeaders.length; at += 2) {
    if (rawHeaders[at]?.toLowerCase() === 'host') hosts += 1;
  }
  if (hosts > 1 || (hosts === 0 && httpVersion !== '1.0')) {
    throw new AppError('bad_request', 'send exactly one Host header');
  }
  if (headers.expect !== undefined && headers.expect.toLowerCase() !== '100-continue') {
    throw new AppError('expectation_failed', 'unsupported Expect header (only 100-continue)');
  }
}
