import type { HeadCache } from './head/head-cache.js';
import type { VectorCache } from './vector-cache.js';

/**
 * Heads that come with the program, made on a reference machine. They are asked for by keys of their own, which
 * name no processor.
 */
export interface ShippedHeads extends Pick<HeadCache, 'get'> {
  /** Takes the place of {@link Encoder.modelKey} in their keys. */
  readonly modelKey: string;
}

/**
 * Knows what the program comes with besides what `own` knows, and keeps what is new in `own`. Vectors that come
 * with the program are a reference machine's: on another processor they differ as much as the canary allows for.
 */
export function withShipped(own: VectorCache, shipped: Pick<VectorCache, 'get'>): VectorCache {
  return {
    async get(texts) {
      const all = [...texts];
      const found = await own.get(all);
      const unknown = all.filter((text) => !found.vectors.has(text));
      if (unknown.length === 0) return found;
      // A shipped file of another model, or none, is no fault of anything: the texts are embedded.
      const { vectors } = await shipped.get(unknown);
      return { ...found, vectors: new Map([...found.vectors, ...vectors]) };
    },
    put: (vectors) => own.put(vectors),
  };
}
