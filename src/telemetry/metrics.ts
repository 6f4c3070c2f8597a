import { collectDefaultMetrics, Gauge, Registry } from 'prom-client';
import type { HealthReport } from '../api/health.js';
import type { Parts } from '../daemon/report.js';
import type { EmbeddingCacheStatus } from '../inference/embedding-cache.js';
import { cacheMetrics } from './metrics/cache.js';
import { embeddingCacheMetrics } from './metrics/embedding-cache.js';
import { inferenceMetrics, type ObserveEmbedding } from './metrics/inference.js';
import { requestMetrics } from './metrics/requests.js';
import type { MetricsPort } from './ports.js';

/** What the metrics are made of. */
export interface MetricsOptions {
  readonly parts: Parts;
  readonly embeddingCache: () => EmbeddingCacheStatus | undefined;
  readonly health: () => HealthReport;
}

/** The metrics of a daemon. */
export interface Metrics extends MetricsPort {
  /** Counts a text that a worker has embedded. */
  readonly embedded: ObserveEmbedding;
}

/** Makes the metrics of a daemon. Gauges are read when they are asked for, and cost nothing otherwise. */
export function createMetrics({ parts, embeddingCache, health }: MetricsOptions): Metrics {
  const registry = new Registry();
  const registers = [registry];
  collectDefaultMetrics({ register: registry });
  identityMetrics(parts, registers);
  healthMetrics(health, registers);
  cacheMetrics(parts, registers);
  embeddingCacheMetrics(embeddingCache, registers);
  return {
    contentType: registry.contentType,
    render: () => registry.metrics(),
    embedded: inferenceMetrics(parts, registers),
    ...requestMetrics(registers),
  };
}

function identityMetrics({ version, manifest, classifier }: Parts, registers: Registry[]): void {
  const { repo, revision, variant, digest } = manifest;
  new Gauge({
    name: 'ai_router_info',
    help: '1, with the version and the pinned model as labels',
    labelNames: ['version', 'model', 'revision', 'variant', 'digest'],
    registers,
  }).set({ version, model: repo, revision, variant, digest }, 1);
  new Gauge({
    name: 'ai_router_routes',
    help: 'Routes that are served',
    registers,
    collect() {
      this.set(classifier.active?.set.routes.length ?? 0);
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
