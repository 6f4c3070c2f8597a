import { collectDefaultMetrics, Gauge, Registry } from 'prom-client';
import type { HealthReport } from '../api/health.js';
import type { Manifest } from '../cache/manifest.js';
import { type CacheFacts, cacheMetrics, type VolumePort } from './metrics/cache.js';
import { type InferenceFacts, inferenceMetrics, type ObserveEmbedding } from './metrics/inference.js';
import { requestMetrics } from './metrics/requests.js';
import type { MetricsPort } from './ports.js';

/** The sources of the metrics. */
export interface MetricsSources extends InferenceFacts {
  readonly version: string;
  readonly model: Pick<Manifest, 'repo' | 'revision' | 'variant' | 'digest'>;
  /** The served routes. */
  readonly routes: () => { readonly digest: string; readonly routes: readonly unknown[] } | undefined;
  /** Seconds since the leader confirmed them, where one is followed. */
  readonly routesAge: () => number | undefined;
  readonly health: () => HealthReport;
  readonly cache: CacheFacts;
  readonly volume: VolumePort;
}

/** The metrics of a daemon. */
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
  new Gauge({
    name: 'ai_router_info',
    help: '1, with the version and the pinned model as labels',
    labelNames: ['version', 'model', 'revision', 'variant', 'digest'],
    registers,
  }).set({ version, model: repo, revision, variant, digest }, 1);
  new Gauge({
    name: 'ai_router_routes',
    help: 'Served routes',
    registers,
    collect() {
      this.set(routes()?.routes.length ?? 0);
    },
  });
  new Gauge({
    name: 'ai_router_routes_info',
    help: '1, with the digest of the served routes as label; replicas with different ones decide differently',
    labelNames: ['digest'],
    registers,
    collect() {
      this.reset();
      const served = routes();
      if (served) this.set({ digest: served.digest }, 1);
    },
  });
  new Gauge({
    name: 'ai_router_routes_age_seconds',
    help: 'Time since the leader of ROUTES_URL confirmed the served routes',
    labelNames: [],
    registers,
    collect() {
      this.reset();
      const age = routesAge();
      if (age === undefined) this.remove();
      else this.set(age);
    },
  });
}

const STATUSES: readonly HealthReport['status'][] = ['starting', 'ready', 'degraded', 'draining'];

function healthMetrics(health: () => HealthReport, registers: Registry[]): void {
  new Gauge({
    name: 'ai_router_ready',
    help: 'Whether a classification would succeed now',
    registers,
    collect() {
      this.set(health().ready ? 1 : 0);
    },
  });
  new Gauge({
    name: 'ai_router_status',
    help: '1 for the status that /health says, 0 for the others',
    labelNames: ['status'],
    registers,
    collect() {
      const { status } = health();
      for (const each of STATUSES) this.set({ status: each }, each === status ? 1 : 0);
    },
  });
  new Gauge({
    name: 'ai_router_check_ok',
    help: 'Whether a check of /health is well; where it is not, with its code',
    labelNames: ['check', 'code'],
    registers,
    collect() {
      this.reset();
      for (const [check, { ok, code }] of Object.entries(health().checks)) {
        this.set({ check, code: code ?? '' }, ok ? 1 : 0);
      }
    },
  });
}
