import { createRequire } from 'node:module';
import { cpus } from 'node:os';
import { join } from 'node:path';
import { readSmall, writeAtomic } from '../cache/disk.js';
import type { Layout } from '../cache/layout.js';
import type { Manifest } from '../cache/manifest.js';
import { backgroundFile, defaultRoutesFile, VARIANTS } from '../config/program-files.js';
import { decodeBackground } from '../scoring/head/background-file.js';
import { createHeadCache, type HeadCache } from '../scoring/head/head-cache.js';
import { type ShippedHeads, withShipped } from '../scoring/shipped.js';
import { type ByteStore, createVectorCache, type VectorCache } from '../scoring/vector-cache.js';
import { AppError } from '../shared/errors.js';

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
  /** The head of the default routes, where the program comes with that of this model. */
  readonly shippedHeads: ShippedHeads;
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
      load: () => readSmall(path, MAX_BYTES),
      save: (bytes) => writeAtomic(path, bytes, layout.ingest),
    };
  };
  const options = { modelKey, dimension: manifest.embedding.dimension };
  const shipped = shippedRoutes(manifest);
  return {
    cache: withShipped(createVectorCache(store(`${hex}.bin`), options), shipped.vectors),
    auxiliary: withShipped(createVectorCache(store(`${hex}.head-texts.bin`), options), shipped.vectors),
    background: () => shippedBackground(manifest),
    heads: createHeadCache(store(`${hex}.heads.bin`)),
    shippedHeads: shipped.heads,
    modelKey,
  };
}

/** What the program comes with for the default routes, or will, once `save` of the files was called. */
export interface ShippedRoutes {
  readonly vectors: VectorCache;
  readonly heads: HeadCache & ShippedHeads;
}

/**
 * A reference machine's vectors of the default routes and the head that was trained with them. They are used for
 * the very model, runtime, texts and routes that they were made with; of the processor their key says nothing.
 * @param save writes one of the files, where they are to be made
 */
export function shippedRoutes(
  { variant, digest, embedding }: Manifest,
  save: (path: string, bytes: Uint8Array) => Promise<void> = refuse,
): ShippedRoutes {
  const known = VARIANTS.find((name) => name === variant);
  const store = (what: Parameters<typeof defaultRoutesFile>[1]): ByteStore => ({
    load: async () => known && readSmall(defaultRoutesFile(known, what), MAX_BYTES),
    save: async (bytes) => known && save(defaultRoutesFile(known, what), bytes),
  });
  const modelKey = [digest, RUNTIME].join(' ');
  return {
    vectors: createVectorCache(store('vectors'), { modelKey, dimension: embedding.dimension }),
    heads: { ...createHeadCache(store('heads')), modelKey },
  };
}

async function refuse(path: string): Promise<void> {
  throw new AppError('internal', `${path} comes with the program and is not written by it`);
}

/** A reference machine's vectors. Another model's, or none that can be read: the texts are embedded here. */
export async function shippedBackground({
  variant,
  digest,
  embedding,
}: Manifest): Promise<Float32Array | undefined> {
  const known = VARIANTS.find((name) => name === variant);
  const file = known && (await readSmall(backgroundFile(known), MAX_BYTES).catch(() => undefined));
  return file && decodeBackground(file, digest, embedding.dimension);
}
