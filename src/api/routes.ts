import * as z from 'zod';
import { ROUTE_LIMITS } from './limits.js';
import { count, digest, jsonObject, type Shape, textOf, timestamp } from './schema.js';

/** Actions that change the routes. `file`: the routes file was taken up, at first or after an edit. */
export const ROUTE_ACTIONS = ['file', 'replace', 'put', 'delete', 'rollback'] as const;

/** Media types in which routes may be sent. */
export const ROUTE_TYPES = ['application/json', 'application/yaml'] as const;

export const routeSchema = z
  .object({
    name: z.string(),
    description: z.string().exactOptional(),
    utterances: z.array(z.string()).min(1),
    score_threshold: z.number().min(0).max(1).exactOptional(),
    metadata: jsonObject.exactOptional(),
  })
  .meta({ id: 'Route', description: 'A destination, with example texts' });

/** How routes are scored: a trained head, the nearest utterances, or what there is enough for. */
const scoringMethod = z.enum(['auto', 'head', 'nearest']).meta({
  description: 'How these routes are scored, whatever `CLASSIFY_METHOD` says',
});

/** Texts that belong to no route. */
const noneTexts = 'Texts that belong to no route; similar texts get no route';

/** Written by semantic-router, and ignored here. */
const foreign = z
  .unknown()
  .optional()
  .meta({ description: 'Accepted in files of semantic-router and ignored' });

/** Of semantic-router 1.x. */
const confidenceThreshold = z
  .number()
  .min(0)
  .max(1)
  .nullish()
  .meta({ description: 'Minimum score of a chosen route, by the name that semantic-router uses' });

/** Keys that a reader skips. */
const comments = { patternProperties: { '^(x-.*|_comment|\\$schema)$': {} } };

/** Part of an answer of `GET /routes`, which may be sent back. */
const served = z.unknown().optional().meta({ description: 'Written by `GET /routes`; ignored in requests' });

const routeFields = {
  description: textOf(ROUTE_LIMITS.descriptionChars).or(z.literal('')).nullish(),
  utterances: z.array(textOf(ROUTE_LIMITS.utteranceChars)).min(1),
  score_threshold: z.number().min(0).max(1).nullish(),
  metadata: jsonObject.nullish(),
  function_schema: foreign,
  function_schemas: foreign,
  openai_function_schema: foreign,
  llm: foreign,
  confidence_threshold: confidenceThreshold,
};

/** Control characters have no place in a name. */
const nameSchema = textOf(ROUTE_LIMITS.nameChars).meta({
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are the ones that are refused
  pattern: /^[^\S\u0000-\u001f\u007f-\u009f]*[^\s\u0000-\u001f\u007f-\u009f][^\u0000-\u001f\u007f-\u009f]*$/
    .source,
});

/** A name in a path: the spaces around one in a body are dropped. */
export const pathNameSchema = nameSchema.meta({
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are the ones that are refused
  pattern: /^[^\s\u0000-\u001f\u007f-\u009f]([^\u0000-\u001f\u007f-\u009f]*[^\s\u0000-\u001f\u007f-\u009f])?$/
    .source,
});

/**
 * How routes are written in a request. The reader of routes files checks them (it knows the line and column of
 * each fault); this is the same in words that tools understand.
 */
export const routeInputSchema = z
  .strictObject({ name: nameSchema.exactOptional(), ...routeFields })
  .meta({ id: 'RouteInput', description: 'A route; its name is in the path', ...comments });

export const routeSetInputSchema = z
  .strictObject({
    method: scoringMethod.nullish(),
    routes: z
      .array(z.strictObject({ name: nameSchema, ...routeFields }).meta(comments))
      .min(1)
      .max(ROUTE_LIMITS.routes),
    none: z.array(textOf(ROUTE_LIMITS.utteranceChars)).nullish().meta({ description: noneTexts }),
    encoder_type: foreign,
    encoder_name: foreign,
    encoder: foreign,
    router_type: foreign,
    index: foreign,
    confidence_threshold: confidenceThreshold,
    digest: served,
    source: served,
    problem: served,
    utterances: served,
    default_threshold: served,
  })
  .meta({
    id: 'RouteSetInput',
    description: 'A set of routes, as in a routes file; names are unique',
    ...comments,
  });

const fileSource = z.object({ name: z.string(), digest: digest.nullable() });

const sourceSchema = z
  .union([
    z.object({ kind: z.literal('file'), file: fileSource }),
    z.object({
      kind: z.literal('version'),
      version: z.int().min(1),
      action: z.enum(ROUTE_ACTIONS),
      at: timestamp,
      file: fileSource,
    }),
  ])
  .meta({ id: 'RouteSource', description: 'Where the routes come from: the file, or a change on top of it' });

export const routeSetSchema = z
  .object({
    digest,
    source: sourceSchema,
    problem: z.string().nullable().meta({ description: 'Problem with the stored versions on the volume' }),
    utterances: count,
    default_threshold: z.number().min(0).max(1).meta({
      description: 'Minimum score of a route without a `score_threshold`; fitted to the utterances',
    }),
    method: scoringMethod.exactOptional(),
    routes: z.array(routeSchema),
    none: z.array(z.string()).min(1).exactOptional().meta({ description: noneTexts }),
  })
  .meta({ id: 'RouteSet', description: 'The served routes' });

/** A remark on routes that does not keep them from being used. */
export const warningsSchema = z.array(z.object({ path: z.string(), message: z.string() }));

export const routeChangeSchema = z
  .object({
    digest,
    changed: z.boolean().meta({ description: 'Whether the change had an effect' }),
    source: sourceSchema,
    routes: count,
    utterances: count,
    warnings: warningsSchema,
  })
  .meta({ id: 'RouteChange', description: 'Result of a change' });

/** One entry of the history of a route set, as it is kept on the volume, too. */
export const versionSchema = z
  .strictObject({
    version: z.int().min(1),
    digest: digest.meta({ description: 'Digest of the routes, as in decisions' }),
    document: z
      .string()
      .regex(/^[0-9a-f]{64}$/)
      .meta({ description: "sha256 (hex) of the document's bytes; also its file name on the volume" }),
    action: z.enum(ROUTE_ACTIONS),
    route: z.string().exactOptional().meta({ description: 'The route that was added, replaced or removed' }),
    restores: z.int().min(1).exactOptional().meta({ description: 'The version that a rollback restored' }),
    based_on: digest.meta({
      description: 'Digest of the routes in the routes file at the time of the change',
    }),
    routes: z.int().min(1),
    utterances: z.int().min(1),
    at: z.string(),
  })
  .meta({ id: 'RouteVersion' });

export const routeVersionsSchema = z
  .object({
    current: z.int().min(1).nullable(),
    source: sourceSchema.nullable(),
    problem: z.string().nullable(),
    versions: z.array(versionSchema).meta({ description: 'The newest first' }),
  })
  .meta({ id: 'RouteVersions', description: 'The history of the routes' });

export const routeDocumentSchema = z
  .object({
    digest,
    method: scoringMethod.exactOptional(),
    routes: z.array(routeSchema),
    none: z.array(z.string()).min(1).exactOptional(),
  })
  .meta({ id: 'RouteDocument', description: 'The routes of one version' });

/** The body of `POST /routes/rollback`. */
export const rollbackSchema = z
  .strictObject({
    version: z
      .int()
      .min(1)
      .exactOptional()
      .meta({ description: 'Default: the last version that differs from the served routes' }),
  })
  .meta({ id: 'RollbackRequest' });

export type RouteBody = Shape<typeof routeSchema>;
/** The body of `GET /routes`. */
export type RouteSetBody = Shape<typeof routeSetSchema>;
export type RouteSourceBody = Shape<typeof sourceSchema>;
/** Response to a change of the routes. */
export type RouteChangeBody = Shape<typeof routeChangeSchema>;
/** One entry of the history. */
export type RouteVersionBody = Shape<typeof versionSchema>;
/** The body of `GET /routes/versions`. */
export type RouteVersionsBody = Shape<typeof routeVersionsSchema>;
/** The body of `GET /routes/versions/{version}`. */
export type RouteDocumentBody = Shape<typeof routeDocumentSchema>;
