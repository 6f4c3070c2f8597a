import * as z from 'zod';
import { GATES } from '../shared/errors.js';
import { errorCode, type Shape } from './schema.js';

const fieldIssue = z
  .object({
    path: z.string().meta({ description: 'Which field, e.g. `texts[3]` or `routes[0].name`' }),
    message: z.string(),
    line: z.int().min(1).exactOptional(),
    column: z.int().min(1).exactOptional(),
  })
  .meta({ id: 'FieldIssue' });

/** Body of every error response: an RFC 9457 document. */
export const problemSchema = z
  .object({
    type: z.literal('about:blank'),
    title: z.string(),
    status: z.int().min(400).max(599),
    detail: z.string().meta({ description: 'The fault, and what to do about it' }),
    instance: z.string().meta({ description: 'The request id, as in `X-Request-Id` and the log' }),
    code: errorCode,
    gate: z.enum(GATES).exactOptional().meta({ description: 'The limit that was reached, if any' }),
    errors: z.array(fieldIssue).exactOptional().meta({ description: 'Every wrong field at once' }),
  })
  .meta({ id: 'Problem', description: 'A problem document (RFC 9457)' });

/** See {@link problemSchema}. */
export type ProblemBody = Shape<typeof problemSchema>;
