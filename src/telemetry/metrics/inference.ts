import { readFileSync } from 'node:fs';
import { Counter, Histogram, type Registry } from 'prom-client';
import type { Embedding } from '../../inference/embedder.js';
import type { EmbeddingCacheStatus } from '../../inference/embedding-cache.js';
import type { WorkerPool } from '../../inference/pool.js';
import { counters, gauge, gauges, type Sample } from './instruments.js';

/** Counts one text that a worker has embedded. */
export type ObserveEmbedding = (embedding: Embedding) => void;

/** Upper bounds of the buckets for parts of one text's way, in seconds. */
const BUCKETS = [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 10];

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
