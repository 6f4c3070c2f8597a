import type { Embedder, Embedding, EmbedOptions } from './embedder.js';

/** An embedder that tells of each text it has embedded. */
export class ObservedEmbedder implements Embedder {
  readonly #embedder: Embedder;
  readonly #observe: (embedding: Embedding) => void;

  constructor(embedder: Embedder, observe: (embedding: Embedding) => void) {
    this.#embedder = embedder;
    this.#observe = observe;
  }

  get dimension(): number {
    return this.#embedder.dimension;
  }

  admit(texts: readonly string[], options?: EmbedOptions): void {
    this.#embedder.admit(texts, options);
  }

  async embed(text: string, options?: EmbedOptions): Promise<Embedding> {
    const embedding = await this.#embedder.embed(text, options);
    this.#observe(embedding);
    return embedding;
  }
}
