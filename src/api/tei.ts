import * as z from 'zod';
import type { EmbeddingModel } from './embedding-model.js';
import type { RequestLimits } from './limits.js';
import { json, jsonBody, operation, type Paths } from './operation.js';
import { count } from './schema.js';
import { textInput } from './text-input.js';

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

/** `/embed`, the same at `POST /`, and `/info`. */
export function teiPaths(limits: RequestLimits, model: EmbeddingModel): Paths {
  const common = { tag: 'Embeddings', access: 'key', errors: { id: 'TEI', schema: teiError } } as const;
  const embed = {
    ...common,
    body: jsonBody(embedRequestSchema(limits, model), {
      one: { value: { inputs: 'my card was charged twice' } },
    }),
    answers: {
      200: json('One vector for each text, in order', embedResponse, {
        headers: { 'X-Compute-Tokens': z.string(), 'X-Truncated-Tokens': z.string() },
      }),
    },
    problems: [400, 413, 415, 422, 424, 429],
  } as const;
  return {
    '/embed': {
      post: operation({ ...embed, id: 'embed', summary: 'Vectors, as Text Embeddings Inference gives them' }),
    },
    '/': {
      post: operation({
        ...embed,
        id: 'embedAtRoot',
        summary: 'The same, where some of its clients send it',
      }),
    },
    '/info': {
      get: operation({
        ...common,
        id: 'info',
        summary: 'The model and its limits, as Text Embeddings Inference tells them',
        answers: { 200: json('It', infoResponse) },
      }),
    },
  };
}
