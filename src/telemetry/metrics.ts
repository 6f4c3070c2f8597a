import { collectDefaultMetrics, Registry } from 'prom-client';
import type { HealthReport } from '../api/health.js';
import type { Manifest } from '../cache/manifest.js';
import { type CacheFacts, cacheMetrics, type VolumePort } from './metrics/cache.js';
import { type InferenceFacts, inferenceMetrics, type ObserveEmbedding } from './metrics/inference.js';
import { gauge, gauges } from './metrics/instruments.js';
import { requestMetrics } from './metrics/requests.js';
import type { MetricsPort } from './ports.js';

export interface MetricsSources extends InferenceFacts {
  readonly version: string;
  readonly model: Pick<Manifest, 'repo' | 'revision' | 'variant' | 'digest'>;
  readonly routes: () => { readonly digest: string; readonly routes: readonly unknown[] } | undefined;
  /** Seconds since the leader confirmed them, where one is followed. */
  readonly routesAge: () => number | undefined;
  readonly health: () => HealthReport;
  readonly cache: CacheFacts;
  readonly volume: VolumePort;
}

export interface Metrics extends MetricsPort {
  /** Counts a text that a worker has embedded. */
  readonly embedded: ObserveEmbedding;
}

/** Makes the metrics of a daemon. Gauges are read when they are rendered, and cost nothing otherwise. */
export function createMetrics(sources: MetricsSources): Metrics {
  const registry = new Registry();
  const registers = [registry];
  collectDefaultMetrics({ register: registry });
  identityMetrics(sources, registers);
  healthMetrics(sources.health, registers);
  cacheMetrics(sources.cache, sources.volume, registers);
  return {
    contentType: registry.contentType,
    render: () => registry.metrics(),
    embedded: inferenceMetrics(sources, registers),
    ...requestMetrics(registers),
  };
}

function identityMetrics({ version, model, routes, routesAge }: MetricsSources, registers: Registry[]): void {
  const { repo, revision, variant, digest } = model;
  const labels = { version, model: repo, revision, variant, digest };
  const identity = '1, with the version and the pinned model as labels';
  gauges(registers, 'info', identity, Object.keys(labels), () => [[labels, 1]]);
  gauge(registers, 'routes', 'Served routes', () => routes()?.routes.length ?? 0);
  gauges(
    registers,
    'routes_info',
    '1, with the digest of the served routes as label; replicas with different ones decide differently',
    ['digest'],
    () => {
      const served = routes();
      return served ? [[{ digest: served.digest }, 1]] : [];
    },
  );
  const age = 'Time since the leader of ROUTES_URL confirmed the served routes';
  gauge(registers, 'routes_age_seconds', age, routesAge);
}

const STATUSES: readonly HealthReport['status'][] = ['starting', 'ready', 'degraded', 'draining'];

function healthMetrics(health: () => HealthReport, registers: Registry[]): void {
  gauge(registers, 'ready', 'Whether a classification would succeed now', () => health().ready);
  gauges(registers, 'status', '1 for the status that /health says, 0 for the others', ['status'], () => {
    const { status } = health();
    return STATUSES.map((each) => [{ status: each }, each === status]);
  });
  const help = 'Whether a check of /health is well; where it is not, with its code';
  gauges(registers, 'check_ok', help, ['check', 'code'], () =>
    Object.entries(health().checks).map(([check, { ok, code = '' }]) => [{ check, code }, ok]),
  );
}
