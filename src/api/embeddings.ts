import * as z from 'zod';
import type { RequestLimits } from './limits.js';
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

/** One text or several, as embedding APIs take them. */
function textInput(limits: RequestLimits) {
  const text = textOf(limits.maxTextChars, 'MAX_TEXT_CHARS');
  const tooMany = `may hold ${limits.maxBatch} texts at most (MAX_BATCH)`;
  const texts = z.array(text).min(1, 'must hold at least one text').max(limits.maxBatch, tooMany);
  return z.union([text, texts], { error: ({ input }) => explain(input) ?? tooMany });
}

/** Returns what is wrong with an input that is neither a text nor an array of texts, unless it is its length alone. */
function explain(input: unknown): string | undefined {
  if (!Array.isArray(input)) return 'must be a string or an array of strings';
  if (input.every((item) => typeof item === 'number' || Array.isArray(item))) {
    return (
      'holds token ids, which are numbers of another tokenizer; send the texts themselves ' +
      '(with LangChain: check_embedding_ctx_length=False)'
    );
  }
  const index = input.findIndex((item) => typeof item !== 'string');
  if (index === -1) return undefined;
  return `must be a string or an array of strings, but item ${index} is ${nameOf(input[index])}`;
}

function nameOf(value: unknown): string {
  if (value === null) return 'null';
  return Array.isArray(value) ? 'an array' : `of type ${typeof value}`;
}

/** The texts of an input. */
export function textsOf(input: string | readonly string[]): readonly string[] {
  return typeof input === 'string' ? [input] : input;
}

/** An error in OpenAI's shape. */
export const openAiError = z
  .strictObject({
    error: z.strictObject({
      message: z.string(),
      type: z.string(),
      param: z.string().nullable().meta({ description: 'The field that is wrong' }),
      code: z.string(),
    }),
  })
  .meta({ id: 'OpenAIError' });

/** `POST /v1/embeddings`. Clients may send null for "unset". */
export function embeddingRequest(limits: RequestLimits, { dimension }: Pick<EmbeddingModel, 'dimension'>) {
  return z
    .strictObject({
      input: textInput(limits),
      model: z.string().min(1).max(200).nullish(),
      encoding_format: z.enum(['float', 'base64'], 'must be "float" or "base64"').nullish(),
      dimensions: z
        .literal(
          dimension,
          `this model's vectors have ${dimension} numbers: leave it out, or send ${dimension}`,
        )
        .nullish(),
      user: z.string().max(1_000).nullish().meta({ description: 'Accepted, and neither kept nor logged' }),
    })
    .meta({ id: 'EmbeddingRequest' });
}

/** The answer to it. */
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
      prompt_tokens: count.meta({ description: 'Tokens that the model saw, special tokens included' }),
      total_tokens: count,
      truncated_tokens: count.meta({ description: "Not in OpenAI's answer: tokens that were cut" }),
    }),
  })
  .meta({ id: 'EmbeddingResponse' });

/** One model. */
export const modelObject = z
  .strictObject({
    id: z.string(),
    object: z.literal('model'),
    created: z.int().meta({ description: "Always 0: a model's files do not tell when they were made" }),
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
  .strictObject({ object: z.literal('list'), data: z.array(modelObject) })
  .meta({ id: 'OpenAIModelList' });

/** An error in OpenAI's shape. */
export type OpenAiError = z.infer<typeof openAiError>;
/** One model in OpenAI's shape. */
export type OpenAiModel = z.infer<typeof modelObject>;
/** The body of `GET /v1/models`. */
export type OpenAiModelList = z.infer<typeof modelList>;

/** What an error may be called. */
export const TEI_ERROR_TYPES = ['Unhealthy', 'Backend', 'Overloaded', 'Validation', 'Tokenizer'] as const;

/** An error in the shape of Text Embeddings Inference. */
export const teiError = z
  .strictObject({ error: z.string(), error_type: z.enum(TEI_ERROR_TYPES) })
  .meta({ id: 'TEIError' });

/** `POST /embed`. Clients may send null for "unset". */
export function embedRequestSchema(
  limits: RequestLimits,
  model: Pick<EmbeddingModel, 'dimension' | 'normalized'>,
) {
  const normalize = model.normalized
    ? z.literal(true, 'this model gives vectors of length 1 only: leave it out, or send true')
    : z.boolean();
  return z
    .strictObject({
      inputs: textInput(limits),
      normalize: normalize.nullish(),
      truncate: z
        .boolean()
        .nullish()
        .meta({ description: 'False refuses texts that are too long, with 413; otherwise they are cut' }),
      truncation_direction: z
        .literal(['Right', 'right'], 'texts are cut at their end: leave it out, or send "Right"')
        .nullish(),
      prompt_name: z.null('this model has no prompts: leave it out').optional(),
      dimensions: z
        .literal(model.dimension, `this model's vectors have ${model.dimension} numbers: leave it out`)
        .nullish(),
    })
    .meta({ id: 'EmbedRequest' });
}

/** The answer to it: one vector for each text. */
export const embedResponse = z.array(z.array(z.number())).meta({ id: 'EmbedResponse' });

/** The body of `GET /info`. */
export const infoResponse = z
  .strictObject({
    model_id: z.string(),
    model_sha: z.string(),
    model_dtype: z.string(),
    model_type: z.strictObject({ embedding: z.strictObject({ pooling: z.string() }) }),
    max_concurrent_requests: count.meta({ description: 'Texts at the workers and waiting before them' }),
    max_input_length: count,
    max_batch_tokens: count,
    max_batch_requests: z.int().nullable(),
    max_client_batch_size: count,
    auto_truncate: z.boolean(),
    tokenization_workers: count,
    version: z.string(),
    sha: z.string().nullable(),
    docker_label: z.string().nullable(),
  })
  .meta({ id: 'Info' });

/** An error in the shape of Text Embeddings Inference. */
export type TeiError = z.infer<typeof teiError>;
/** The body of `GET /info`. */
export type TeiInfo = z.infer<typeof infoResponse>;
