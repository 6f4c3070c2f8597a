import { z } from 'zod';
import type { EmbeddingModel } from '../embeddings.js';
import type { RequestLimits } from '../schemas.js';
import { textInput } from '../text-input.js';

/** `POST /embed`. Clients may send null for "unset". */
export function embedRequestSchema(limits: RequestLimits, model: EmbeddingModel) {
  const normalize = model.normalized
    ? z.literal(true, 'this model gives vectors of length 1 only: leave it out, or send true')
    : z.boolean();
  return z.strictObject({
    inputs: textInput(limits),
    normalize: normalize.nullish(),
    /** False refuses texts that are too long, with 413; otherwise they are cut. */
    truncate: z.boolean().nullish(),
    truncation_direction: z
      .literal(['Right', 'right'], 'texts are cut at their end: leave it out, or send "Right"')
      .nullish(),
    prompt_name: z.null('this model has no prompts: leave it out').optional(),
    dimensions: z
      .literal(model.dimension, `this model's vectors have ${model.dimension} numbers: leave it out`)
      .nullish(),
  });
}

/** The answer to it: one vector for each text. */
export const embedResponse = z.array(z.array(z.number()));

/** `GET /info` */
export const infoResponse = z.strictObject({
  model_id: z.string(),
  model_sha: z.string(),
  model_dtype: z.string(),
  model_type: z.strictObject({ embedding: z.strictObject({ pooling: z.string() }) }),
  /** Texts at the workers and waiting before them. */
  max_concurrent_requests: z.int(),
  max_input_length: z.int(),
  max_batch_tokens: z.int(),
  max_batch_requests: z.int().nullable(),
  max_client_batch_size: z.int(),
  auto_truncate: z.boolean(),
  tokenization_workers: z.int(),
  version: z.string(),
  sha: z.string().nullable(),
  docker_label: z.string().nullable(),
});
