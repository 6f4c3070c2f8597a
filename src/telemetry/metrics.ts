import { readFileSync } from 'node:fs';
import { Counter, collectDefaultMetrics, Histogram, Registry } from 'prom-client';
import type { HealthReport } from '../api/health.js';
import type { Manifest } from '../cache/manifest.js';
import type { Embedding, EmbeddingCacheStatus } from '../inference/embedder.js';
import type { WorkerPool } from '../inference/pool.js';
import { GATES } from '../shared/errors.js';
import { type CacheFacts, cacheMetrics, type VolumePort } from './metrics/cache.js';
import { counters, gauge, gauges, type Sample } from './metrics/instruments.js';
import type { MetricsPort, RequestMetrics } from './ports.js';

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
  readonly embedded: (embedding: Embedding) => void;
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

/** Upper bounds of the latency buckets, in seconds. */
const LATENCY_BUCKETS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10];

/** Upper bounds of the buckets for texts in a request. */
const BATCH_BUCKETS = [1, 2, 4, 8, 16, 32, 64, 128, 256, 1_024];

/** More routes than this share a label: every label value is a time series for ever. */
const MAX_ROUTE_LABELS = 200;

/** Labels of what is no route; a route may have any name but these. */
const OTHER = '(other)';
const LABELS = '(labels)';

function requestMetrics(registers: Registry[]): RequestMetrics {
  let open = 0;
  gauge(registers, 'http_requests_open', 'Requests that are being answered', () => open);
  const seconds = new Histogram({
    name: 'ai_router_http_request_duration_seconds',
    help: 'Time from a request to its answer, by template of the path; its count is the number of requests',
    labelNames: ['method', 'route', 'status'],
    buckets: LATENCY_BUCKETS,
    registers,
  });
  const errors = new Counter({
    name: 'ai_router_errors_total',
    help: 'Requests that failed, by code',
    labelNames: ['code'],
    registers,
  });
  // Known from the start, so that the first of them is a rise.
  for (const code of ['overloaded', 'timeout', 'worker_failed', 'internal']) errors.inc({ code }, 0);
  const refusals = new Counter({
    name: 'ai_router_refused_total',
    help: 'Requests and connections that were refused because of load, by gate',
    labelNames: ['gate'],
    registers,
  });
  for (const gate of GATES) refusals.inc({ gate }, 0);
  const texts = new Histogram({
    name: 'ai_router_request_texts',
    help: 'Texts in a request that was answered; the sum is the number of texts',
    buckets: BATCH_BUCKETS,
    registers,
  });
  const totals = { tokens: 0, truncated_texts: 0, truncated_tokens: 0 };
  const helps = {
    tokens: 'Tokens of the texts of requests, as the model sees them',
    truncated_texts: 'Texts that were longer than the model takes',
    truncated_tokens: 'Tokens that were cut off such texts',
  } as const;
  counters(registers, '', helps, (key) => totals[key]);
  const decisions = new Counter({
    name: 'ai_router_decisions_total',
    help: `Decisions by route; abstentions have the empty route, and decisions among a request's own labels ${LABELS}`,
    labelNames: ['route'],
    registers,
  });
  const abstentions = new Counter({
    name: 'ai_router_abstentions_total',
    help: 'Texts that reached the threshold of no route, or of no label',
    labelNames: ['kind'],
    registers,
  });
  for (const kind of ['routes', 'labels']) abstentions.inc({ kind }, 0);
  const fallback = new Counter({
    name: 'ai_router_fallback_total',
    help: 'Decision calls of which a choice reached no threshold, by what came of FALLBACK_URL; none without it',
    labelNames: ['result'],
    registers,
  });
  const labels = new Set<string>();
  return {
    began() {
      open += 1;
    },
    answered(method, route, status, duration) {
      open -= 1;
      seconds.observe({ method, route, status: String(status) }, duration);
    },
    failed(code, gate) {
      errors.inc({ code });
      if (gate) refusals.inc({ gate });
    },
    refused: (gate) => refusals.inc({ gate }),
    read(usage) {
      texts.observe(usage.texts);
      totals.tokens += usage.tokens;
      totals.truncated_texts += usage.truncatedTexts;
      totals.truncated_tokens += usage.truncatedTokens;
    },
    fellBack: (result) => fallback.inc({ result }),
    decided(route, kind) {
      if (route === null) abstentions.inc({ kind });
      // Labels are the caller's own words: they must become neither time series nor public.
      if (kind === 'labels') return decisions.inc({ route: LABELS });
      const name = route ?? '';
      if (labels.size < MAX_ROUTE_LABELS) labels.add(name);
      decisions.inc({ route: labels.has(name) ? name : OTHER });
    },
  };
}

/** Upper bounds of the buckets for parts of one text's way, in seconds. */
const PART_BUCKETS = [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 10];

interface InferenceFacts {
  readonly pool: Pick<WorkerPool, 'status'>;
  /** `undefined` before there is a cache. */
  readonly embeddingCache: () => EmbeddingCacheStatus | undefined;
}

/** The workers, their times, and the embedding cache. */
function inferenceMetrics(
  { pool, embeddingCache }: InferenceFacts,
  registers: Registry[],
): Metrics['embedded'] {
  const status = () => pool.status();
  const cached = <Key extends 'hits' | 'misses' | 'bytes'>(key: Key): number => embeddingCache()?.[key] ?? 0;
  const known = { hits: 'Texts whose embedding was known', misses: 'Texts that had to be embedded' } as const;
  counters(registers, 'embedding_cache_', known, cached);
  const memory = 'Memory that the known embeddings take';
  gauge(registers, 'embedding_cache_bytes', memory, () => cached('bytes'));
  gauge(registers, 'inference_waiting', 'Texts that wait for a worker', () => status().waiting);
  gauge(registers, 'inference_executing', 'Texts that workers are executing', () => status().executing);
  gauges(registers, 'inference_workers', 'Workers by state', ['state'], () => {
    const workers = status().workers.map(({ state }) => state);
    return [...new Set(workers)].map((state) => [{ state }, workers.filter((each) => each === state).length]);
  });
  gauge(
    registers,
    'inference_batching_workers',
    'Workers whose texts share forward passes, which they do where that changes no bit of a vector',
    () => status().workers.filter(({ batches }) => batches).length,
  );
  gauges(
    registers,
    'inference_worker_resident_memory_bytes',
    'Resident memory of a worker (Linux); the process metrics are those of the HTTP process alone',
    ['worker'],
    () =>
      status().workers.flatMap(({ pid }, index): Sample[] => {
        const bytes = pid === null ? undefined : residentBytes(pid);
        return bytes === undefined ? [] : [[{ worker: String(index) }, bytes]];
      }),
  );
  const totals = {
    embedded: 'Texts embedded',
    passes: 'Forward passes; fewer than texts where texts share them',
    failed: 'Texts that could not be embedded',
    restarts: 'Workers replaced',
  } as const;
  counters(registers, 'inference_', totals, (key) => status().totals[key]);

  const histogram = (name: string, help: string) =>
    new Histogram({ name: `ai_router_inference_${name}_seconds`, help, buckets: PART_BUCKETS, registers });
  const queue = histogram('queue', 'Time that a text waited for a worker, utterances of routes included');
  const tokenize = histogram('tokenize', 'Time to turn a text into tokens');
  const forward = histogram('forward', "Time of a text's forward pass");
  const tokens = new Counter({
    name: 'ai_router_inference_tokens_total',
    help: 'Tokens of the texts that workers embedded; what the embedding cache answered is not among them',
    registers,
  });
  return (embedding) => {
    const { queueMs, tokenizeMs, inferenceMs } = embedding.timing;
    queue.observe(queueMs / 1_000);
    tokenize.observe(tokenizeMs / 1_000);
    forward.observe(inferenceMs / 1_000);
    tokens.inc(embedding.tokens);
  };
}

/** Reads at once: no disk is behind it, and under load every step of an asynchronous read waits for all requests. */
function residentBytes(pid: number): number | undefined {
  try {
    const kilobytes = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1];
    return kilobytes === undefined ? undefined : Number(kilobytes) * 1_024;
  } catch {
    return undefined;
  }
}
