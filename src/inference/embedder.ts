import { availableParallelism } from 'node:os';
import { LRUCache } from 'lru-cache';
import { mapConcurrent, throwIfAborted } from '../shared/concurrent.js';
import { AppError } from '../shared/errors.js';

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

/**
 * Texts of one request or route set under way at once, by default: enough to fill the passes of a worker on each core,
 * and the next ones.
 */
export const TEXTS_UNDER_WAY = 32 * availableParallelism();

/** Counts of the texts and tokens of one request. */
export interface TextsUsage {
  readonly texts: number;
  /** Tokens that the model saw, special tokens included. */
  readonly tokens: number;
  readonly truncatedTexts: number;
  readonly truncatedTokens: number;
}

/** For whom work is done, and how and when it is to stop. */
export type Stop = Omit<EmbedOptions, 'admitted'>;

/** The texts of one request, embedded. */
export interface EmbeddedTexts<Result> {
  /** In the order of the texts. */
  readonly results: readonly Result[];
  readonly usage: TextsUsage;
  /** The longest wait, and the sums of the work. */
  readonly timing: EmbeddingTiming;
}

/**
 * Refuses a text that has no tokens, such as a zero-width space: its vector is that of the special tokens.
 * @param path where the text is in the request
 * @throws AppError `validation_failed`
 */
export function requireTokens({ legibility }: Embedding, path: string): void {
  if (legibility === 'empty') throw withoutTokens([path]);
}

/** The error of texts that have no tokens, which are at these places of the request. */
export function withoutTokens(paths: readonly string[]): AppError {
  const message = 'holds no characters that the model can read';
  const more = paths.length > 1 ? ` (and ${paths.length - 1} more)` : '';
  const issues = paths.map((path) => ({ path, message }));
  return new AppError('validation_failed', `${paths[0]}: ${message}${more}`, { issues });
}

/**
 * Embeds texts beside one another, a few at a time, so that a large request takes its turns among others.
 * @param concurrency texts under way at once
 * @param each makes the result of one text, as soon as its vector is there
 * @throws the first failure, once nothing is under way any more: what the embedder or `each` throws, `aborted`
 */
export async function embedTexts<Result>(
  embedder: Embedder,
  texts: readonly string[],
  concurrency: number,
  each: (embedding: Embedding, index: number) => Result | Promise<Result>,
  stop: Stop = {},
): Promise<EmbeddedTexts<Result>> {
  const usage = { texts: texts.length, tokens: 0, truncatedTexts: 0, truncatedTokens: 0 };
  const timing = { queueMs: 0, tokenizeMs: 0, inferenceMs: 0 };
  const take = (embedding: Embedding, index: number): Result | Promise<Result> => {
    usage.tokens += embedding.tokens;
    usage.truncatedTokens += embedding.truncatedTokens;
    if (embedding.truncatedTokens > 0) usage.truncatedTexts += 1;
    timing.queueMs = Math.max(timing.queueMs, embedding.timing.queueMs);
    timing.tokenizeMs += embedding.timing.tokenizeMs;
    timing.inferenceMs += embedding.timing.inferenceMs;
    return each(embedding, index);
  };
  const [only] = texts;
  if (only !== undefined && texts.length === 1) {
    // Most requests hold one text, and there is nothing to stop when it fails.
    let embedding: Embedding;
    try {
      embedding = await embedder.embed(only, stop);
    } catch (error) {
      throwIfAborted(stop.signal);
      throw error;
    }
    return { results: [await take(embedding, 0)], usage, timing };
  }
  const { client } = stop;
  // Refused later, all the work done so far would be lost.
  embedder.admit(texts, stop);
  const results = await mapConcurrent(
    texts,
    concurrency,
    async (text, signal, index) =>
      take(await embedder.embed(text, { client, signal, admitted: true }), index),
    stop.signal,
  );
  return { results, usage, timing };
}

type Work = Pick<EmbeddedTexts<unknown>, 'usage' | 'timing'>;

/** Usage and times of work that was done one after the other for the same texts. */
export function sumOf(a: Work, b: Work): Work {
  return {
    usage: {
      texts: a.usage.texts,
      tokens: a.usage.tokens + b.usage.tokens,
      truncatedTexts: a.usage.truncatedTexts + b.usage.truncatedTexts,
      truncatedTokens: a.usage.truncatedTokens + b.usage.truncatedTokens,
    },
    timing: {
      queueMs: a.timing.queueMs + b.timing.queueMs,
      tokenizeMs: a.timing.tokenizeMs + b.timing.tokenizeMs,
      inferenceMs: a.timing.inferenceMs + b.timing.inferenceMs,
    },
  };
}
