import type { Embedder, Embedding, EmbeddingTiming } from '../model/embedder.js';
import { mapConcurrent } from './concurrent.js';

/** What the model read of the texts of one request. */
export interface TextsUsage {
  readonly texts: number;
  /** Tokens that the model saw, special tokens included. */
  readonly tokens: number;
  readonly truncatedTexts: number;
  readonly truncatedTokens: number;
}

/** The texts of one request, embedded. */
export interface EmbeddedTexts<Result> {
  /** In the order of the texts. */
  readonly results: readonly Result[];
  readonly usage: TextsUsage;
  /** The longest wait, and the sums of the work. */
  readonly timing: EmbeddingTiming;
}

/** Options of {@link embedTexts}. */
export interface EmbedTextsOptions {
  /** Texts under way at once. */
  readonly concurrency: number;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Embeds texts beside one another, a few at a time, so that a large request takes its turns among others.
 * @param each makes the result of one text, as soon as its vector is there
 * @throws the first failure, once nothing is under way any more: what the embedder or `each` throws, `aborted`
 */
export async function embedTexts<Result>(
  embedder: Embedder,
  texts: readonly string[],
  each: (embedding: Embedding, index: number) => Result,
  { concurrency, signal }: EmbedTextsOptions,
): Promise<EmbeddedTexts<Result>> {
  const usage = { texts: texts.length, tokens: 0, truncatedTexts: 0, truncatedTokens: 0 };
  const timing = { queueMs: 0, tokenizeMs: 0, inferenceMs: 0 };
  const results = await mapConcurrent(
    texts,
    concurrency,
    async (text, stop, index) => {
      // A request is let in or refused by its first text; refused later, all its work would be lost.
      const embedding = await embedder.embed(text, { signal: stop, admitted: index > 0 });
      usage.tokens += embedding.tokens;
      usage.truncatedTokens += embedding.truncatedTokens;
      if (embedding.truncatedTokens > 0) usage.truncatedTexts += 1;
      timing.queueMs = Math.max(timing.queueMs, embedding.timing.queueMs);
      timing.tokenizeMs += embedding.timing.tokenizeMs;
      timing.inferenceMs += embedding.timing.inferenceMs;
      return each(embedding, index);
    },
    signal,
  );
  return { results, usage, timing };
}
