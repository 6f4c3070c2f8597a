import type { EmbeddingModel } from '../api/embeddings.js';
import type { Manifest } from '../cache/manifest.js';

/** What a manifest says of the embeddings of its model. */
export function embeddingModelOf({ repo, revision, variant, digest, embedding }: Manifest): EmbeddingModel {
  const { dimension, max_tokens: maxTokens, pooling, normalize: normalized } = embedding;
  return { id: repo, revision, variant, digest, dimension, maxTokens, pooling, normalized };
}
