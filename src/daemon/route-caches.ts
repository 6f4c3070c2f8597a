import { readdir } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { cpus } from 'node:os';
import { join } from 'node:path';
import { checkFolder, readSmall, writeAtomic } from '../cache/disk.js';
import type { Layout } from '../cache/layout.js';
import type { Manifest } from '../cache/manifest.js';
import { backgroundFile, VARIANTS } from '../config/program-files.js';
import { decodeBackground } from '../scoring/head/background.js';
import { createHeadCache, type HeadCache } from '../scoring/head/head-cache.js';
import { type ByteStore, createVectorCache, type VectorCache } from '../scoring/vector-cache.js';

/** A file of vectors is never larger than this (1 GiB). */
const MAX_BYTES = 2 ** 30;

const { version } = createRequire(import.meta.url)('onnxruntime-node/package.json') as { version: string };
const RUNTIME = `onnxruntime-node@${version}`;

/** What the volume keeps for a model's routes, so that a boot makes nothing that it has made before. */
export interface RouteCaches {
  /** Vectors of utterances. */
  readonly cache: VectorCache;
  /** Vectors of the other texts that heads are made with: kept apart, so that neither pushes the other out. */
  readonly auxiliary: VectorCache;
  /** Vectors of the background texts, where the program comes with those of this model. */
  readonly background: () => Promise<Float32Array | undefined>;
  readonly heads: HeadCache;
  readonly modelKey: string;
}

/**
 * Embeddings and trained heads on the volume. Each file carries its own checksum; a quantized model rounds
 * differently on another processor or runtime, so these belong to the key.
 * @param whose what commands embed is kept apart, so that it crowds nothing out
 */
export function routeCaches(
  layout: Layout,
  manifest: Manifest,
  whose: 'daemon' | 'commands' = 'daemon',
): RouteCaches {
  const digest = manifest.digest.replace('sha256:', '');
  const hex = whose === 'daemon' ? digest : `${digest}.commands`;
  const modelKey = [manifest.digest, RUNTIME, process.arch, cpus()[0]?.model].join(' ');
  const store = (name: string): ByteStore => {
    const path = join(layout.vectors, name);
    return {
      load: async () => {
        await checkFolder(layout.vectors);
        return readSmall(path, MAX_BYTES);
      },
      // Makes no folder: where a verification has made none, nothing may be written.
      save: (bytes) => writeAtomic(path, bytes, layout.ingest),
    };
  };
  const options = { modelKey, dimension: manifest.embedding.dimension };
  return {
    cache: createVectorCache(store(`${hex}.bin`), options),
    auxiliary: createVectorCache(store(`${hex}.head-texts.bin`), options),
    background: () => backgroundVectors(manifest),
    heads: createHeadCache(store(`${hex}.heads.bin`)),
    modelKey,
  };
}

/**
 * Returns the digests of other models with vectors on the volume, as long as this one has none: its first boot on a
 * volume that served another. Vectors that users stored elsewhere do not match its vectors either.
 */
export async function formerModels(layout: Layout, manifest: Manifest): Promise<readonly string[]> {
  const names = await readdir(layout.vectors).catch((): string[] => []);
  const digests = names.flatMap((name) => /^([0-9a-f]{64})\.bin$/.exec(name)?.[1] ?? []);
  const others = digests.map((hex) => `sha256:${hex}`);
  return others.includes(manifest.digest) ? [] : others;
}

/** Vectors of the background texts that come with the program; undefined for other models, which embed the texts. */
export async function backgroundVectors({
  variant,
  digest,
  embedding,
}: Manifest): Promise<Float32Array | undefined> {
  const known = VARIANTS.find((name) => name === variant);
  const file = known && (await readSmall(backgroundFile(known), MAX_BYTES).catch(() => undefined));
  return file && decodeBackground(file, digest, embedding.dimension);
}
