import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { writeAtomic } from '../../src/cache/disk.js';
import { loadManifest } from '../../src/cache/manifest.js';
import { builtInManifest, PACKAGE_ROOT } from '../../src/config/program-files.js';
import { readModel } from '../../src/daemon/model.js';
import type { Embedder } from '../../src/inference/embedder.js';
import { WorkerPool } from '../../src/inference/pool.js';
import { createTokenizer } from '../../src/inference/tokenizer.js';
import { createVectorCache } from '../../src/scoring/vector-cache.js';
import { mapConcurrent } from '../../src/shared/concurrent.js';
import { AppError } from '../../src/shared/errors.js';

const silent = { debug() {}, info() {}, warn() {}, error() {} };

/**
 * Embeds texts with the real pool and answers from memory afterwards.
 * @param folder keeps the vectors for the next run, if given
 */
export async function embedAll(texts: readonly string[], folder?: string): Promise<Embedder> {
  const manifest = await loadManifest(builtInManifest('q8'));
  const { dimension } = manifest.embedding;
  const read = (file: string): Promise<Buffer> => readFile(join(PACKAGE_ROOT, 'model', file));
  const path = folder === undefined ? undefined : join(folder, 'bench-vectors.bin');
  const cache = createVectorCache(
    {
      load: async () => (path === undefined ? undefined : readFile(path).catch(() => undefined)),
      save: async (bytes) => {
        if (path === undefined || folder === undefined) return;
        await mkdir(folder, { recursive: true });
        await writeAtomic(path, bytes, folder);
      },
    },
    // The parts of a run have texts of their own, and all of them stay.
    { modelKey: manifest.digest, dimension, keepUnused: 100_000 },
  );
  const vectors = new Map((await cache.get(texts)).vectors);
  const missing = [...new Set(texts)].filter((text) => !vectors.has(text));
  if (missing.length > 0) {
    const workerEntry = new URL('../../dist/inference-worker.js', import.meta.url);
    const pool = new WorkerPool({ log: silent, workerEntry });
    await pool.load(await readModel(manifest, ({ path: file }) => read(file)));
    let done = 0;
    await mapConcurrent(missing, 4, async (text) => {
      vectors.set(text, (await pool.embed(text)).vector);
      done += 1;
      if (done % 1_000 === 0) process.stderr.write(`embedded ${done} of ${missing.length}\n`);
    });
    await pool.close();
    await cache.put(vectors);
  }
  const { embedding } = manifest;
  const [json, config] = await Promise.all([embedding.tokenizer, embedding.tokenizer_config].map(read));
  const tokenizer = createTokenizer(json ?? Buffer.of(), config ?? Buffer.of(), embedding);
  return {
    dimension,
    admit() {},
    async embed(text) {
      const vector = vectors.get(text);
      if (!vector) throw new AppError('internal', `not embedded: ${text}`);
      const timing = { queueMs: 0, tokenizeMs: 0, inferenceMs: 0 };
      const { legibility } = tokenizer.encode(text);
      return { vector, tokens: 0, truncatedTokens: 0, legibility, timing };
    },
  };
}
