import type Router from '@koa/router';
import type { Context } from 'koa';
import type { CacheStatus, VerificationReport } from '../api/cache.js';
import { adminOnly } from './keys.js';

/** What the cache paths ask. */
export interface CachePort {
  status(): Promise<CacheStatus>;
  /** Runs a full verification, with repair, and resolves with its report. */
  verify(): Promise<VerificationReport>;
}

/** `GET /cache/status` and `POST /cache/verify` (admin). */
export function cacheRoutes(router: Router, cache: CachePort, adminKeys: readonly string[]): void {
  router.get('/cache/status', async (context) => {
    context.set('Cache-Control', 'no-store');
    context.body = await cache.status();
  });
  router.post('/cache/verify', adminOnly(adminKeys), async (context: Context) => {
    context.body = await cache.verify();
  });
}
