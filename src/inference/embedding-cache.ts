import type { Embedder, Embedding, EmbedOptions } from './embedder.js';

/** What an {@link EmbeddingCache} did so far, and what it holds. */
export interface EmbeddingCacheStatus {
  readonly hits: number;
  readonly misses: number;
  readonly entries: number;
  readonly bytes: number;
}

/** What a `Map` entry, a vector's header and a few numbers cost besides text and vector, in bytes. */
const ENTRY_BYTES = 250;

/**
 * Remembers the embeddings of the texts that were asked for lately, for one model: the same text has the same
 * vector, so that a repeated one needs no forward pass. Bounded in bytes; the least recently used goes first.
 */
export class EmbeddingCache implements Embedder {
  readonly #embedder: Embedder;
  readonly #maxBytes: number;
  /** In the order of their last use, the latest last. */
  readonly #entries = new Map<string, Embedding>();
  #bytes = 0;
  #hits = 0;
  #misses = 0;

  /** @param maxBytes 0 remembers nothing */
  constructor(embedder: Embedder, maxBytes: number) {
    this.#embedder = embedder;
    this.#maxBytes = maxBytes;
  }

  get dimension(): number {
    return this.#embedder.dimension;
  }

  get status(): EmbeddingCacheStatus {
    return { hits: this.#hits, misses: this.#misses, entries: this.#entries.size, bytes: this.#bytes };
  }

  admit(texts: readonly string[], options?: EmbedOptions): void {
    const unknown = texts.filter((text) => !this.#entries.has(text));
    if (unknown.length > 0) this.#embedder.admit(unknown, options);
  }

  async embed(text: string, options?: EmbedOptions): Promise<Embedding> {
    const known = this.#entries.get(text);
    if (known) {
      this.#hits += 1;
      this.#entries.delete(text);
      this.#entries.set(text, known);
      return known;
    }
    this.#misses += 1;
    const embedding = await this.#embedder.embed(text, options);
    this.#remember(text, embedding);
    return embedding;
  }

  #remember(text: string, embedding: Embedding): void {
    const bytes = bytesOf(text, embedding);
    if (bytes > this.#maxBytes || this.#entries.has(text)) return;
    this.#entries.set(text, { ...embedding, timing: { queueMs: 0, tokenizeMs: 0, inferenceMs: 0 } });
    this.#bytes += bytes;
    for (const [oldest, entry] of this.#entries) {
      if (this.#bytes <= this.#maxBytes) break;
      this.#entries.delete(oldest);
      this.#bytes -= bytesOf(oldest, entry);
    }
  }
}

function bytesOf(text: string, { vector }: Embedding): number {
  return 2 * text.length + vector.byteLength + ENTRY_BYTES;
}
