import { readFile } from 'node:fs/promises';
import * as z from 'zod';
import type { EmbeddingSpec } from '../../cache/manifest.js';
import { AppError } from '../../shared/errors.js';
import type { OriginFile } from './origin.js';

/** One property of a model, and where it was found. */
export interface Fact<T> {
  readonly value: T;
  readonly from: string;
}

/** What a manifest says of a model's way from tokens to a vector. */
export interface ModelFacts {
  readonly dimension: Fact<EmbeddingSpec['dimension']>;
  readonly maxTokens: Fact<EmbeddingSpec['max_tokens']>;
  readonly pooling: Fact<EmbeddingSpec['pooling']>;
  readonly normalize: Fact<EmbeddingSpec['normalize']>;
}

/** What the caller knows better. */
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
