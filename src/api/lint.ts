import * as z from 'zod';
import { warningsSchema } from './routes.js';
import { count, digest, type Shape } from './schema.js';

/** How much a finding matters: an error contradicts itself, a warning costs answers, an info is worth a look. */
export const SEVERITIES = ['error', 'warning', 'info'] as const;

/** See {@link SEVERITIES}. */
export type Severity = (typeof SEVERITIES)[number];

const findingSchema = z
  .object({
    severity: z.enum(SEVERITIES),
    kind: z.enum([
      'duplicate_across',
      'near_duplicate_across',
      'duplicate_within',
      'near_duplicate_within',
      'none_collision',
      'nearer_elsewhere',
      'outlier',
      'overlap',
      'too_small',
      'lopsided',
      'single_route',
      'hard_to_tell_apart',
    ]),
    routes: z.array(z.string()),
    utterances: z.array(z.object({ route: z.string(), utterance: z.string() })),
    similarity: z
      .number()
      .exactOptional()
      .meta({ description: 'Cosine similarity, if the finding is about one' }),
    message: z.string(),
    advice: z.string(),
  })
  .meta({ id: 'Finding', description: 'A possible improvement, with advice' });

const share = z.number().min(0).max(1);

const reportShape = {
  digest,
  routes: count,
  utterances: count,
  examined: count.meta({ description: 'Number of utterances that were left out in turn' }),
  accuracy: share.nullable().meta({
    description:
      'Share of them that were classified into their own route; `null` if no route has two utterances',
  }),
  counts: z.object({ error: count, warning: count, info: count }),
  findings: z.array(findingSchema).meta({ description: 'The most serious first' }),
  findings_hidden: count.meta({ description: 'Number of further findings' }),
  confusions: z
    .array(z.object({ from: z.string(), to: z.string(), count }))
    .meta({ description: 'Pairs of routes between which utterances are confused when left out' }),
  by_route: z.array(
    z.object({
      name: z.string(),
      utterances: count,
      examined: count,
      recovered: count,
      cohesion: z
        .number()
        .meta({ description: 'Mean cosine similarity between the utterances of the route' }),
    }),
  ),
};

export const lintReportSchema = z
  .object(reportShape)
  .meta({ id: 'LintReport', description: 'Possible improvements of a route set' });

export const draftReportSchema = z
  .object({ ...reportShape, warnings: warningsSchema })
  .meta({ id: 'DraftLintReport' });

/** One thing about a route set that could be better, with what to do about it. */
export type Finding = Shape<typeof findingSchema>;
/** Possible improvements of a route set. */
export type LintReport = Shape<typeof lintReportSchema>;
/** The same of a set that was sent, with the remarks of its reader. */
export type DraftLintReport = Shape<typeof draftReportSchema>;
