import { hash, timingSafeEqual } from 'node:crypto';
import type { Context, Next } from 'koa';
import { AppError } from '../shared/errors.js';

/** Keys that open paths, as `sha256:<hex>`: the program keeps no key itself. */
export type KeyDigests = readonly string[];

const BEARER = /^Bearer +(\S+) *$/i;

/** Finds the one of some keys that a request carries; `undefined` without one. */
export type KeyReader = (context: Context) => string | undefined;

/**
 * Makes the reader of the bearer token for some keys. Digests are compared, and always all of them, so that neither
 * a key's characters nor its place in the list can be found by timing.
 */
export function bearerOf(keys: KeyDigests): KeyReader {
  const digests = keys.map((key) => ({ key, digest: Buffer.from(key.slice(-64), 'hex') }));
  return (context) => {
    const token = BEARER.exec(context.get('authorization'))?.[1];
    if (token === undefined || digests.length === 0) return undefined;
    const given = sha256(token);
    let found: string | undefined;
    for (const { key, digest } of digests) {
      if (timingSafeEqual(digest, given)) found = key;
    }
    return found;
  };
}

/**
 * Middleware that lets nobody pass without one of the keys. It throws AppError `forbidden` when there are no keys at
 * all, or for another known key; `unauthorized`.
 */
export function adminOnly(keys: KeyDigests): (context: Context, next: Next) => Promise<void> {
  const keyOf = bearerOf(keys);
  return (context, next) => {
    if (keys.length === 0) {
      throw new AppError('forbidden', 'admin paths are closed: set ADMIN_KEYS to open them');
    }
    if (keyOf(context) !== undefined) return next();
    if (context.state.key !== undefined) {
      throw new AppError('forbidden', 'this key is one of API_KEYS; admin paths want one of ADMIN_KEYS');
    }
    throw unauthorized(context, 'ADMIN_KEYS');
  };
}

/** The error of a request without a key of that setting; says how to send one. */
export function unauthorized(context: Context, setting: string): AppError {
  context.set('WWW-Authenticate', 'Bearer');
  return new AppError('unauthorized', `send one of ${setting} as "Authorization: Bearer …"`);
}

function sha256(text: string): Buffer {
  return hash('sha256', text, 'buffer');
}
