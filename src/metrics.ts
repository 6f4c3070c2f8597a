import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';
import { FILE_STATES } from './contract/cache.js';
import type { MetricsPort } from './http/metrics.js';
import type { EmbeddingCacheStatus } from './model/embedding-cache.js';
import type { Parts } from './report.js';

/** Upper bounds of the latency buckets, in seconds. */
const LATENCY_BUCKETS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10];

/** More routes than this share the label `other`: every label value is a time series for ever. */
const MAX_ROUTE_LABELS = 200;

/** Makes the metrics of a daemon. Gauges are read when they are asked for, and cost nothing otherwise. */
export function createMetrics(
  parts: Parts,
  embeddingCache: () => EmbeddingCacheStatus | undefined,
): MetricsPort {
  const registry = new Registry();
  const registers = [registry];
  collectDefaultMetrics({ register: registry });
  const seconds = new Histogram({
    name: 'ai_router_http_request_duration_seconds',
    help: 'Time from a request to its answer',
    labelNames: ['method', 'route', 'status'],
    buckets: LATENCY_BUCKETS,
    registers,
  });
  const decisions = new Counter({
    name: 'ai_router_decisions_total',
    help: 'Decisions by route; abstentions have the empty route',
    labelNames: ['route'],
    registers,
  });
  const truncated = new Counter({
    name: 'ai_router_truncated_texts_total',
    help: 'Texts that were longer than the model takes',
    registers,
  });
  cacheMetrics(parts, registers);
  inferenceMetrics(parts, registers);
  embeddingCacheMetrics(embeddingCache, registers);
  const labels = new Set<string>();
  return {
    contentType: registry.contentType,
    render: () => registry.metrics(),
    answered: (method, route, status, duration) =>
      seconds.observe({ method, route, status: String(status) }, duration),
    decided(route, truncatedTokens) {
      const name = route ?? '';
      if (labels.size < MAX_ROUTE_LABELS) labels.add(name);
      decisions.inc({ route: labels.has(name) ? name : 'other' });
      if (truncatedTokens > 0) truncated.inc();
    },
  };
}

function cacheMetrics({ reconciler, store }: Parts, registers: Registry[]): void {
  const { ledger } = reconciler;
  new Gauge({
    name: 'ai_router_cache_file_state',
    help: '1 for the state that a pinned file is in, 0 for the others',
    labelNames: ['path', 'state'],
    registers,
    collect() {
      for (const { path, state } of ledger.files.values()) {
        for (const each of FILE_STATES) this.set({ path, state: each }, each === state ? 1 : 0);
      }
    },
  });
  new Gauge({
    name: 'ai_router_cache_file_bytes',
    help: 'Bytes of a pinned file that are on the volume',
    labelNames: ['path'],
    registers,
    collect() {
      for (const { path, bytes } of ledger.files.values()) this.set({ path }, bytes);
    },
  });
  new Gauge({
    name: 'ai_router_cache_whole',
    help: 'Whether every pinned file is verified',
    registers,
    collect() {
      this.set(ledger.whole ? 1 : 0);
    },
  });
  new Gauge({
    name: 'ai_router_volume_problem',
    help: '1 for what is wrong with the volume as such; absent when nothing is',
    labelNames: ['code'],
    registers,
    collect() {
      this.reset();
      if (reconciler.volumeProblem) this.set({ code: reconciler.volumeProblem.code }, 1);
    },
  });
  new Gauge({
    name: 'ai_router_volume_free_bytes',
    help: 'Free space on the volume',
    registers,
    async collect() {
      const { freeBytes } = await store.facts();
      if (freeBytes !== undefined) this.set(freeBytes);
    },
  });
  const counters = {
    verifications: 'Full verifications of the volume',
    corruptions: 'Corrupt blobs found',
    repairs: 'Corrupt blobs replaced',
    downloads: 'Blobs fetched',
    downloadedBytes: 'Bytes fetched from sources',
  } as const;
  for (const [key, help] of Object.entries(counters) as [keyof typeof counters, string][]) {
    counterOf(`ai_router_cache_${snake(key)}_total`, help, registers, () => ledger.counters[key]);
  }
}

function inferenceMetrics({ pool }: Parts, registers: Registry[]): void {
  const gauges = {
    waiting: 'Texts that wait for a worker',
    executing: 'Texts that workers are executing',
  } as const;
  for (const [key, help] of Object.entries(gauges) as [keyof typeof gauges, string][]) {
    new Gauge({
      name: `ai_router_inference_${key}`,
      help,
      registers,
      collect() {
        this.set(pool.status()[key]);
      },
    });
  }
  new Gauge({
    name: 'ai_router_inference_workers',
    help: 'Workers by state',
    labelNames: ['state'],
    registers,
    collect() {
      this.reset();
      for (const { state } of pool.status().workers) this.inc({ state });
    },
  });
  const totals = {
    embedded: 'Texts embedded',
    failed: 'Texts that could not be embedded',
    restarts: 'Workers replaced',
  } as const;
  for (const [key, help] of Object.entries(totals) as [keyof typeof totals, string][]) {
    counterOf(`ai_router_inference_${key}_total`, help, registers, () => pool.status().totals[key]);
  }
}

function embeddingCacheMetrics(status: () => EmbeddingCacheStatus | undefined, registers: Registry[]): void {
  const prefix = 'ai_router_embedding_cache';
  counterOf(`${prefix}_hits_total`, 'Texts whose embedding was known', registers, () => status()?.hits ?? 0);
  counterOf(
    `${prefix}_misses_total`,
    'Texts that had to be embedded',
    registers,
    () => status()?.misses ?? 0,
  );
  new Gauge({
    name: `${prefix}_bytes`,
    help: 'Memory that the known embeddings take',
    registers,
    collect() {
      this.set(status()?.bytes ?? 0);
    },
  });
}

/** A counter whose value is counted elsewhere. */
function counterOf(name: string, help: string, registers: Registry[], read: () => number): void {
  new Counter({
    name,
    help,
    registers,
    collect() {
      this.reset();
      this.inc(read());
    },
  });
}

function snake(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}
