import * as z from 'zod';
import { LABEL_LIMITS, OPTION_LIMITS, type RequestLimits } from './limits.js';
import { messages } from './messages.js';
import { count, digest, jsonObject, type Shape, textOf } from './schema.js';

/** Labels take the place of the routes, and a conversation that of a text. */
function exclusive(text: 'text' | 'texts') {
  return {
    not: { required: ['labels', 'routes'] },
    oneOf: [{ required: [text] }, { required: ['messages'] }],
  };
}

function eitherOf(text: 'text' | 'texts'): [(body: Record<string, unknown>) => boolean, string] {
  const check = (body: Record<string, unknown>): boolean =>
    (body[text] === undefined) !== (body.messages === undefined);
  return [check, `send either "${text}" or "messages"`];
}

/** The schemas of the classification requests, under the given bounds. */
export function classifySchemas({ maxTextChars, maxBatch }: RequestLimits) {
  const text = textOf(maxTextChars, 'MAX_TEXT_CHARS');
  const label = z.union([
    textOf(LABEL_LIMITS.nameChars),
    z.strictObject({
      name: textOf(LABEL_LIMITS.nameChars),
      description: text.exactOptional(),
      utterances: z.array(text).min(1).max(LABEL_LIMITS.labelUtterances).exactOptional(),
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
      description:
        'Lowest score with which a route is chosen; comes before that of the route and the default',
    }),
    routes: z
      .array(z.string().min(1).max(OPTION_LIMITS.nameChars))
      .min(1)
      .max(OPTION_LIMITS.routes)
      .exactOptional()
      .meta({ description: 'Only these routes are candidates; a name that is not served is refused' }),
    labels: z.array(label).min(1).max(LABEL_LIMITS.labels).exactOptional().meta({
      uniqueItems: true,
      description: 'Takes the place of the routes for this request (zero-shot); not beside `routes`',
    }),
    multi: z.boolean().exactOptional().meta({
      description: 'Adds every route that reaches its threshold, as `routes`',
    }),
    explain: z.boolean().exactOptional().meta({
      description: 'Adds to each candidate the nearest utterances, and what its score is made of',
    }),
  };
  const tooMany = `may hold ${maxBatch} texts at most (MAX_BATCH)`;
  return {
    /** `POST /classify` */
    single: z
      .strictObject({ text: text.exactOptional(), messages: messages.exactOptional(), ...options })
      .refine(...eitherOf('text'))
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
          .meta({ description: 'In place of `texts`: conversations' }),
        ...options,
      })
      .refine(...eitherOf('texts'))
      .meta({ id: 'ClassifyBatchRequest', ...exclusive('texts') }),
  };
}

const score = z.number().min(0).max(1);
const similarity = z.number().min(-1).max(1);

const contribution = z
  .object({
    head_probability: score.meta({
      description: 'Share of the route among the candidates by the trained head alone',
    }),
    probability: score.meta({ description: 'The same with similarity and words taken in' }),
    log_odds: z
      .object({ head: z.number(), similarity: z.number(), bias: z.number() })
      .meta({ description: 'Terms of the log-odds of the score, before `familiarity`' }),
    words: z
      .array(z.object({ text: z.string(), log_odds: z.number() }))
      .meta({ description: 'Words, and pairs of them, that speak most for or against the route' }),
  })
  .meta({ id: 'Contribution', description: 'Parts of a score' });

const candidate = z
  .object({
    route: z.string(),
    score: score.meta({ description: 'Confidence that this route is right' }),
    similarity: similarity.meta({ description: "Best cosine of the route's utterances" }),
    threshold: score
      .exactOptional()
      .meta({ description: 'With `explain`: lowest score with which it is chosen' }),
    nearest: z
      .array(z.object({ utterance: z.string(), similarity }))
      .exactOptional()
      .meta({ description: 'With `explain`: the nearest first' }),
    familiarity: score.exactOptional().meta({
      description:
        'With `explain`: factor of the score, near 0 where the text is like no utterance or is not legible',
    }),
    contribution: contribution.exactOptional(),
  })
  .meta({ id: 'Candidate', description: 'One route that was considered' });

const model = z
  .object({ id: z.string(), revision: z.string(), variant: z.string(), digest })
  .meta({ id: 'Model', description: 'Which model gave the answer' });

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
    tokens: count.meta({ description: 'Tokens that the model saw, special tokens included' }),
    truncated_tokens: count.meta({ description: 'Tokens that were cut' }),
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
  share: score.meta({ description: 'Its share in what was decided' }),
  text: z
    .string()
    .exactOptional()
    .meta({ description: 'With `explain`: the beginning of what was read of it' }),
});

const decisionSchema = z
  .object({
    route: z.string().nullable().meta({ description: '`null`: none reached its threshold' }),
    score: score.meta({ description: 'Of the route; of the best candidate when there is no route' }),
    similarity: similarity.meta({ description: 'Of the same' }),
    legible: z.literal(false).exactOptional().meta({
      description:
        'Only where the model cannot read the text: it is mostly unknown, in a script that the model was not trained on, or in pieces of words. Scores are low then',
    }),
    candidates: z.array(candidate).meta({
      description:
        'The best by score. The chosen route is not always the first: a better one may have missed a higher threshold of its own',
    }),
    routes: z.array(routeMatch).exactOptional().meta({ description: 'With `multi`' }),
    turns: z.array(turn).exactOptional().meta({
      description:
        'With `messages`: the turns of the user that were read; the one before the last only where the last reached no threshold',
    }),
    usage,
    model,
    routes_digest: digest.meta({ description: 'Of the route set, or of the labels that took its place' }),
    scorer,
    route_metadata: jsonObject
      .exactOptional()
      .meta({ description: 'Of the chosen route, where it has some' }),
  })
  .meta({ id: 'Decision', description: 'Where a text should go' });

const decisionsSchema = z
  .object({ results: z.array(decisionSchema) })
  .meta({ id: 'Decisions', description: 'In order of the texts, each equal to what the text gets alone' });

/** The schemas of the answers. */
export const classifyAnswers = { single: decisionSchema, batch: decisionsSchema };

/** The answer to one text. */
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
/** Identity of the scorer. */
export type ScorerIdentity = Shape<typeof scorer>;
/** A class that a request brings along: its name alone, or with example texts or a description of it. */
export type Label = NonNullable<ClassifyBody['labels']>[number];

/** Body of a request for one text. */
export type ClassifyBody = Shape<ReturnType<typeof classifySchemas>['single']>;
/** Body of a request for several texts. */
export type ClassifyBatchBody = Shape<ReturnType<typeof classifySchemas>['batch']>;
