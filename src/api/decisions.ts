import * as z from 'zod';
import { mediaFault } from './messages.js';
import { count, digest, type JsonValue, jsonObject } from './schema.js';

/** Bounds of a decision call. */
export const QUESTION_LIMITS = {
  questions: 400,
  /** Of one choice. */
  options: 255,
  levels: 10,
  /** Options and levels of all questions together, and the two sides of each yes or no. */
  together: 2_000,
  /** Characters of a description or instruction that are read. */
  chars: 2_000,
} as const;

/** Why an answer is this server's own although FALLBACK_URL is set. */
export const FALLBACK_FAILURES = [
  'timeout',
  'unreachable',
  'refused',
  'invalid_answer',
  'abstained',
  'circuit_open',
  'share_exceeded',
] as const;
/** One of {@link FALLBACK_FAILURES}. */
export type FallbackFailure = (typeof FALLBACK_FAILURES)[number];

const fallbackMark = z
  .strictObject({
    model: z.string().exactOptional().meta({ description: 'The model that answered' }),
    failed: z
      .enum(FALLBACK_FAILURES)
      .exactOptional()
      .meta({ description: "Why the fallback did not answer; the answer is then the daemon's own" }),
  })
  .meta({
    id: 'Fallback',
    description: 'With `FALLBACK_URL`, if no option reached its threshold: the model that was asked instead',
  });

const blendedMark = z.literal(true).meta({
  description:
    'True if the last turn of a conversation reached no threshold, so the turn before it was included',
});

/** Text, or a structure whose strings are the text. */
const content = z.union([z.string(), jsonObject, z.array(z.unknown())], {
  error: 'must be a string, an object or an array',
}) as unknown as z.ZodType<JsonValue>;
const instructions = content.nullish();

const noul = z.object({
  type: z.literal('noul'),
  instructions,
  criteria: z.strictObject({ true: content.nullish(), false: content.nullish() }).nullish(),
});

const choice = z.object({
  type: z.literal('choice'),
  instructions,
  criteria: z
    .record(z.string().min(1).max(QUESTION_LIMITS.chars), content.nullable())
    .refine((options) => {
      const count = Object.keys(options).length;
      return count >= 2 && count <= QUESTION_LIMITS.options;
    }, `must have 2 to ${QUESTION_LIMITS.options} options`)
    .meta({ minProperties: 2, maxProperties: QUESTION_LIMITS.options }),
});

const score = z.object({
  type: z.literal('score'),
  instructions,
  criteria: z
    .array(content)
    .min(1, 'must have a level at least')
    .max(QUESTION_LIMITS.levels, `may have ${QUESTION_LIMITS.levels} levels at most`),
});

/** `POST /v1/systemone`. Unknown top-level fields are ignored. */
export const systemOneRequest = z
  .object({
    state: content,
    model: z
      .string()
      .max(200)
      .meta({ description: 'Any name; the one model answers', example: 'jev-latest' }),
    questions: z
      .record(z.string().min(1), z.discriminatedUnion('type', [noul, choice, score]))
      .refine((all) => {
        const count = Object.keys(all).length;
        return count >= 1 && count <= QUESTION_LIMITS.questions;
      }, `must hold 1 to ${QUESTION_LIMITS.questions} questions`)
      .meta({ minProperties: 1, maxProperties: QUESTION_LIMITS.questions }),
  })
  .meta({ id: 'SystemOneRequest' });

const share = z.number().min(0).max(1);
const shares = z.record(z.string(), share);

/** The answer to it. Fields of this server alone begin with `x_`. */
export const systemOneResponse = z
  .strictObject({
    model: z.string(),
    answers: z.record(
      z.string(),
      z.discriminatedUnion('type', [
        z.strictObject({ type: z.literal('noul'), noul: share }),
        z.strictObject({
          type: z.literal('choice'),
          choice: z.string(),
          probabilities: shares,
          confidence: share,
          x_abstained: z.boolean().meta({
            description:
              'True if no option reached its threshold and no fallback answered; `choice` is then the best option',
          }),
          x_score: share.meta({
            description: 'Calibrated probability that the choice is right, as in `/classify`',
          }),
          x_routes: z.boolean().meta({ description: 'Whether the options are served routes' }),
          x_route_metadata: jsonObject.exactOptional(),
          x_blended: blendedMark.exactOptional(),
          x_fallback: fallbackMark.exactOptional(),
        }),
        z.strictObject({
          type: z.literal('score'),
          score: z.number().min(0),
          legend: z.record(z.string(), content),
          probabilities: shares,
          confidence: share,
        }),
      ]),
    ),
    usage: z.strictObject({ input_tokens: count, output_tokens: count }),
    x_truncated_tokens: count,
    x_model_digest: digest,
    x_routes_digest: digest,
  })
  .meta({ id: 'SystemOneResponse' });

/** An error in the shape of `/v1/systemone`. */
export const systemOneError = z
  .strictObject({
    detail: z.union([
      z.strictObject({ error_type: z.string(), message: z.string() }),
      z.array(
        z.strictObject({
          loc: z.array(z.union([z.string(), z.int()])),
          msg: z.string(),
          type: z.string(),
        }),
      ),
    ]),
  })
  .meta({ id: 'SystemOneError' });

const part = z.discriminatedUnion(
  'type',
  [
    z.object({ type: z.enum(['input_text', 'output_text', 'text']), text: z.string() }),
    z.object({ type: z.literal('input_json') }).catchall(z.unknown()),
    z.object({ type: z.literal('refusal'), refusal: z.string() }),
  ],
  { error: ({ input }) => mediaFault(input) ?? 'must be a part with text or JSON' },
);

const parts = z.union([z.string(), z.array(part)]);

const inputItem = z.union([
  z.object({
    role: z.enum(['user', 'developer', 'system', 'assistant']),
    content: parts,
    type: z.literal('message').nullish(),
  }),
  z.object({
    type: z.enum(['function_call', 'function_call_output', 'custom_tool_call', 'custom_tool_call_output']),
  }),
]);

const name = z.string().max(200).nullish();
const description = z.string().nullish();

/** `POST /v1/decisions`. */
export const decisionRequest = z
  .object({
    model: z.string().max(200),
    input: z.union([z.string(), z.array(inputItem).min(1)]),
    questions: z
      .array(
        z.discriminatedUnion('type', [
          z.object({ type: z.literal('predicate'), name, instructions: parts }),
          z.object({
            type: z.literal('choice'),
            name,
            instructions: parts,
            choices: z
              .array(
                z.object({
                  value: z.union([z.string().min(1).max(QUESTION_LIMITS.chars), z.boolean()]),
                  description,
                }),
              )
              .min(2)
              .max(QUESTION_LIMITS.options)
              .refine(
                (choices) => new Set(choices.map(({ value }) => value)).size === choices.length,
                'must be unique',
              ),
          }),
          z.object({
            type: z.literal('score'),
            name,
            instructions: parts,
            levels: z
              .array(z.object({ label: z.string().min(1), description }))
              .min(1)
              .max(QUESTION_LIMITS.levels),
          }),
        ]),
      )
      .min(1)
      .max(QUESTION_LIMITS.questions),
    prompt_cache_key: z.unknown().optional(),
    prompt_cache_options: z.unknown().optional(),
    safety_identifier: z.unknown().optional(),
  })
  .meta({ id: 'DecisionRequest' });

const answerName = z.string().nullable();

/** The answer to it. An abstention is a refusal. */
export const decisionResponse = z
  .strictObject({
    model: z.string(),
    answers: z.array(
      z.discriminatedUnion('type', [
        z.strictObject({ type: z.literal('predicate'), name: answerName, probability: share }),
        z.strictObject({
          type: z.literal('choice'),
          name: answerName,
          choice: z.union([z.string(), z.boolean()]),
          confidence: share,
          probabilities: z.array(
            z.strictObject({ value: z.union([z.string(), z.boolean()]), probability: share }),
          ),
          x_blended: blendedMark.exactOptional(),
          x_fallback: fallbackMark.exactOptional(),
        }),
        z.strictObject({
          type: z.literal('score'),
          name: answerName,
          score: z.number().min(0),
          confidence: share,
          probabilities: z.array(z.strictObject({ value: count, label: z.string(), probability: share })),
        }),
        z.strictObject({
          type: z.literal('refusal'),
          name: answerName,
          x_fallback: fallbackMark.exactOptional(),
        }),
      ]),
    ),
    usage: z.strictObject({
      input_tokens: count,
      input_tokens_details: z.strictObject({ cached_tokens: count, cache_write_tokens: count }),
      output_tokens: count,
      output_tokens_details: z.strictObject({ reasoning_tokens: count }),
      total_tokens: count,
    }),
  })
  .meta({ id: 'DecisionResponse' });

/** The body of `POST /v1/systemone`. */
export type SystemOneRequest = z.output<typeof systemOneRequest>;
export type SystemOneResponse = z.output<typeof systemOneResponse>;
export type SystemOneError = z.output<typeof systemOneError>;
/** The body of `POST /v1/decisions`. */
export type DecisionRequest = z.output<typeof decisionRequest>;
export type DecisionResponse = z.output<typeof decisionResponse>;
