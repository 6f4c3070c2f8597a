import type Router from '@koa/router';
import type { Context } from 'koa';

/** The body of `/health` and `/readyz`. */
export interface HealthReport {
  /** `degraded` serves, but something named in `checks` needs care. */
  readonly status: 'starting' | 'ready' | 'degraded' | 'draining';
  /** Whether a classification would succeed now. */
  readonly ready: boolean;
  readonly phase: string;
  /** Progress of a phase that has some, e.g. bytes of a download. */
  readonly progress: { readonly done: number; readonly total: number; readonly unit: string } | null;
  readonly checks: Readonly<
    Record<string, { readonly ok: boolean; readonly code?: string; readonly detail?: string }>
  >;
  readonly uptime_s: number;
  readonly version: string;
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
    context.body = { status: 'alive' };
  });
  const answer = (context: Context): void => {
    const { ready, ...body } = health.report();
    context.set('Cache-Control', 'no-store');
    context.status = ready ? 200 : 503;
    if (!ready) context.set('Retry-After', '1');
    context.body = body;
  };
  router.get('/readyz', answer);
  router.get('/health', answer);
}
