import { join } from 'node:path';
import { blobPath, layoutOf } from '../cache/layout.js';
import { fileOf, type Manifest, type PinnedFile } from '../cache/manifest.js';
import type { Config } from '../config/config.js';
import type { ModelBytes, ModelPlaces } from '../inference/model-bytes.js';
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
  const { digest, embedding: spec, canary } = manifest;
  return { digest, spec, canary, model, tokenizer, tokenizerConfig };
}

/** The files of a model that is in memory, each with its bytes. */
export function bytesByFile(
  manifest: Manifest,
  { model, tokenizer, tokenizerConfig }: ModelBytes,
): [file: PinnedFile, bytes: Uint8Array][] {
  const bytes = [model, tokenizer, tokenizerConfig] as const;
  return modelFiles(manifest).map((file, index) => [file, bytes[index] as Uint8Array]);
}

/** Where the files of a model may lie on this machine: on the volume, or where the program's own copy is. */
export function placesOf(
  manifest: Manifest,
  { cacheDir, sources, bundledDir }: Pick<Config, 'cacheDir' | 'sources' | 'bundledDir'>,
): ModelPlaces {
  const layout = layoutOf(cacheDir);
  const { digest, embedding: spec, canary } = manifest;
  const files = modelFiles(manifest).map(({ path, size, sha256 }) => ({
    paths: [blobPath(layout, sha256), ...(sources.includes('bundled') ? [join(bundledDir, path)] : [])],
    size,
    sha256,
  }));
  return { digest, spec, canary, files };
}
