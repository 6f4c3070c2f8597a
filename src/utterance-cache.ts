import { createRequire } from 'node:module';
import { cpus } from 'node:os';
import { join } from 'node:path';
import { readSmall, writeAtomic } from './cache/disk.js';
import type { Layout } from './cache/layout.js';
import type { Manifest } from './cache/manifest.js';
import { createVectorCache, type VectorCache } from './classify/vector-cache.js';

/** A file of vectors is never larger than this (1 GiB). */
const MAX_BYTES = 2 ** 30;

const { version } = createRequire(import.meta.url)('onnxruntime-node/package.json') as { version: string };

/**
 * The embeddings of route utterances on the volume, so that a boot embeds nothing it has embedded before. The
 * file carries its own checksum; a quantized model rounds differently on another processor or runtime, so
 * these belong to the key.
 * @param whose what commands embed is kept apart, so that it crowds nothing out
 */
export function utteranceCache(
  layout: Layout,
  manifest: Manifest,
  whose: 'daemon' | 'commands' = 'daemon',
): VectorCache {
  const name = manifest.digest.replace('sha256:', '');
  const path = join(layout.vectors, whose === 'daemon' ? `${name}.bin` : `${name}.commands.bin`);
  const modelKey = [manifest.digest, `onnxruntime-node@${version}`, process.arch, cpus()[0]?.model].join(' ');
  return createVectorCache(
    {
      load: () => readSmall(path, MAX_BYTES),
      save: (bytes) => writeAtomic(path, bytes, layout.ingest),
    },
    { modelKey, dimension: manifest.embedding.dimension },
  );
}
