import { fileOf, type Manifest } from '../cache/manifest.js';
import type { ContentStore } from '../cache/store.js';
import type { ModelBytes } from '../model/model-bytes.js';

/**
 * The files that make a model, each read into the buffer that was verified.
 * @throws AppError `blob_missing`, `blob_corrupt`, `volume_unavailable`
 */
export async function readModel(store: ContentStore, manifest: Manifest): Promise<ModelBytes> {
  const { embedding: spec, canary } = manifest;
  const read = (path: string): Promise<Buffer> => store.read(fileOf(manifest, path));
  const [model, tokenizer, tokenizerConfig] = await Promise.all([
    read(spec.model),
    read(spec.tokenizer),
    read(spec.tokenizer_config),
  ]);
  return { spec, canary, model, tokenizer, tokenizerConfig };
}
