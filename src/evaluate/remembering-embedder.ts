import type { Embedder, Embedding, EmbedOptions } from '../model/embedder.js';

/** An embedder that embeds each text once, so that a second set is judged on the same texts at no cost. */
export class RememberingEmbedder implements Embedder {
  readonly #embedder: Embedder;
  readonly #known = new Map<string, Embedding>();

  constructor(embedder: Embedder) {
    this.#embedder = embedder;
  }

  get dimension(): number {
    return this.#embedder.dimension;
  }

  async embed(text: string, options?: EmbedOptions): Promise<Embedding> {
    const known = this.#known.get(text);
    if (known) return known;
    const embedding = await this.#embedder.embed(text, options);
    this.#known.set(text, embedding);
    return embedding;
  }
}
