import { z } from 'zod';

/** One model. */
export const modelObject = z.strictObject({
  id: z.string(),
  object: z.literal('model'),
  /** Seconds since 1970 in OpenAI's answer; 0 here, since a model's files do not tell when they were made. */
  created: z.int(),
  owned_by: z.string(),
  // Not in OpenAI's answer:
  revision: z.string(),
  variant: z.string(),
  digest: z.string(),
  dimension: z.int(),
  max_tokens: z.int(),
});

/** `GET /v1/models` */
export const modelList = z.strictObject({ object: z.literal('list'), data: z.array(modelObject) });
