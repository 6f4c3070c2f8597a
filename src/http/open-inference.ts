import type Router from '@koa/router';
import type { OpenInferenceLive, OpenInferenceReady } from '../api/open-inference.js';
import { answerJson } from './answer.js';
import type { HealthPort } from './health.js';

/**
 * The health paths of the open inference protocol, for platforms that ask there. The rest of the protocol (`/v2`,
 * `/v2/models/…`, tensors in and out) is not here: `/classify` and `/v1/embeddings` take texts.
 */
export function openInferenceHealth(router: Router, health: HealthPort): void {
  router.get('/v2/health/live', (context) => {
    context.set('Cache-Control', 'no-store');
    answerJson(context, { live: true } satisfies OpenInferenceLive);
  });
  router.get('/v2/health/ready', (context) => {
    const { ready } = health.report();
    context.set('Cache-Control', 'no-store');
    context.status = ready ? 200 : 503;
    if (!ready) context.set('Retry-After', '1');
    answerJson(context, { ready } satisfies OpenInferenceReady);
  });
}
