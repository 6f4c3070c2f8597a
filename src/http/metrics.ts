import type Router from '@koa/router';

/** What the HTTP layer counts. */
export interface RequestMetrics {
  /** A request was answered; `route` is the template of its path, `seconds` the time it took. */
  answered(method: string, route: string, status: number, seconds: number): void;
  /** A text was decided; `null` is an abstention. */
  decided(route: string | null, truncatedTokens: number): void;
}

/** What `/metrics` asks. */
export interface MetricsPort extends RequestMetrics {
  readonly contentType: string;
  render(): Promise<string>;
}

/** `GET /metrics` in the Prometheus text format. */
export function metricsRoutes(router: Router, metrics: MetricsPort): void {
  router.get('/metrics', async (context) => {
    context.set('Cache-Control', 'no-store');
    context.set('Content-Type', metrics.contentType);
    context.body = await metrics.render();
  });
}
