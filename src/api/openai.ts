import * as z from 'zod';
import type { EmbeddingModel } from './embedding-model.js';
import type { RequestLimits } from './limits.js';
import { json, jsonBody, operation, type Paths } from './operation.js';
import { count, digest } from './schema.js';
import { textInput } from './text-input.js';

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

/** `/v1/embeddings` and `/v1/models`. */
export function openAiPaths(limits: RequestLimits, model: EmbeddingModel): Paths {
  const common = { tag: 'Embeddings', access: 'key', errors: { id: 'OpenAI', schema: openAiError } } as const;
  return {
    '/v1/embeddings': {
      post: operation({
        ...common,
        id: 'createEmbedding',
        summary: "The vectors of texts, as OpenAI's clients ask for them",
        body: jsonBody(embeddingRequest(limits, model), {
          two: { value: { input: ['my card was charged twice', 'what is the weather?'] } },
        }),
        answers: { 200: json('One vector for each text, in order', embeddingResponse) },
        problems: [400, 404, 413, 415],
      }),
    },
    '/v1/models': {
      get: operation({
        ...common,
        id: 'listModels',
        summary: 'The one model that is served',
        answers: { 200: json('It', modelList) },
      }),
    },
    '/v1/models/{model}': {
      get: operation({
        ...common,
        id: 'retrieveModel',
        summary: 'The model by its name',
        params: { path: z.object({ model: z.string().min(1).max(200).meta({ example: model.id }) }) },
        answers: { 200: json('It', modelObject) },
        problems: [400, 404],
      }),
    },
  };
}
