import * as z from 'zod';
import type {
  createDocument,
  ZodOpenApiOperationObject,
  ZodOpenApiPathsObject,
  ZodOpenApiRequestBodyObject,
  ZodOpenApiResponseObject,
} from 'zod-openapi';
import { systemOneError } from '../api/decisions.js';
import { type EmbeddingModel, openAiError } from '../api/embeddings.js';
import type { RequestLimits } from '../api/limits.js';
import { problemSchema } from '../api/schema.js';
import { teiError } from '../api/tei.js';
import type { RateLimit } from '../config/parsers.js';
import type { Dialect } from './errors.js';
import type { RequestContext } from './request.js';

/** Settings and model that the contract names. */
export interface ContractSettings extends RequestLimits {
  readonly version: string;
  readonly model: EmbeddingModel;
  /** Texts that may wait for inference. */
  readonly maxQueue: number;
  readonly maxConnections: number;
  readonly maxHeaders: number;
  readonly rateLimit: RateLimit | undefined;
  /** Whether every endpoint but the open ones requires a key. */
  readonly keyRequired: boolean;
}

/** Groups of operations, in the order in which people read them. */
const TAGS = [
  { name: 'Classification', description: 'Classify texts into routes' },
  {
    name: 'Embeddings',
    description: 'Embeddings, compatible with OpenAI and with Text Embeddings Inference',
  },
  { name: 'Routes', description: 'The route set: read, change, lint and roll back while serving' },
  { name: 'Health', description: 'Health, readiness, metrics and the status page' },
  { name: 'Cache', description: 'The verified model cache on the volume' },
  { name: 'Model files', description: 'Serve the model files to other instances' },
  { name: 'Contract', description: 'This document' },
] as const;

/** One answer, as `zod-openapi` takes it. */
export type Answer = ZodOpenApiResponseObject;

/** Examples by name. A test sends those that have the same name in request and answer, and compares. */
export type Examples = Readonly<Record<string, { readonly summary?: string; readonly value: unknown }>>;

/** Headers of every answer. */
const COMMON_HEADERS = {
  'X-Request-Id': z.string().meta({
    description: 'Id of the request, as in the log: the `X-Request-Id` that was sent, or a new one',
    header: { id: 'X-Request-Id' },
  }),
  'Server-Timing': z.string().meta({
    description: 'Time spent in each phase, in milliseconds',
    header: { id: 'Server-Timing' },
  }),
};

const RETRY_AFTER = z
  .string()
  .regex(/^\d+$/)
  .meta({ description: 'Seconds to wait before a retry', header: { id: 'Retry-After' } });

/** Errors by status. */
const PROBLEMS = {
  400: ['BadRequest', 'The body is not JSON, not UTF-8, or incomplete'],
  401: ['Unauthorized', 'A key is required: `Authorization: Bearer …`'],
  403: ['Forbidden', 'One of `ADMIN_KEYS` is required'],
  404: ['NotFound', 'Not found'],
  412: ['PreconditionFailed', 'The routes have changed; `detail` has their current digest'],
  413: ['BodyTooLarge', 'The body is larger than `MAX_BODY_BYTES`'],
  415: ['UnsupportedMediaType', 'The media type or encoding of the body is not supported'],
  416: ['RangeNotSatisfiable', 'The range is outside the file; `Content-Range` has its size'],
  424: ['InferenceFailed', 'The text could not be embedded'],
  422: ['ValidationFailed', 'Validation failed; `errors` lists every invalid field'],
  428: [
    'PreconditionRequired',
    '`If-Match` with the ETag of the routes on which the change is based is required',
  ],
  429: ['RateLimited', 'More requests than `RATE_LIMIT` allows'],
  500: ['InternalError', 'Internal error; the log has the details under the request id'],
  503: ['Unavailable', 'Not ready, overloaded or shutting down; retry later'],
} as const;

/** A status with which an operation may refuse. */
type ProblemStatus = keyof typeof PROBLEMS;

/** An endpoint as the contract describes it. */
export interface Operation {
  /** Its name in generated clients. */
  readonly id: string;
  readonly tag: (typeof TAGS)[number]['name'];
  readonly summary: string;
  readonly description?: string;
  readonly params?: ZodOpenApiOperationObject['requestParams'];
  readonly body?: ZodOpenApiRequestBodyObject;
  readonly answers: Readonly<Record<number, Answer>>;
  /** Statuses of its errors, besides those that its access brings along. */
  readonly problems?: readonly ProblemStatus[];
}

/**
 * Access to an endpoint. `open` never requires a key and is never counted; `key` requires one where `API_KEYS` is set;
 * `admin` always requires one of `ADMIN_KEYS`.
 */
export type Access = 'open' | 'key' | 'admin';

/** Values of the parameters in a path, decoded. */
export type PathParams = Readonly<Record<string, string>>;

/**
 * Everything there is to know of one endpoint. Router, access, errors, metrics, log and contract read it here. One without
 * `id` is not in the contract.
 */
export interface Endpoint<Ports> extends Partial<Operation> {
  readonly method: 'GET' | 'POST' | 'PUT' | 'DELETE';
  /** Template, e.g. `/routes/{name}`; a parameter is one segment of the path, `{name+}` all the rest of it. */
  readonly path: string;
  readonly access: Access;
  /** Default: problem documents. */
  readonly dialect?: Dialect;
  /** Whether it embeds texts, so that it is refused before its body is read where the queue has no room. */
  readonly inference?: boolean;
  /** Whether monitors call it all the time; its requests are logged at debug level. */
  readonly quiet?: boolean;
  readonly handle: (context: RequestContext, ports: Ports, params: PathParams) => Promise<void> | void;
}

/** An OpenAPI 3.1 document. */
export type ContractDocument = ReturnType<typeof createDocument>;

/** Makes the OpenAPI document of a daemon with these settings. Its library is loaded only now: boot does without. */
export async function openapiDocument<Ports>(
  settings: ContractSettings,
  endpoints: readonly Endpoint<Ports>[],
): Promise<ContractDocument> {
  const library = await import('zod-openapi');
  const paths: ZodOpenApiPathsObject = {};
  for (const endpoint of endpoints) {
    if (endpoint.id === undefined) continue;
    const path = endpoint.path.replaceAll('+}', '}');
    const method = endpoint.method.toLowerCase() as Lowercase<typeof endpoint.method>;
    paths[path] = { ...paths[path], [method]: describeEndpoint(endpoint) };
  }
  const { version, keyRequired } = settings;
  return library.createDocument(
    {
      openapi: '3.1.1',
      info: {
        title: 'ai-router',
        version,
        description: describe(settings),
        license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
      },
      tags: [...TAGS],
      security: keyRequired ? [{ bearer: [] }] : [],
      paths,
      components: {
        securitySchemes: {
          bearer: {
            type: 'http',
            scheme: 'bearer',
            description: 'One of `API_KEYS` or `ADMIN_KEYS`; admin operations take the latter only.',
          },
        },
      },
    },
    { reused: 'inline' },
  );
}

function describe(settings: ContractSettings): string {
  const { model, maxTextChars, maxBatch, maxBodyBytes, maxQueue, maxConnections, maxHeaders, rateLimit } =
    settings;
  const rate = rateLimit
    ? `${rateLimit.requests} requests of one client in ${rateLimit.seconds} s`
    : 'any number of requests';
  return `Send \`POST /classify\` with \`{"text": "my card was charged twice"}\`: the answer names the \`route\`, or \`null\`
where none reaches its threshold, with its \`score\` and the best candidates:

    curl -d '{"text": "my card was charged twice"}' -H 'content-type: application/json' http://localhost:3000/classify

Errors are problem documents (RFC 9457) that name every wrong field. A known path with another method answers 405
with \`Allow\`, a request that arrives too slowly 408, too large a head 431, an unknown \`Expect\` 417.

Limits of this daemon, by setting: a text may have ${maxTextChars} characters (\`MAX_TEXT_CHARS\`), a batch
${maxBatch} texts (\`MAX_BATCH\`), a body ${maxBodyBytes} bytes (\`MAX_BODY_BYTES\`). Clients (a key, or an
address without one) take turns at the model. What would wait longer than \`MAX_QUEUE_MS\`, by the work before it, or
come after \`REQUEST_TIMEOUT_MS\`, gets 503 with \`Retry-After\`; so does what finds ${maxQueue} texts waiting
(\`MAX_QUEUE\`), unless its client has few of them.
${maxConnections} connections may be open (\`MAX_CONNECTIONS\`), and a request may have ${maxHeaders} headers
(\`MAX_HEADERS\`). Texts longer than ${model.maxTokens} tokens are cut, and
\`usage.truncated_tokens\` says by how much. A text that is blank or has no character that the model can read (a zero-width
space, a lone combining mark) is refused, and with it its batch; the error names its place, such as \`texts[1]\`. It takes ${rate} (\`RATE_LIMIT\`); where there is a limit, answers
carry \`RateLimit\` and \`RateLimit-Policy\`, and requests beyond it get 429 with \`Retry-After\`.`;
}

function describeEndpoint<Ports>(endpoint: Endpoint<Ports>): ZodOpenApiOperationObject {
  const { access, dialect = 'problem', id = '', tag = '', summary = '', description } = endpoint;
  const { params, body, answers = {}, problems = [] } = endpoint;
  const refusals = {
    open: [500],
    key: [401, 429, 500, 503],
    admin: [401, 403, 429, 500, 503],
  } as const;
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
      ...Object.fromEntries(statuses.map((status) => [status, problemAnswer(status, dialect)])),
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

const ERRORS: Readonly<
  Record<Dialect, { readonly prefix: string; readonly type: string; readonly schema: z.ZodType }>
> = {
  problem: { prefix: '', type: 'application/problem+json', schema: problemSchema },
  openai: { prefix: 'OpenAI', type: 'application/json', schema: openAiError },
  tei: { prefix: 'TEI', type: 'application/json', schema: teiError },
  systemone: { prefix: 'SystemOne', type: 'application/json', schema: systemOneError },
};

const problemAnswers = new Map<string, Answer>();

/** Returns the same object each time, so that the document holds it once. */
function problemAnswer(status: ProblemStatus, dialect: Dialect): Answer {
  const [name, description] = PROBLEMS[status];
  const { prefix, type, schema } = ERRORS[dialect];
  const id = prefix + name;
  let answer = problemAnswers.get(id);
  if (!answer) {
    answer = {
      id,
      description,
      headers: z.object({
        ...COMMON_HEADERS,
        ...((status === 429 || status === 503) && { 'Retry-After': RETRY_AFTER }),
        ...(status === 416 && { 'Content-Range': z.string() }),
        ...(status === 401 && { 'WWW-Authenticate': z.string() }),
      }),
      content: { [type]: { schema } },
    };
    problemAnswers.set(id, answer);
  }
  return answer;
}
