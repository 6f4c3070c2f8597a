import { readFile } from 'node:fs/promises';
import type { CanarySpec, EmbeddingSpec } from '../../cache/manifest.js';
import { CALIBRATION_TEXTS } from '../../config/program-files.js';
import { WorkerPool } from '../../inference/pool.js';
import type { ModelBytes } from '../../inference/protocol.js';
import { AppError } from '../../shared/errors.js';
import type { Log } from '../../shared/log.js';
import type { OriginFile } from './origin.js';

/** Texts whose embeddings a manifest keeps unless others are asked for: short, ordinary, and without spaces. */
export const CANARY_TEXTS: readonly string[] = [
  'This is an example sentence',
  'My card was charged twice, I want a refund.',
  '東京の天気はどうですか',
];

/**
 * Lowest cosine that a manifest accepts. Full-precision vectors hardly move between runtimes; quantized ones were
 * seen to move to 0.993.
 */
export function minCosineOf(quantized: boolean): number {
  return quantized ? 0.98 : 0.9999;
}

/**
 * Measures activation scales on the program's calibration texts, and writes them as a recipe.
 * @throws AppError `model_unloadable` when the model has no dynamic scales
 */
export async function makeRecipe(
  spec: EmbeddingSpec,
  files: ReadonlyMap<string, OriginFile>,
): Promise<string> {
  const { makeFixedScalesRecipe } = await import('../../inference/fixed-scales.js');
  const texts = JSON.parse(await readFile(CALIBRATION_TEXTS, 'utf8'));
  return `${JSON.stringify(await makeFixedScalesRecipe({ spec, ...(await readFiles(spec, files)) }, texts))}\n`;
}

/**
 * Runs the model for its answers to `texts`, and loads it once more with these answers as its canary: what comes
 * out is proved to be loadable.
 * @throws AppError `model_unloadable`, `canary_mismatch` when it does not give the same answer twice
 */
export async function computeCanary(
  spec: EmbeddingSpec,
  files: ReadonlyMap<string, OriginFile>,
  texts: readonly string[],
  minCosine: number,
  log: Log,
  recipe?: string,
): Promise<CanarySpec> {
  const bytes = { spec, recipe, ...(await readFiles(spec, files)) };
  const cases = await withModel(
    { ...bytes, canary: { min_cosine: minCosine, cases: [] } },
    log,
    async (pool) => {
      const answers: CanarySpec['cases'][number][] = [];
      for (const text of texts) {
        const { vector } = await pool.embed(text);
        if (!vector.every(Number.isFinite)) {
          throw new AppError('model_unloadable', `its answer to ${JSON.stringify(text)} is not finite`);
        }
        answers.push({ text, embedding: toBase64(vector) });
      }
      return answers;
    },
  );
  const canary = { min_cosine: minCosine, cases };
  await withModel({ ...bytes, canary }, log, async () => undefined);
  return canary;
}

/** Runs `work` with a pool that serves the model, and closes it. */
async function withModel<T>(model: ModelBytes, log: Log, work: (pool: WorkerPool) => Promise<T>): Promise<T> {
  const pool = new WorkerPool({ workers: 1, log });
  try {
    await pool.load(model);
    return await work(pool);
  } finally {
    await pool.close(0);
  }
}

async function readFiles(
  spec: EmbeddingSpec,
  files: ReadonlyMap<string, OriginFile>,
): Promise<Pick<ModelBytes, 'model' | 'tokenizer' | 'tokenizerConfig'>> {
  const [model, tokenizer, tokenizerConfig] = await Promise.all(
    [spec.model, spec.tokenizer, spec.tokenizer_config].map((path) => bytesOf(files, path)),
  );
  if (!model || !tokenizer || !tokenizerConfig) {
    throw new AppError('manifest_invalid', 'the model lacks its weights or its tokenizer');
  }
  return { model, tokenizer, tokenizerConfig };
}

async function bytesOf(files: ReadonlyMap<string, OriginFile>, path: string): Promise<Buffer | undefined> {
  const file = files.get(path);
  return file && readFile(file.location);
}

/** Little-endian float32, whatever the machine. */
export function toBase64(vector: Float32Array): string {
  const bytes = Buffer.alloc(vector.length * 4);
  for (const [index, value] of vector.entries()) bytes.writeFloatLE(value, index * 4);
  return bytes.toString('base64');
}
