/**
 * Whether the tokens of a text mean something to the model. `empty`: there are none besides special tokens.
 * `illegible`: they are mostly unknown or in a script that the model was not trained on, or all punctuation.
 */
export type Legibility = 'empty' | 'illegible' | 'legible';

/** The embedding of one text. */
export interface Embedding {
  /** The embedding, of the manifest's dimension; length 1 where the manifest says `normalize`. */
  readonly vector: Float32Array;
  /** Tokens that the model saw, special tokens included. */
  readonly tokens: number;
  /** Tokens that were cut off because the text is longer than the model's maximum. */
  readonly truncatedTokens: number;
  readonly legibility: Legibility;
  readonly timing: EmbeddingTiming;
}

/** Duration of the steps of one embedding, in milliseconds. */
export interface EmbeddingTiming {
  readonly queueMs: number;
  readonly tokenizeMs: number;
  /** The forward pass; a share of it where several texts shared one. */
  readonly inferenceMs: number;
}

/** Options of one `embed` call. */
export interface EmbedOptions {
  /** Drops the text if it is still waiting, with an `aborted` error. */
  readonly signal?: AbortSignal;
  /** The same, in place of `signal`: calls its argument when the text is not wanted any more. */
  onAbort?(listener: (reason: unknown) => void): void;
  /** Client id for fair queueing; requests without one share a queue. */
  readonly client?: string | undefined;
  /** Time after which the vector is useless, on the clock of `performance.now()`. */
  readonly deadline?: number;
  /** The text was admitted by {@link Embedder.admit} and is not rejected for load any more. */
  readonly admitted?: boolean;
}

/**
 * Turns text into vectors. The same text gives the same vector whatever else runs beside it.
 */
export interface Embedder {
  /** Length of the vectors. */
  readonly dimension: number;
  /**
   * Admits the texts of one request, all or none. A single text need not ask: `embed` does.
   * @throws AppError `not_ready`, `draining`; `request_too_large` when they could not be embedded before the deadline
   *   by an idle daemon; `overloaded` when they cannot because of what waits already
   */
  admit(texts: readonly string[], options?: Pick<EmbedOptions, 'client' | 'deadline'>): void;
  /**
   * Embeds one text.
   * @throws AppError as `admit`, unless `admitted`; `aborted`, `worker_failed`
   */
  embed(text: string, options?: EmbedOptions): Promise<Embedding>;
}
