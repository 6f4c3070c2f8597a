import { readFile } from 'node:fs/promises';
import * as z from 'zod';
import type { CanarySpec, EmbeddingSpec } from '../../cache/manifest.js';
import { CALIBRATION_TEXTS } from '../../config/program-files.js';
import { WorkerPool } from '../../inference/pool.js';
import type { ModelBytes } from '../../inference/protocol.js';
import { AppError } from '../../shared/errors.js';
import type { Log } from '../../shared/log.js';
import type { OriginFile, PinOrigin } from './origins.js';

/** The files of a model that are needed, by what they are for. */
export interface Selection {
  /** Path of the ONNX graph. */
  readonly model: string;
  /** The pinned files, by path, in the order of paths. */
  readonly pinned: ReadonlyMap<string, OriginFile>;
  /** These and what is only read for facts. */
  readonly all: ReadonlyMap<string, OriginFile>;
}

const TOKENIZER = ['tokenizer.json', 'tokenizer_config.json'] as const;
const REQUIRED = ['config.json', ...TOKENIZER] as const;
const OPTIONAL = ['special_tokens_map.json'] as const;

/** Where a variant's weights are by the convention of ONNX repositories. */
export function weightsOf(variant: string): string {
  if (variant === 'fp32') return 'onnx/model.onnx';
  return variant === 'q8' ? 'onnx/model_quantized.onnx' : `onnx/model_${variant}.onnx`;
}

/**
 * Takes what is needed from an origin, the small files first: a repository that is no sentence-transformer is
 * refused before its weights are fetched.
 * @throws AppError `source_not_found`, naming what there is instead
 */
export async function selectFiles(
  origin: PinOrigin,
  model: string,
  onFile: (file: OriginFile) => void,
): Promise<Selection> {
  const all = new Map<string, OriginFile>();
  const pinned = new Map<string, OriginFile>();
  if (origin.paths && !origin.paths.includes(model)) throw lacking(origin, model);
  for (const path of [...REQUIRED, ...OPTIONAL, ...FACT_FILES, model]) {
    const file = await origin.take(path);
    const required = path === model || REQUIRED.some((name) => name === path);
    if (!file) {
      if (required) throw lacking(origin, path);
      continue;
    }
    onFile(file);
    all.set(path, file);
    if (required || OPTIONAL.some((name) => name === path)) pinned.set(path, file);
  }
  const sorted = [...pinned].sort(([a], [b]) => (a < b ? -1 : 1));
  return { model, pinned: new Map(sorted), all };
}

function lacking({ name, paths }: PinOrigin, path: string): AppError {
  const graphs = paths?.filter((candidate) => candidate.endsWith('.onnx')) ?? [];
  const hint =
    path.endsWith('.onnx') && paths
      ? `; it has ${graphs.length === 0 ? 'no .onnx file at all' : graphs.join(', ')} (see --variant and --model)`
      : '';
  return new AppError('source_not_found', `${name} has no ${path}${hint}`);
}

/** One property of a model, and where it was found. */
export interface Fact<T> {
  readonly value: T;
  readonly from: string;
}

/** Facts of a manifest about the way from tokens to a vector. */
export interface ModelFacts {
  readonly dimension: Fact<EmbeddingSpec['dimension']>;
  readonly maxTokens: Fact<EmbeddingSpec['max_tokens']>;
  readonly pooling: Fact<EmbeddingSpec['pooling']>;
  readonly normalize: Fact<EmbeddingSpec['normalize']>;
}

/** Values of the caller that override detected ones. */
export interface FactOverrides {
  readonly dimension?: number | undefined;
  readonly maxTokens?: number | undefined;
  readonly pooling?: 'mean' | 'cls' | undefined;
  readonly normalize?: boolean | undefined;
}

/** The files in which sentence-transformers keeps these facts; they are read, not pinned. */
export const FACT_FILES = ['modules.json', 'sentence_bert_config.json', '1_Pooling/config.json'] as const;

const positive = z.int().positive().optional().catch(undefined);
const configSchema = z.looseObject({
  hidden_size: positive,
  dim: positive,
  d_model: positive,
  max_position_embeddings: positive,
  model_type: z.string().optional().catch(undefined),
});
const poolingSchema = z.looseObject({
  word_embedding_dimension: positive,
  pooling_mode: z.string().optional().catch(undefined),
  pooling_mode_mean_tokens: z.boolean().optional().catch(undefined),
  pooling_mode_cls_token: z.boolean().optional().catch(undefined),
});
const lengthSchema = z.looseObject({ max_seq_length: positive });
const modulesSchema = z.array(z.looseObject({ type: z.string() }));
const tokenizerSchema = z.looseObject({ model_max_length: z.number().optional().catch(undefined) });

/** Models of these types number positions from the padding id on, and lose two. */
const OFFSET_POSITIONS = /roberta|camembert|mpnet/;

/**
 * Finds the facts in the model's files, the surest place first.
 * @throws AppError `manifest_invalid` when one is found nowhere, naming the flag that gives it
 */
export async function readFacts(
  files: ReadonlyMap<string, OriginFile>,
  overrides: FactOverrides,
): Promise<ModelFacts> {
  const read = <S extends z.ZodType>(path: string, schema: S): Promise<z.output<S> | undefined> =>
    readJson(files.get(path), schema);
  const config = await read('config.json', configSchema);
  const pooling = await read('1_Pooling/config.json', poolingSchema);
  const length = await read('sentence_bert_config.json', lengthSchema);
  const modules = await read('modules.json', modulesSchema);
  const tokenizer = await read('tokenizer_config.json', tokenizerSchema);
  return {
    dimension: first('dimension', '--dimension', [
      [overrides.dimension, '--dimension'],
      [pooling?.word_embedding_dimension, '1_Pooling/config.json'],
      [config?.hidden_size ?? config?.dim ?? config?.d_model, 'config.json'],
    ]),
    maxTokens: first('maximum length', '--max-tokens', [
      [overrides.maxTokens, '--max-tokens'],
      [length?.max_seq_length, 'sentence_bert_config.json'],
      [shortest(tokenizer?.model_max_length, positionsOf(config)), 'tokenizer_config.json and config.json'],
    ]),
    pooling: first('pooling', '--pooling', [
      [overrides.pooling, '--pooling'],
      [pooling && poolingOf(pooling), '1_Pooling/config.json'],
      ['mean' as const, 'the usual one; nothing says otherwise'],
    ]),
    normalize: first('normalization', '--normalize', [
      [overrides.normalize, '--normalize'],
      [modules?.some(({ type }) => type.endsWith('Normalize')), 'modules.json'],
      [true, 'the usual one; nothing says otherwise'],
    ]),
  };
}

type Place<T> = readonly [value: T | undefined, from: string];

function first<T>(what: string, flag: string, places: readonly Place<T>[]): Fact<T> {
  for (const [value, from] of places) if (value !== undefined) return { value, from };
  throw new AppError('manifest_invalid', `the model's files do not tell its ${what}: give ${flag}`);
}

function poolingOf(pooling: z.output<typeof poolingSchema>): 'mean' | 'cls' {
  const mode = pooling.pooling_mode;
  if (pooling.pooling_mode_mean_tokens || mode === 'mean') return 'mean';
  if (pooling.pooling_mode_cls_token || mode === 'cls') return 'cls';
  throw new AppError(
    'manifest_invalid',
    '1_Pooling/config.json asks for a pooling other than "mean" and "cls", which this program does not have',
  );
}

function positionsOf(config: z.output<typeof configSchema> | undefined): number | undefined {
  const positions = config?.max_position_embeddings;
  if (positions === undefined) return undefined;
  return OFFSET_POSITIONS.test(config?.model_type ?? '') ? positions - 2 : positions;
}

/** The shorter of the two; tokenizers without a limit say 10³⁰. */
function shortest(a: number | undefined, b: number | undefined): number | undefined {
  const known = [a, b].filter((value) => value !== undefined && value > 0 && value <= 131_072);
  return known.length === 0 ? undefined : Math.min(...(known as number[]));
}

async function readJson<S extends z.ZodType>(
  file: OriginFile | undefined,
  schema: S,
): Promise<z.output<S> | undefined> {
  if (!file) return undefined;
  let json: unknown;
  try {
    json = JSON.parse(await readFile(file.location, 'utf8'));
  } catch (cause) {
    throw new AppError('manifest_invalid', `${file.path} is not JSON`, { cause });
  }
  return schema.safeParse(json).data;
}

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
