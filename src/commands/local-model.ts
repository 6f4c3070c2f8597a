import { Stats } from 'node:fs';
import { stat } from 'node:fs/promises';
import { basename, dirname, resolve } from 'node:path';
import { loadManifest } from '../cache/manifest.js';
import { ContentStore } from '../cache/store.js';
import type { Config } from '../config/config.js';
import { fitWorkers, machineLimits } from '../config/machine-limits.js';
import { createClassifier, readModel, routeCaches } from '../daemon/model.js';
import { WorkerPool } from '../inference/pool.js';
import { MAX_ROUTE_FILE_BYTES, readTextFile } from '../routes/file.js';
import { parseRouteSet } from '../routes/parse.js';
import type { RouteSet } from '../routes/set.js';
import type { Encoder } from '../scoring/scorer.js';
import { AppError, errnoOf } from '../shared/errors.js';
import { fillCache } from './fill.js';
import type { Output } from './output.js';

/** Texts that a command may have waiting for inference. */
const MAX_QUEUE = 4_096;

/** Options of {@link withLocalModel}. */
export interface LocalModelOptions {
  readonly config: Config;
  readonly output: Output;
  readonly signal: AbortSignal;
  readonly quiet: boolean;
  /** The owner of the embeddings and heads on the volume that are used and added to. Default: the commands. */
  readonly whose?: 'daemon' | 'commands';
}

/**
 * Runs `work` with the model of the cache folder, which is verified first, and filled as `pull` does it.
 * @throws AppError why the model is not available; what `work` throws
 */
export async function withLocalModel<T>(
  { config, output, signal, quiet, whose = 'commands' }: LocalModelOptions,
  work: (encoder: Encoder) => Promise<T>,
): Promise<T> {
  const manifest = await loadManifest(config.manifestFile);
  const { report } = await fillCache({ config, manifest, output, signal, quiet });
  signal.throwIfAborted();
  if (!report.whole) {
    const why = report.error?.message ?? 'see ai-router verify';
    throw new AppError('sources_exhausted', `${config.cacheDir} does not hold the whole model: ${why}`);
  }
  const store = new ContentStore(config.cacheDir);
  const { workers } = fitWorkers(machineLimits(config.variant), config.workers);
  const pool = new WorkerPool({ workers, maxQueue: MAX_QUEUE, log: output.log() });
  const stop = (): void => void pool.close(0);
  signal.addEventListener('abort', stop, { once: true });
  try {
    await pool.load(await readModel(manifest, (file) => store.read(file)));
    const { repo: id, revision, variant, digest } = manifest;
    return await work({
      embedder: pool,
      model: { id, revision, variant, digest },
      ...routeCaches(store.layout, manifest, whose),
    });
  } finally {
    signal.removeEventListener('abort', stop);
    await pool.close(0);
  }
}

/**
 * Reads a text file that a command was given.
 * @throws AppError `config_invalid` where there is none, with the folder that was looked in; what `readTextFile` throws
 */
export async function readInput(path: string, maxBytes: number): Promise<string> {
  const found = await stat(path).catch((error: unknown) => error);
  if (errnoOf(found) === 'ENOENT') {
    throw new AppError('config_invalid', `${path} does not exist (looked in ${dirname(resolve(path))})`);
  }
  if (found instanceof Stats && found.isDirectory())
    throw new AppError('config_invalid', `${path} is a folder`);
  return (await readTextFile(path, maxBytes)).text;
}

/**
 * Reads a routes file.
 * @throws AppError `routes_invalid`, and what {@link readInput} throws
 */
export async function readRouteSet(path: string): Promise<RouteSet> {
  const text = await readInput(path, MAX_ROUTE_FILE_BYTES);
  return parseRouteSet(text, { origin: basename(path) });
}

/**
 * Embeds the routes and trains their head into the cache folder, so that the first start of a daemon is faster.
 * They hold for this kind of processor only, since a quantized model rounds differently on another.
 * @returns the number of routes
 * @throws AppError `routes_invalid`, or why the model is not available
 */
export async function warmRoutes(options: Omit<LocalModelOptions, 'whose'>): Promise<number> {
  const { config, signal } = options;
  const set = await readRouteSet(config.routesFile);
  await withLocalModel({ ...options, whose: 'daemon' }, async (encoder) => {
    const classifier = createClassifier({ method: config.classifyMethod });
    await classifier.load(set, { encoder, signal });
    classifier.close();
  });
  return set.routes.length;
}
