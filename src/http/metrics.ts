import type Router from '@koa/router';
import type { TextsUsage } from '../scoring/embed-texts.js';
import type { ErrorCode } from '../shared/errors.js';

/** What was decided among: the served routes, or labels that the request brought along. */
export type DecisionKind = 'routes' | 'labels';

/** What the HTTP layer counts. */
export interface RequestMetrics {
  /** A request came in. Every one is followed by `answered`. */
  began(): void;
  /** A request was answered; `route` is the template of its path, `seconds` the time it took. */
  answered(method: string, route: string, status: number, seconds: number): void;
  /** A request failed by name. */
  failed(code: ErrorCode): void;
  /** A request gets the answer that an equal one got; its text is not looked for among the embeddings. */
  repeated(): void;
  /** The texts of a request were read. */
  read(usage: TextsUsage): void;
  /** A text was decided; `null` is an abstention. */
  decided(route: string | null, kind: DecisionKind): void;
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
