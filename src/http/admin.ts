import { createHash, timingSafeEqual } from 'node:crypto';
import type { Context, Next } from 'koa';
import { AppError } from '../errors.js';

/** Middleware that lets nobody pass without one of the keys. */
export function adminOnly(keys: readonly string[]): (context: Context, next: Next) => Promise<void> {
  return (context, next) => {
    requireKey(context, keys);
    return next();
  };
}

/**
 * Lets a request pass that carries one of the keys as its bearer token. Digests are compared, so that neither
 * a key's length nor its first characters can be found by timing.
 * @throws AppError `forbidden` when there are no keys at all, `unauthorized`
 */
function requireKey(context: Context, keys: readonly string[]): void {
  if (keys.length === 0) {
    throw new AppError('forbidden', 'admin paths are closed: set ADMIN_KEYS to open them');
  }
  const [, token] = /^Bearer (.+)$/i.exec(context.get('authorization')) ?? [];
  const given = sha256(token ?? '');
  const matches = keys.filter((key) => timingSafeEqual(sha256(key), given));
  if (matches.length > 0) return;
  context.set('WWW-Authenticate', 'Bearer');
  throw new AppError('unauthorized', 'send one of ADMIN_KEYS as "Authorization: Bearer …"');
}

function sha256(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}
