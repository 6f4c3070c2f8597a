import { Gauge, type Registry } from 'prom-client';
import type { EmbeddingCacheStatus } from '../../inference/embedding-cache.js';
import { allCountedElsewhere } from './counted-elsewhere.js';

/** What the memory of repeated texts does. */
export function embeddingCacheMetrics(
  status: () => EmbeddingCacheStatus | undefined,
  registers: Registry[],
): void {
  const prefix = 'ai_router_embedding_cache';
  const totals = {
    hits: 'Texts whose embedding was known',
    misses: 'Texts that had to be embedded',
  } as const;
  allCountedElsewhere(prefix, totals, registers, (key) => status()?.[key] ?? 0);
  new Gauge({
    name: `${prefix}_bytes`,
    help: 'Memory that the known embeddings take',
    registers,
    collect() {
      this.set(status()?.bytes ?? 0);
    },
  });
}
