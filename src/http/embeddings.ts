import type { Context } from 'koa';
import type { EmbeddingModel } from '../api/embedding-model.js';
import type { RequestLimits } from '../api/limits.js';
import type { Embedding } from '../inference/embedder.js';
import type { EmbeddedTexts } from '../scoring/embed-texts.js';
import { checkVectorsSize } from './answer-size.js';
import type { RequestMetrics } from './metrics.js';
import { noteTimings } from './timings.js';
import { within } from './within.js';

/** What the embedding paths ask. */
export interface EmbeddingsPort {
  readonly model: EmbeddingModel;
  /** @param each makes the result of one text, as soon as its vector is there */
  embed<Result>(
    texts: readonly string[],
    each: (embedding: Embedding, index: number) => Result,
    options: { readonly signal: AbortSignal },
  ): Promise<EmbeddedTexts<Result>>;
}

/** What the embedding paths are made with. */
export interface EmbeddingsDeps {
  readonly embeddings: EmbeddingsPort;
  readonly limits: RequestLimits;
  readonly metrics: RequestMetrics;
  /** Time for one request, waiting included, in milliseconds. */
  readonly requestTimeoutMs: number;
  readonly version: string;
}

/**
 * Embeds the texts of one request. Vectors are written as JSON one by one, as they come: hundreds of them at once
 * would hold up everybody else.
 * @param write makes the JSON of one text's result
 */
export async function embedRequest(
  context: Context,
  { embeddings, metrics, requestTimeoutMs }: EmbeddingsDeps,
  texts: readonly string[],
  write: (embedding: Embedding, index: number) => string,
): Promise<EmbeddedTexts<string>> {
  checkVectorsSize(texts.length, embeddings.model.dimension);
  const embedded = await within(context, requestTimeoutMs, (stop) => embeddings.embed(texts, write, stop));
  noteTimings(context, embedded.timing);
  metrics.read(embedded.usage);
  // These APIs have no place for it in their bodies, and every answer says which bytes gave it.
  context.set('X-Model-Revision', embeddings.model.revision);
  context.set('X-Model-Digest', embeddings.model.digest);
  return embedded;
}

/** A vector as a JSON array. */
export function vectorJson(vector: Float32Array): string {
  return JSON.stringify(Array.from(vector));
}
