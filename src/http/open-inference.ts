import type Router from '@koa/router';
import { z } from 'zod';
import type { HealthPort } from './health.js';

/** `GET /v2/health/live` */
export const liveResponse = z.strictObject({ live: z.boolean() });

/** `GET /v2/health/ready` */
export const readyResponse = z.strictObject({ ready: z.boolean() });

/**
 * The health paths of the open inference protocol, for platforms that ask there. The rest of the protocol (`/v2`,
 * `/v2/models/…`, tensors in and out) is not here: `/classify` and `/v1/embeddings` take texts.
 */
export function openInferenceHealth(router: Router, health: HealthPort): void {
  router.get('/v2/health/live', (context) => {
    context.set('Cache-Control', 'no-store');
    context.body = { live: true } satisfies z.infer<typeof liveResponse>;
  });
  router.get('/v2/health/ready', (context) => {
    const { ready } = health.report();
    context.set('Cache-Control', 'no-store');
    context.status = ready ? 200 : 503;
    if (!ready) context.set('Retry-After', '1');
    context.body = { ready } satisfies z.infer<typeof readyResponse>;
  });
}
