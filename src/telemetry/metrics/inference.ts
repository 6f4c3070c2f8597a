import { readFileSync } from 'node:fs';
import { Counter, Gauge, Histogram, type Registry } from 'prom-client';
import type { Embedding } from '../../inference/embedder.js';
import type { EmbeddingCacheStatus } from '../../inference/embedding-cache.js';
import type { WorkerPool } from '../../inference/pool.js';
import { countersFrom } from './counters.js';

/** Counts one text that a worker has embedded. */
export type ObserveEmbedding = (embedding: Embedding) => void;

/** Upper bounds of the buckets for parts of one text's way, in seconds. */
const BUCKETS = [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 10];

/** The state of inference. */
export interface InferenceFacts {
  readonly pool: Pick<WorkerPool, 'status'>;
  /** `undefined` before there is a cache. */
  readonly embeddingCache: () => EmbeddingCacheStatus | undefined;
}

/** The workers, their times, and the embedding cache. */
export function inferenceMetrics(
  { pool, embeddingCache }: InferenceFacts,
  registers: Registry[],
): ObserveEmbedding {
  embeddingCacheMetrics(embeddingCache, registers);
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
  new Gauge({
    name: 'ai_router_inference_batching_workers',
    help: 'Workers whose texts share forward passes, which they do where that changes no bit of a vector',
    registers,
    collect() {
      this.set(pool.status().workers.filter(({ batches }) => batches).length);
    },
  });
  new Gauge({
    name: 'ai_router_inference_worker_resident_memory_bytes',
    help: 'Resident memory of a worker (Linux); the process metrics are those of the HTTP process alone',
    labelNames: ['worker'],
    registers,
    collect() {
      this.reset();
      for (const [index, { pid }] of pool.status().workers.entries()) {
        const bytes = pid === null ? undefined : residentBytes(pid);
        if (bytes !== undefined) this.set({ worker: String(index) }, bytes);
      }
    },
  });
  const totals = {
    embedded: 'Texts embedded',
    passes: 'Forward passes; fewer than texts where texts share them',
    failed: 'Texts that could not be embedded',
    restarts: 'Workers replaced',
  } as const;
  countersFrom('ai_router_inference', totals, registers, (key) => pool.status().totals[key]);

  const histogram = (name: string, help: string) =>
    new Histogram({ name: `ai_router_inference_${name}_seconds`, help, buckets: BUCKETS, registers });
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

/** The cache of embeddings. */
function embeddingCacheMetrics(status: () => EmbeddingCacheStatus | undefined, registers: Registry[]): void {
  const prefix = 'ai_router_embedding_cache';
  const totals = {
    hits: 'Texts whose embedding was known',
    misses: 'Texts that had to be embedded',
  } as const;
  countersFrom(prefix, totals, registers, (key) => status()?.[key] ?? 0);
  new Gauge({
    name: `${prefix}_bytes`,
    help: 'Memory that the known embeddings take',
    registers,
    collect() {
      this.set(status()?.bytes ?? 0);
    },
  });
}
