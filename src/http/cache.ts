import type Router from '@koa/router';
import type { Context } from 'koa';
import { adminOnly } from './admin.js';

/** What the cache paths ask; the bodies are plain JSON. */
export interface CachePort {
  status(): Promise<object>;
  /** Runs a full verification, with repair, and resolves with its report. */
  verify(): Promise<object>;
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
