/** What came of one text. */
export interface Embedding {
  /** The embedding, of the manifest's dimension; length 1 where the manifest says `normalize`. */
  readonly vector: Float32Array;
  /** Tokens that the model saw, special tokens included. */
  readonly tokens: number;
  /** Tokens that were cut off because the text is longer than the model's maximum. */
  readonly truncatedTokens: number;
  readonly timing: EmbeddingTiming;
}

/** Where the time of one embedding went, in milliseconds. */
export interface EmbeddingTiming {
  readonly queueMs: number;
  readonly tokenizeMs: number;
  readonly inferenceMs: number;
}

/** Options of one `embed` call. */
export interface EmbedOptions {
  /** Drops the text if it is still waiting, with an `aborted` error. */
  readonly signal?: AbortSignal;
  /** Who asks; clients take turns. Whoever says nothing is one and the same. */
  readonly client?: string | undefined;
  /** When the vector is worth nothing any more, on the clock of `performance.now()`. */
  readonly deadline?: number;
  /** The text was let in by {@link Embedder.admit}, so that it waits rather than being refused. */
  readonly admitted?: boolean;
}

/**
 * Turns text into vectors. The same text gives the same vector whatever else runs beside it.
 */
export interface Embedder {
  /** Length of the vectors. */
  readonly dimension: number;
  /**
   * Lets the texts of one request in, all or none, by the work that they make and that waits before them. A text
   * that comes alone need not ask: `embed` does.
   * @throws AppError `not_ready`, `overloaded`, `draining`
   */
  admit(texts: readonly string[], options?: Pick<EmbedOptions, 'client' | 'deadline'>): void;
  /**
   * Embeds one text.
   * @throws AppError `not_ready`, `overloaded`, `aborted`, `worker_failed`, `draining`
   */
  embed(text: string, options?: EmbedOptions): Promise<Embedding>;
}
