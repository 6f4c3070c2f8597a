import { z } from 'zod';
import type { RequestLimits } from '../schemas.js';
import { textInput } from '../text-input.js';

/** `POST /v1/embeddings`, for a model whose vectors have `dimension` numbers. Clients may send null for "unset". */
export function embeddingRequest(limits: RequestLimits, dimension: number) {
  return z.strictObject({
    input: textInput(limits),
    model: z.string().min(1).max(200).nullish(),
    encoding_format: z.enum(['float', 'base64'], 'must be "float" or "base64"').nullish(),
    dimensions: z
      .literal(
        dimension,
        `this model's vectors have ${dimension} numbers: leave it out, or send ${dimension}`,
      )
      .nullish(),
    /** Accepted, and neither kept nor logged. */
    user: z.string().max(1_000).nullish(),
  });
}

/** The answer to it. */
export const embeddingResponse = z.strictObject({
  object: z.literal('list'),
  data: z.array(
    z.strictObject({
      object: z.literal('embedding'),
      index: z.int().min(0),
      /** Numbers, or for `base64` the little-endian float32 of all of them. */
      embedding: z.union([z.array(z.number()), z.base64()]),
    }),
  ),
  model: z.string(),
  usage: z.strictObject({
    /** Tokens that the model saw, special tokens included. */
    prompt_tokens: z.int().min(0),
    total_tokens: z.int().min(0),
    /** Not in OpenAI's answer: tokens that were cut off because texts are longer than the model's maximum. */
    truncated_tokens: z.int().min(0),
  }),
});
