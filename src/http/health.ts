import type Router from '@koa/router';
import type { Context } from 'koa';
import type { Health } from '../api/health.js';
import { answerJson } from './answer.js';

/** The body of `/health`, and whether a classification would succeed now. */
export interface HealthReport extends Health {
  readonly ready: boolean;
}

/** What the health paths ask. */
export interface HealthPort {
  report(): HealthReport;
  /** Whether the daemon is on its way out. */
  draining(): boolean;
}

/** `/livez` (the process works), `/readyz` and `/health` (a classification would succeed). */
export function healthRoutes(router: Router, health: HealthPort): void {
  router.get('/livez', (context) => {
    context.set('Cache-Control', 'no-store');
    answerJson(context, { status: 'alive' });
  });
  const answer = (context: Context): void => {
    const { ready, ...body } = health.report();
    context.set('Cache-Control', 'no-store');
    context.status = ready ? 200 : 503;
    if (!ready) context.set('Retry-After', '1');
    answerJson(context, body);
  };
  router.get('/readyz', answer);
  router.get('/health', answer);
}
