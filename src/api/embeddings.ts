import * as z from 'zod';
import { MAX_INPUTS, type RequestLimits } from './limits.js';
import { count, digest, textOf } from './schema.js';

/** The model, as embedding APIs describe it. */
export interface EmbeddingModel {
  /** `organisation/name` on the hub. */
  readonly id: string;
  readonly revision: string;
  readonly variant: string;
  readonly digest: string;
  /** Length of the vectors. */
  readonly dimension: number;
  /** Longest text in tokens, special tokens included; what is longer is cut. */
  readonly maxTokens: number;
  readonly pooling: string;
  /** Whether vectors have length 1. */
  readonly normalized: boolean;
}

/** Most texts in one request of the embedding APIs: as many as OpenAI takes, or MAX_BATCH where that is more. */
export function maxInputs({ maxBatch }: Pick<RequestLimits, 'maxBatch'>): number {
  return Math.max(maxBatch, MAX_INPUTS);
}

/** One text or several, as embedding APIs take them. What is longer than the model reads is cut, not refused. */
export function textInput(limits: RequestLimits) {
  const text = textOf();
  const most = maxInputs(limits);
  const tooMany = `may hold ${most} texts at most`;
  const texts = z.array(text).min(1, 'must hold at least one text').max(most, tooMany);
  return z.union([text, texts], { error: ({ input }) => explain(input) ?? tooMany });
}

/** Returns what is wrong with an input that is neither a text nor an array of texts, unless it is its length alone. */
function explain(input: unknown): string | undefined {
  if (!Array.isArray(input)) return 'must be a string or an array of strings';
  if (input.length > 0 && input.every((item) => typeof item === 'number' || holds(item, 'number'))) {
    return (
      'holds token ids, which are numbers of another tokenizer; send the texts themselves ' +
      '(with LangChain: check_embedding_ctx_length=False)'
    );
  }
  if (input.some((item) => holds(item, 'string'))) {
    return 'must be a flat list of strings, but holds lists of strings; flatten it';
  }
  const index = input.findIndex((item) => typeof item !== 'string');
  if (index === -1) return undefined;
  return `must be a string or an array of strings, but item ${index} is ${nameOf(input[index])}`;
}

function holds(item: unknown, type: 'number' | 'string'): boolean {
  return Array.isArray(item) && item.every((each) => typeof each === type);
}

function nameOf(value: unknown): string {
  if (value === null) return 'null';
  return Array.isArray(value) ? 'an array' : `of type ${typeof value}`;
}

/** A field that is accepted and makes no difference. */
export const ignored = z.unknown().optional().meta({ description: 'Accepted for compatibility and ignored' });

/** Fields that clients of Cohere, Jina, NVIDIA, vLLM and others send along. */
export const FOREIGN_FIELDS = {
  input_type: ignored,
  truncate: ignored,
  truncate_prompt_tokens: ignored,
  add_special_tokens: ignored,
  priority: ignored,
  normalize: ignored,
  task: ignored,
};

export function textsOf(input: string | readonly string[]): readonly string[] {
  return typeof input === 'string' ? [input] : input;
}

/** An error in OpenAI's shape. */
export const openAiError = z
  .strictObject({
    error: z.strictObject({
      message: z.string(),
      type: z.string(),
      param: z.string().nullable().meta({ description: 'The invalid field' }),
      code: z.string(),
    }),
  })
  .meta({ id: 'OpenAIError' });

/** `POST /v1/embeddings`. Clients may send null for "unset". */
export function embeddingRequest(limits: RequestLimits, { dimension }: Pick<EmbeddingModel, 'dimension'>) {
  return z
    .strictObject({
      ...FOREIGN_FIELDS,
      input: textInput(limits),
      model: z.string().min(1).max(200).nullish(),
      encoding_format: z.enum(['float', 'base64'], 'must be "float" or "base64"').nullish(),
      dimensions: z
        .literal(
          dimension,
          `this model's vectors have ${dimension} numbers: leave it out, or send ${dimension}`,
        )
        .nullish(),
      prompt_name: z.null('this model has no prompts: leave it out').optional(),
      user: z
        .string()
        .max(1_000)
        .nullish()
        .meta({ description: 'Accepted for compatibility and ignored; never stored or logged' }),
    })
    .meta({ id: 'EmbeddingRequest' });
}

export const embeddingResponse = z
  .strictObject({
    object: z.literal('list'),
    data: z.array(
      z.strictObject({
        object: z.literal('embedding'),
        index: count,
        embedding: z
          .union([z.array(z.number()), z.string()])
          .meta({ description: 'Numbers, or for `base64` the little-endian float32 of all of them' }),
      }),
    ),
    model: z.string(),
    usage: z.strictObject({
      prompt_tokens: count.meta({ description: 'Tokens that the model read, including special tokens' }),
      total_tokens: count,
      truncated_tokens: count.meta({
        description: "Tokens that were truncated; an addition to OpenAI's format",
      }),
    }),
  })
  .meta({ id: 'EmbeddingResponse' });

export const modelObject = z
  .strictObject({
    id: z.string(),
    object: z.literal('model'),
    created: z.int().meta({ description: 'Always 0: the model files do not record when they were made' }),
    owned_by: z.string(),
    revision: z.string(),
    variant: z.string(),
    digest,
    dimension: count,
    max_tokens: count,
  })
  .meta({ id: 'OpenAIModel' });

/** The body of `GET /v1/models`. */
export const modelList = z
  .strictObject({
    object: z.literal('list'),
    data: z.array(modelObject),
    models: z
      .array(z.strictObject({ name: z.string(), description: z.string(), release_date: z.string() }))
      .meta({
        description: 'The same list for clients of `/v1/systemone`, with the names that they may send',
      }),
  })
  .meta({ id: 'OpenAIModelList' });

export type OpenAiError = z.infer<typeof openAiError>;
/** One model in OpenAI's shape. */
export type OpenAiModel = z.infer<typeof modelObject>;
/** The body of `GET /v1/models`. */
export type OpenAiModelList = z.infer<typeof modelList>;
