import * as z from 'zod';
import type {
  ZodOpenApiOperationObject,
  ZodOpenApiPathsObject,
  ZodOpenApiRequestBodyObject,
  ZodOpenApiResponseObject,
} from 'zod-openapi';
import { problemSchema } from './problem.js';

/** Paths with their operations, as `zod-openapi` takes them. */
export type Paths = ZodOpenApiPathsObject;

/** One answer, as `zod-openapi` takes it. */
export type Answer = ZodOpenApiResponseObject;

/** Examples by name. A test sends those that have the same name in request and answer, and compares. */
export type Examples = Readonly<Record<string, { readonly summary?: string; readonly value: unknown }>>;

/** What every answer carries. */
const COMMON_HEADERS = {
  'X-Request-Id': z.string().meta({
    description: 'The id of the request in the log: its own `X-Request-Id`, or a new one',
    header: { id: 'X-Request-Id' },
  }),
  'Server-Timing': z.string().meta({
    description: 'Where the time went, in milliseconds',
    header: { id: 'Server-Timing' },
  }),
};

const RETRY_AFTER = z
  .string()
  .regex(/^\d+$/)
  .meta({ description: 'Seconds to wait before another try', header: { id: 'Retry-After' } });

/** Errors by status, as `problems()` names them. */
const PROBLEMS = {
  400: ['BadRequest', 'The body is not JSON, not UTF-8 or did not arrive whole'],
  401: ['Unauthorized', 'A key is wanted: `Authorization: Bearer …`'],
  403: ['Forbidden', 'This wants one of `ADMIN_KEYS`'],
  404: ['NotFound', 'There is no such thing'],
  412: ['PreconditionFailed', 'The routes have changed meanwhile; `detail` has their digest now'],
  413: ['BodyTooLarge', 'The body is larger than `MAX_BODY_BYTES`'],
  415: ['UnsupportedMediaType', 'The body is of another media type, or compressed'],
  416: ['RangeNotSatisfiable', 'It has no such part; `Content-Range` has its size'],
  424: ['InferenceFailed', 'The text could not be embedded'],
  422: ['ValidationFailed', 'A field is wrong; `errors` names each'],
  428: ['PreconditionRequired', 'Changes want `If-Match` with the ETag that they were made from'],
  429: ['RateLimited', 'More requests than `RATE_LIMIT` allows'],
  500: ['InternalError', 'A fault of the daemon; the log has the details under the id'],
  503: ['Unavailable', 'Not ready, overloaded, or shutting down: worth another try'],
} as const;

/** A status with which an operation may refuse. */
export type ProblemStatus = keyof typeof PROBLEMS;

/** An operation as the contract tells it. */
export interface OperationSpec {
  /** Its name in generated clients. */
  readonly id: string;
  readonly tag: string;
  readonly summary: string;
  readonly description?: string;
  /**
   * `open` never wants a key and is never limited (health, the contract); `key` wants one where `API_KEYS` is set;
   * `admin` always wants one of `ADMIN_KEYS`.
   */
  readonly access: 'open' | 'key' | 'admin';
  readonly params?: ZodOpenApiOperationObject['requestParams'];
  readonly body?: ZodOpenApiRequestBodyObject;
  /** What it answers when all is well, by status. */
  readonly answers: Readonly<Record<number, Answer>>;
  /** How it refuses, besides what its access brings along. */
  readonly problems?: readonly ProblemStatus[];
  /** The shape of its errors, where it is not a problem document. */
  readonly errors?: ErrorShape;
}

/** Errors as another API has them. */
export interface ErrorShape {
  /** Goes before the names of its answers. */
  readonly id: string;
  readonly schema: z.ZodType;
}

/** Completes an operation with what its access brings along. */
export function operation(spec: OperationSpec): ZodOpenApiOperationObject {
  const { id, tag, summary, description, access, params, body, answers, problems = [], errors } = spec;
  const refusals: Record<OperationSpec['access'], readonly ProblemStatus[]> = {
    open: [500],
    key: [401, 429, 500, 503],
    admin: [401, 403, 429, 500, 503],
  };
  const statuses = [...new Set([...problems, ...refusals[access]])].filter((status) => !answers[status]);
  return {
    operationId: id,
    tags: [tag],
    summary,
    ...(description !== undefined && { description }),
    ...(access !== 'key' && { security: access === 'open' ? [] : [{ bearer: [] }] }),
    ...(params && { requestParams: params }),
    ...(body && { requestBody: body }),
    responses: {
      ...Object.fromEntries(Object.entries(answers).map(([status, answer]) => [status, withHeaders(answer)])),
      ...Object.fromEntries(statuses.map((status) => [status, problemAnswer(status, errors)])),
    },
  };
}

/** An answer with a JSON body. */
export function json(
  description: string,
  schema: z.ZodType,
  { examples, headers }: { readonly examples?: Examples; readonly headers?: z.ZodRawShape } = {},
): Answer {
  return {
    description,
    ...(headers && { headers: z.object(headers) }),
    content: { 'application/json': { schema, ...(examples && { examples: { ...examples } }) } },
  };
}

/** A required request body with JSON, or the same in another notation. */
export function jsonBody(
  schema: z.ZodType,
  examples?: Examples,
  types: readonly string[] = ['application/json'],
): ZodOpenApiRequestBodyObject {
  const media = { schema, ...(examples && { examples: { ...examples } }) };
  return { required: true, content: Object.fromEntries(types.map((type) => [type, media])) };
}

function withHeaders(answer: Answer): Answer {
  const own = answer.headers instanceof z.ZodObject ? answer.headers.shape : {};
  return { ...answer, headers: z.object({ ...COMMON_HEADERS, ...own }) };
}

const problemAnswers = new Map<string, Answer>();

/** The same object each time, so that the document holds it once. */
function problemAnswer(status: ProblemStatus, errors?: ErrorShape): Answer {
  const [name, description] = PROBLEMS[status];
  const id = `${errors?.id ?? ''}${name}`;
  const known = problemAnswers.get(id);
  if (known) return known;
  const answer: Answer = {
    id,
    description,
    headers: z.object({
      ...COMMON_HEADERS,
      ...((status === 429 || status === 503) && { 'Retry-After': RETRY_AFTER }),
      ...(status === 416 && { 'Content-Range': z.string() }),
      ...(status === 401 && { 'WWW-Authenticate': z.string() }),
    }),
    content: errors
      ? { 'application/json': { schema: errors.schema } }
      : { 'application/problem+json': { schema: problemSchema } },
  };
  problemAnswers.set(id, answer);
  return answer;
}
