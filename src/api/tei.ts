import * as z from 'zod';
import { type EmbeddingModel, FOREIGN_FIELDS, ignored, maxInputs, textInput } from './embeddings.js';
import type { RequestLimits } from './limits.js';
import { count, textOf } from './schema.js';

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
      ...FOREIGN_FIELDS,
      options: ignored,
      parameters: ignored,
      inputs: textInput(limits),
      normalize: normalize.nullish(),
      truncate: z.boolean().nullish().meta({
        description: 'If false, texts that are too long are rejected with 413; otherwise they are truncated',
      }),
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
    max_concurrent_requests: count.meta({
      description: 'Maximum number of texts in the workers and the queue',
    }),
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

/** `POST /tokenize`. A text may be empty. */
export function tokenizeRequest(limits: RequestLimits) {
  const text = z.string().max(limits.maxTextChars, `may have ${limits.maxTextChars} characters at most`);
  const texts = z.array(text).min(1).max(maxInputs(limits));
  return z
    .strictObject({
      inputs: z.union([text, texts]),
      add_special_tokens: z.boolean().nullish().meta({ description: 'Default: true' }),
      prompt_name: z.null('this model has no prompts: leave it out').optional(),
    })
    .meta({ id: 'TokenizeRequest' });
}

const place = count.nullable().meta({ description: 'In characters (code points); null for a special token' });

/** The answer to it: the tokens of each text. */
export const tokenizeResponse = z
  .array(
    z.array(z.strictObject({ id: count, text: z.string(), special: z.boolean(), start: place, stop: place })),
  )
  .meta({ id: 'TokenizeResponse' });

const ids = z
  .array(
    z
      .int()
      .min(0)
      .max(2 ** 32 - 1),
  )
  .max(20_000);

/**
 * `POST /decode`. Ids that the vocabulary does not have are skipped. Without a bound on the lists, each of 100,000 ids was
 * first a list that is none, which took the thread that answers 140 ms.
 */
export const decodeRequest = z
  .strictObject({
    ids: z.union([ids, z.array(ids).min(1).max(1_000)]),
    skip_special_tokens: z.boolean().nullish().meta({ description: 'Default: true' }),
  })
  .meta({ id: 'DecodeRequest' });

/** The answer to it: one text for each list. */
export const decodeResponse = z.array(z.string()).meta({ id: 'DecodeResponse' });

/** `POST /similarity`. */
export function similarityRequest(limits: RequestLimits) {
  const text = textOf();
  return z
    .strictObject({
      inputs: z.strictObject({
        source_sentence: text,
        sentences: z
          .array(text)
          .min(1)
          .max(maxInputs(limits) - 1),
      }),
      parameters: ignored,
      options: ignored,
    })
    .meta({ id: 'SimilarityRequest' });
}

/** The answer to it: a cosine for each sentence. */
export const similarityResponse = z.array(z.number()).meta({ id: 'SimilarityResponse' });

/** `POST /predict`. */
export function predictRequest({ maxBatch, maxTextChars }: RequestLimits) {
  const text = textOf(maxTextChars, 'MAX_TEXT_CHARS');
  const one = z
    .array(text)
    .length(1, 'a pair of texts is for cross-encoders; send [["a"], ["b"]] for two texts');
  return z
    .strictObject({
      inputs: z.union([text, one, z.array(one).min(1).max(maxBatch)], {
        error: 'must be a text, or a list with a list of one text each: [["a"], ["b"]]',
      }),
      raw_scores: z.literal(false, 'scores are probabilities: leave it out').nullish(),
      truncate: ignored,
      truncation_direction: ignored,
      parameters: ignored,
      options: ignored,
    })
    .meta({ id: 'PredictRequest' });
}

const predictions = z.array(z.strictObject({ score: z.number().min(0).max(1), label: z.string() }));

/** The answer to it: the served routes by score; a list of them where a list of lists was sent. */
export const predictResponse = z.union([predictions, z.array(predictions)]).meta({ id: 'PredictResponse' });

/** An error in the shape of Text Embeddings Inference. */
export type TeiError = z.infer<typeof teiError>;
/** The body of `GET /info`. */
export type TeiInfo = z.infer<typeof infoResponse>;
