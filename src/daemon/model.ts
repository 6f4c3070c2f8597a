import { readdir } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { cpus } from 'node:os';
import { join } from 'node:path';
import type { EmbeddingModel } from '../api/embeddings.js';
import { checkFolder, readSmall, statOf, writeAtomic } from '../cache/disk.js';
import type { Layout } from '../cache/layout.js';
import { fileOf, type Manifest, type PinnedFile } from '../cache/manifest.js';
import type { Config } from '../config/config.js';
import { backgroundFile, VARIANTS } from '../config/program-files.js';
import type { ContractSettings } from '../http/openapi.js';
import type { ModelBytes } from '../inference/protocol.js';
import { Classifier } from '../scoring/classifier.js';
import { createHeadCache, type HeadCache } from '../scoring/head/head-cache.js';
import { type HeadScoringOptions, headScoring } from '../scoring/head/head-scoring.js';
import { decodeBackground } from '../scoring/noise.js';
import { type ByteStore, createVectorCache, type VectorCache } from '../scoring/vector-cache.js';
import { AppError } from '../shared/errors.js';

/** The embedding model of a manifest, as the API names it. */
export function embeddingModelOf({ repo, revision, variant, digest, embedding }: Manifest): EmbeddingModel {
  const { dimension, max_tokens: maxTokens, pooling, normalize: normalized } = embedding;
  return { id: repo, revision, variant, digest, dimension, maxTokens, pooling, normalized };
}

/** The settings and the model that the API description names. */
export function contractSettings(config: Config, manifest: Manifest, version: string): ContractSettings {
  const keyRequired = config.apiKeys.length > 0 || config.apiKeysFile !== undefined;
  return { ...config, version, model: embeddingModelOf(manifest), keyRequired };
}

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

/** Makes the classifier of a daemon. Commands use the same, so that their figures hold in service. */
export function createClassifier(options: HeadScoringOptions): Classifier {
  return new Classifier({ createScorer: headScoring(options) });
}

const { version } = createRequire(import.meta.url)('onnxruntime-node/package.json') as { version: string };
const RUNTIME = `onnxruntime-node@${version}`;

/** The caches on the volume for the routes of a model, so that a boot repeats no work. */
export interface RouteCaches {
  readonly cache: VectorCache;
  /** Vectors of the other texts that heads are trained with, in a file of their own, so that neither evicts the other. */
  readonly auxiliary: VectorCache;
  /** Vectors of the background texts, where the program comes with those of this model. */
  readonly background: () => Promise<Float32Array | undefined>;
  readonly heads: HeadCache;
  readonly modelKey: string;
}

/**
 * Embeddings and trained heads on the volume. Each file carries its own checksum; a quantized model rounds
 * differently on another processor or runtime, so these belong to the key.
 * @param owner commands have files of their own, so that they evict nothing of the daemon
 */
export function routeCaches(
  layout: Layout,
  manifest: Manifest,
  owner: 'daemon' | 'commands' = 'daemon',
): RouteCaches {
  const digest = manifest.digest.replace('sha256:', '');
  const hex = owner === 'daemon' ? digest : `${digest}.commands`;
  const modelKey = [manifest.digest, RUNTIME, process.arch, cpus()[0]?.model].join(' ');
  const store = (name: string): ByteStore => {
    const path = join(layout.vectors, name);
    return {
      load: async (maxBytes) => {
        await checkFolder(layout.vectors);
        const size = Number((await statOf(path))?.size ?? 0);
        if (size > maxBytes) throw new Error(`${name} has ${size} bytes; at most ${maxBytes} can be needed`);
        return readSmall(path, maxBytes);
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
  const file = known && (await readSmall(backgroundFile(known)).catch(() => undefined));
  return file && decodeBackground(file, digest, embedding.dimension);
}
