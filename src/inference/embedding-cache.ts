import { LRUCache } from 'lru-cache';
import type { Embedder, Embedding, EmbedOptions } from './embedder.js';

/** Counters of an {@link EmbeddingCache}, and its size. */
export interface EmbeddingCacheStatus {
  readonly hits: number;
  readonly misses: number;
  readonly entries: number;
  readonly bytes: number;
}

/** Bytes of an entry besides text and vector: a map's entry, a vector's header and a few numbers. */
const ENTRY_BYTES = 250;

/**
 * Caches the embeddings of recent texts of one model: the same text has the same vector, so that a repeated one needs
 * no forward pass. Bounded in bytes; the least recently used entry is evicted first.
 */
export class EmbeddingCache implements Embedder {
  readonly #embedder: Embedder;
  readonly #onEmbedded: ((embedding: Embedding) => void) | undefined;
  readonly #entries: LRUCache<string, Embedding> | undefined;
  #hits = 0;
  #misses = 0;

  /**
   * @param maxBytes 0 disables the cache
   * @param onEmbedded is called for each miss, once it is embedded
   */
  constructor(embedder: Embedder, maxBytes: number, onEmbedded?: (embedding: Embedding) => void) {
    this.#embedder = embedder;
    this.#onEmbedded = onEmbedded;
    if (maxBytes > 0) this.#entries = new LRUCache({ maxSize: maxBytes, sizeCalculation: bytesOf });
  }

  get dimension(): number {
    return this.#embedder.dimension;
  }

  get status(): EmbeddingCacheStatus {
    const { size: entries = 0, calculatedSize: bytes = 0 } = this.#entries ?? {};
    return { hits: this.#hits, misses: this.#misses, entries, bytes };
  }

  admit(texts: readonly string[], options?: EmbedOptions): void {
    const unknown = texts.filter((text) => !this.#entries?.has(text));
    if (unknown.length > 0) this.#embedder.admit(unknown, options);
  }

  async embed(text: string, options?: EmbedOptions): Promise<Embedding> {
    const known = this.#entries?.get(text);
    if (known) {
      this.#hits += 1;
      return known;
    }
    this.#misses += 1;
    const embedding = await this.#embedder.embed(text, options);
    this.#onEmbedded?.(embedding);
    this.#entries?.set(text, { ...embedding, timing: { queueMs: 0, tokenizeMs: 0, inferenceMs: 0 } });
    return embedding;
  }
}

function bytesOf({ vector }: Embedding, text: string): number {
  return 2 * text.length + vector.byteLength + ENTRY_BYTES;
}
