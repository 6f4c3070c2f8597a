import { fileOf, type Manifest, type PinnedFile } from '../cache/manifest.js';
import type { ModelBytes } from '../inference/protocol.js';
import { AppError } from '../shared/errors.js';

/** The pinned files that make a model; the others of a manifest only describe it. */
export function modelFiles(manifest: Manifest): PinnedFile[] {
  const { model, tokenizer, tokenizer_config } = manifest.embedding;
  return [model, tokenizer, tokenizer_config].map((path) => fileOf(manifest, path));
}

/**
 * The files that make a model, each read into the buffer that was verified.
 * @param read gives a file's verified bytes, as `ContentStore.read` does
 * @throws what `read` throws
 */
export async function readModel(
  manifest: Manifest,
  read: (file: PinnedFile) => Promise<Buffer>,
): Promise<ModelBytes> {
  const [model, tokenizer, tokenizerConfig] = await Promise.all(modelFiles(manifest).map(read));
  if (!model || !tokenizer || !tokenizerConfig) {
    throw new AppError('internal', 'a pinned file has no bytes');
  }
  const { embedding: spec, canary, recipeText: recipe } = manifest;
  return { spec, canary, recipe, model, tokenizer, tokenizerConfig };
}
