import { availableParallelism } from 'node:os';
import type { Embedder, Embedding, EmbeddingTiming } from '../inference/embedder.js';
import { mapConcurrent, throwIfAborted } from '../shared/concurrent.js';
import { AppError } from '../shared/errors.js';

/**
 * Texts of one request or route set under way at once, by default: enough to fill the passes of a worker on each core,
 * and the next ones.
 */
export const TEXTS_UNDER_WAY = 16 * availableParallelism();

/** Counts of the texts and tokens of one request. */
export interface TextsUsage {
  readonly texts: number;
  /** Tokens that the model saw, special tokens included. */
  readonly tokens: number;
  readonly truncatedTexts: number;
  readonly truncatedTokens: number;
}

/** For whom work is done, and how and when it is to stop. */
export interface Stop {
  /** Clients take turns at the model. */
  readonly client?: string;
  readonly signal?: AbortSignal;
  /** Calls its argument when `signal` would be aborted. A single text needs no signal then. */
  onAbort?(listener: (reason: unknown) => void): void;
  /** When its result is worth nothing any more, on the clock of `performance.now()`. */
  readonly deadline?: number;
}

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
