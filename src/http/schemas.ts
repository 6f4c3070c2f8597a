import * as z from 'zod';

/** Bounds of a request, from the configuration. */
export interface RequestLimits {
  /** Longest text, in UTF-16 code units. */
  readonly maxTextChars: number;
  /** Most texts in one request. */
  readonly maxBatch: number;
  /** Largest body, in bytes. */
  readonly maxBodyBytes: number;
}

const NAME_CHARS = 200;
const MAX_LABELS = 100;
const MAX_LABEL_UTTERANCES = 100;

/** The schemas of the classification requests, under the given bounds. */
export function classifySchemas(limits: RequestLimits) {
  const text = z
    .string('must be a string')
    .max(limits.maxTextChars, `may have ${limits.maxTextChars} characters at most`)
    .refine((value) => value.trim() !== '', 'must not be empty');
  const name = z.string().min(1).max(NAME_CHARS);
  const label = z.union([
    name,
    z.strictObject({
      name,
      description: text.exactOptional(),
      utterances: z.array(text).min(1).max(MAX_LABEL_UTTERANCES).exactOptional(),
    }),
  ]);
  const options = {
    top_k: z.int().min(1).max(1_000).exactOptional(),
    threshold: z.number().min(0).max(1).exactOptional(),
    routes: z.array(name).min(1).max(2_000).exactOptional(),
    labels: z.array(label).min(1).max(MAX_LABELS).exactOptional(),
    multi: z.boolean().exactOptional(),
    explain: z.boolean().exactOptional(),
  };
  return {
    /** `POST /classify` */
    single: z.strictObject({ text, ...options }),
    /** `POST /classify/batch` */
    batch: z.strictObject({
      texts: z.array(text).min(1).max(limits.maxBatch, `may hold ${limits.maxBatch} texts at most`),
      ...options,
    }),
  };
}
