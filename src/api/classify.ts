import * as z from 'zod';
import { LABEL_LIMITS, OPTION_LIMITS, type RequestLimits, ROUTE_LIMITS } from './limits.js';
import { messages } from './messages.js';
import { count, digest, either, jsonObject, notBoth, type Shape, textOf } from './schema.js';

/** Labels take the place of the routes, and a conversation that of a text. */
function exclusive(text: 'text' | 'texts') {
  return {
    not: { required: ['labels', 'routes'] },
    oneOf: [{ required: [text] }, { required: ['messages'] }],
  };
}

const LABELS_OR_ROUTES = notBoth(
  'labels',
  'routes',
  'cannot be combined with "routes": labels take the place of the route set',
);

/** The schemas of the classification requests, under the given bounds. */
export function classifySchemas({ maxTextChars, maxBatch }: RequestLimits) {
  const text = textOf(maxTextChars, 'MAX_TEXT_CHARS');
  const label = z.union([
    textOf(LABEL_LIMITS.nameChars),
    z.strictObject({
      name: textOf(LABEL_LIMITS.nameChars),
      description: textOf(Math.min(maxTextChars, ROUTE_LIMITS.descriptionChars)).exactOptional(),
      utterances: z
        .array(textOf(Math.min(maxTextChars, ROUTE_LIMITS.utteranceChars)))
        .min(1)
        .max(LABEL_LIMITS.labelUtterances)
        .exactOptional(),
    }),
  ]);
  const options = {
    top_k: z
      .int()
      .min(1)
      .max(OPTION_LIMITS.topK)
      .exactOptional()
      .meta({ default: 3, description: 'How many candidates to return' }),
    threshold: z.number().min(0).max(1).exactOptional().meta({
      description: 'Minimum score of a chosen route; overrides the threshold of the route and the default',
    }),
    routes: z
      .array(z.string().min(1).max(OPTION_LIMITS.nameChars))
      .min(1)
      .max(OPTION_LIMITS.routes)
      .exactOptional()
      .meta({ description: 'Only these routes are candidates; an unknown name is an error' }),
    labels: z.array(label).min(1).max(LABEL_LIMITS.labels).exactOptional().meta({
      uniqueItems: true,
      description:
        'Labels to use instead of the served routes for this request (zero-shot); cannot be combined with `routes`',
    }),
    multi: z.boolean().exactOptional().meta({
      description: 'Whether to return every route that reaches its threshold, as `routes`',
    }),
    explain: z.boolean().exactOptional().meta({
      description: 'Whether to add the nearest utterances and the parts of the score to each candidate',
    }),
  };
  const tooMany = `may hold ${maxBatch} texts at most (MAX_BATCH)`;
  return {
    /** `POST /classify` */
    single: z
      .strictObject({ text: text.exactOptional(), messages: messages.exactOptional(), ...options })
      .refine(...either('text', 'messages'))
      .refine(...LABELS_OR_ROUTES)
      .meta({ id: 'ClassifyRequest', ...exclusive('text') }),
    /** `POST /classify/batch` */
    batch: z
      .strictObject({
        texts: z.array(text).min(1).max(maxBatch, tooMany).exactOptional(),
        messages: z
          .array(messages)
          .min(1)
          .max(maxBatch, tooMany)
          .exactOptional()
          .meta({ description: 'Instead of `texts`: conversations' }),
        ...options,
      })
      .refine(...either('texts', 'messages'))
      .refine(...LABELS_OR_ROUTES)
      .meta({ id: 'ClassifyBatchRequest', ...exclusive('texts') }),
  };
}

const score = z.number().min(0).max(1);
const similarity = z.number().min(-1).max(1);

const contribution = z
  .object({
    head_probability: score.meta({
      description: 'Probability of the route among the candidates, by the trained head alone',
    }),
    probability: score.meta({ description: 'The same, with similarity and words included' }),
    log_odds: z
      .object({ head: z.number(), similarity: z.number(), bias: z.number() })
      .meta({ description: 'Terms of the log-odds of the score, before `familiarity`' }),
    words: z
      .array(z.object({ text: z.string(), log_odds: z.number() }))
      .meta({ description: 'Words and word pairs with the largest effect for or against the route' }),
  })
  .meta({ id: 'Contribution', description: 'Parts of a score' });

const candidate = z
  .object({
    route: z.string(),
    score: score.meta({ description: 'Calibrated probability that this route is right' }),
    similarity: similarity.meta({ description: 'Highest cosine similarity to an utterance of the route' }),
    threshold: score
      .exactOptional()
      .meta({ description: 'With `explain`: minimum score with which it is chosen' }),
    nearest: z
      .array(z.object({ utterance: z.string(), similarity }))
      .exactOptional()
      .meta({ description: 'With `explain`: the most similar utterances, nearest first' }),
    familiarity: score.exactOptional().meta({
      description:
        'With `explain`: factor of the score; near 0 if the text resembles no utterance or is not legible',
    }),
    contribution: contribution.exactOptional(),
  })
  .meta({ id: 'Candidate', description: 'One route that was considered' });

const model = z
  .object({ id: z.string(), revision: z.string(), variant: z.string(), digest })
  .meta({ id: 'Model', description: 'The model that gave the answer' });

const scorer = z
  .object({
    method: z.enum(['head', 'nearest']),
    version: z.int().min(1),
    digest: digest.exactOptional(),
  })
  .meta({
    id: 'Scorer',
    description: 'Identity of the scorer: the same one on the same routes gives the same scores',
  });

const usage = z
  .object({
    tokens: count.meta({ description: 'Tokens that the model read, including special tokens' }),
    truncated_tokens: count.meta({ description: 'Tokens that were truncated' }),
  })
  .meta({ id: 'Usage' });

const routeMatch = z.object({
  route: z.string(),
  score,
  similarity,
  metadata: jsonObject.exactOptional(),
});

const turn = z.object({
  message: count.meta({ description: 'Index of the message' }),
  share: score.meta({ description: 'Weight of the message in the decision' }),
  text: z
    .string()
    .exactOptional()
    .meta({ description: 'With `explain`: the beginning of the text that was read' }),
});

const decisionSchema = z
  .object({
    route: z
      .string()
      .nullable()
      .meta({ description: 'The chosen route; `null` if none reached its threshold' }),
    score: score.meta({ description: 'Score of the route, or of the best candidate if there is no route' }),
    similarity: similarity.meta({ description: 'Cosine similarity of the same route or candidate' }),
    legible: z.literal(false).exactOptional().meta({
      description:
        'Present only if the model cannot read the text: most of it is unknown or in a script that the model was not trained on, or it is more like another language or keyboard noise than like any utterance. Scores are then low',
    }),
    candidates: z.array(candidate).meta({
      description:
        'The best candidates by score. The chosen route need not be the first: a candidate with a higher score may have missed its own, higher threshold',
    }),
    routes: z
      .array(routeMatch)
      .exactOptional()
      .meta({ description: 'With `multi`: every route that reached its threshold' }),
    turns: z.array(turn).exactOptional().meta({
      description:
        'With `messages`: the turns of the user that were read; the turn before the last is read only if the last one reached no threshold',
    }),
    usage,
    model,
    routes_digest: digest.meta({ description: 'Digest of the route set, or of the labels used instead' }),
    scorer,
    route_metadata: jsonObject
      .exactOptional()
      .meta({ description: 'Metadata of the chosen route, if it has any' }),
  })
  .meta({ id: 'Decision', description: 'The decision for a text' });

const decisionsSchema = z.object({ results: z.array(decisionSchema) }).meta({
  id: 'Decisions',
  description: 'One decision for each text, in order; each equals the decision for that text alone',
});

export const classifyAnswers = { single: decisionSchema, batch: decisionsSchema };

export type Decision = Shape<typeof decisionSchema>;
/** The answer to several. */
export type Decisions = Shape<typeof decisionsSchema>;

/** One route that was considered. */
export type Candidate = Shape<typeof candidate>;
/** Parts of a score. */
export type Contribution = Shape<typeof contribution>;
/** One of several routes that reached their thresholds. */
export type RouteMatch = Shape<typeof routeMatch>;
/** Which model gave an answer. */
export type ModelIdentity = Shape<typeof model>;
export type ScorerIdentity = Shape<typeof scorer>;
/** A class that a request brings along: its name alone, or with example texts or a description of it. */
export type Label = NonNullable<ClassifyBody['labels']>[number];

/** Body of a request for one text. */
export type ClassifyBody = Shape<ReturnType<typeof classifySchemas>['single']>;
