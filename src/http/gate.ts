import type { Context, Next } from 'koa';
import { clientOf } from './client-address.js';
import { bearerOf, type KeyDigests, type KeyReader, unauthorized } from './keys.js';
import { createMeter, type RateLimit } from './rate-limit.js';

/** Who may come in, and how often. */
export interface GateDeps {
  /** Keys without which only the open paths answer; none lets everybody in. */
  readonly apiKeys: KeyDigests;
  readonly adminKeys: KeyDigests;
  /** `undefined` counts nothing. */
  readonly rateLimit: RateLimit | undefined;
}

/** Paths that need no key and are not counted: health, the page, and the contract with its viewer. */
const OPEN_PATH =
  /^\/(?:|livez|readyz|health|v2\/health\/(?:live|ready)|openapi\.json|(?:docs|page)(?:\/[^/]+)?)$/i;

/**
 * Whether a request is open to everybody. The router, too, makes nothing of case and of a slash at the end of a path.
 * The page's own path also takes texts to embed, as another API has it, and these are not.
 */
export function isOpen(method: string, path: string): boolean {
  if (path === '/' && method === 'POST') return false;
  return OPEN_PATH.test(path.length > 1 ? path.replace(/\/$/, '') : path);
}

/** The reader of any key that may come in. */
export function keyReaderOf({ apiKeys, adminKeys }: GateDeps): KeyReader {
  return bearerOf([...apiKeys, ...adminKeys]);
}

/** Middleware that counts requests by key, or by address without one, and asks for a key where keys are set. */
export function gate(deps: GateDeps): (context: Context, next: Next) => Promise<void> {
  const { apiKeys, rateLimit } = deps;
  const keyOf = keyReaderOf(deps);
  const meter = rateLimit && createMeter(rateLimit);
  return (context, next) => {
    if (isOpen(context.method, context.path)) return next();
    const key = keyOf(context);
    context.state.key = key;
    const enter = (): Promise<void> => {
      if (key === undefined && apiKeys.length > 0) throw unauthorized(context, 'API_KEYS');
      return next();
    };
    return meter ? meter(context, clientOf(context)).then(enter) : enter();
  };
}
