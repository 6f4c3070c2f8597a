import type Router from '@koa/router';
import type { Context, Next } from 'koa';
import type { RateLimit } from '../config/parsers.js';
import { clientOf } from './client-address.js';
import { bearerOf, type KeyDigests, type KeyReader, unauthorized } from './keys.js';
import { createMeter } from './rate-limit.js';

/** Who may come in, and how often. */
export interface GateDeps {
  /** Keys without which only the open paths answer; none lets everybody in. */
  readonly apiKeys: KeyDigests;
  readonly adminKeys: KeyDigests;
  /** `undefined` counts nothing. */
  readonly rateLimit: RateLimit | undefined;
}

/** Endpoints that need no key and are not counted: health, the page, and the contract with its viewer. */
const OPEN_ENDPOINTS: ReadonlySet<string> = new Set([
  '/',
  '/livez',
  '/readyz',
  '/health',
  '/v2/health/live',
  '/v2/health/ready',
  '/openapi.json',
  '/docs',
  '/docs/start.js',
  '/docs/:file',
  '/page/:name',
]);

/**
 * Whether a request is open to everybody, decided by the endpoint that the router will run: a second reading of the path
 * would differ from the router's some day. All open endpoints are reads; what matches no endpoint is closed.
 */
export function isOpen(router: Router, method: string, path: string): boolean {
  if (method !== 'GET' && method !== 'HEAD') return false;
  const { pathAndMethod, route } = router.match(path, method);
  return route && pathAndMethod.every((layer) => OPEN_ENDPOINTS.has(String(layer.path)));
}

/** The reader of any key that may come in. */
export function keyReaderOf({ apiKeys, adminKeys }: GateDeps): KeyReader {
  return bearerOf([...apiKeys, ...adminKeys]);
}

/** Middleware that counts requests by key, or by address without one, and asks for a key where keys are set. */
export function gate(deps: GateDeps, router: Router): (context: Context, next: Next) => Promise<void> {
  const { apiKeys, rateLimit } = deps;
  const keyOf = keyReaderOf(deps);
  const meter = rateLimit && createMeter(rateLimit);
  return (context, next) => {
    if (isOpen(router, context.method, context.path)) return next();
    const key = keyOf(context);
    context.state.key = key;
    const enter = (): Promise<void> => {
      if (key === undefined && apiKeys.length > 0) throw unauthorized(context, 'API_KEYS');
      return next();
    };
    return meter ? meter(context, clientOf(context)).then(enter) : enter();
  };
}
