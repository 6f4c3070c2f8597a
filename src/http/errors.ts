import type { SystemOneError } from '../api/decisions.js';
import type { OpenAiError } from '../api/embeddings.js';
import type { ProblemBody } from '../api/schema.js';
import type { TeiError } from '../api/tei.js';
import type { AppError, ErrorCode } from '../shared/errors.js';
import { JSON_UTF8, type RequestContext } from './request.js';

/** HTTP status and title of each error code. A new code does not compile without its row. */
export const PROBLEMS: Readonly<Record<ErrorCode, readonly [status: number, title: string]>> = {
  bad_request: [400, 'Bad request'],
  headers_too_large: [431, 'Headers too large'],
  request_timeout: [408, 'Request not received in time'],
  expectation_failed: [417, 'Expectation failed'],
  range_not_satisfiable: [416, 'Range not satisfiable'],
  malformed_json: [400, 'Malformed JSON'],
  forbidden: [403, 'Forbidden'],
  unauthorized: [401, 'Unauthorized'],
  not_found: [404, 'Not found'],
  method_not_allowed: [405, 'Method not allowed'],
  timeout: [503, 'Not answered in time'],
  precondition_failed: [412, 'Precondition failed'],
  precondition_required: [428, 'If-Match required'],
  body_too_large: [413, 'Body too large'],
  answer_too_large: [422, 'Answer too large'],
  request_too_large: [413, 'Request cannot be answered in time'],
  unsupported_media_type: [415, 'Unsupported media type'],
  validation_failed: [422, 'Validation failed'],
  unknown_route: [422, 'Unknown route'],
  text_too_long: [422, 'Text too long'],
  aborted: [499, 'Client closed the request'],
  rate_limited: [429, 'Too many requests'],
  overloaded: [503, 'Overloaded'],
  not_ready: [503, 'Not ready'],
  draining: [503, 'Shutting down'],
  worker_failed: [503, 'Inference failed'],
  volume_unavailable: [503, 'Volume unavailable'],
  volume_read_only: [503, 'Volume read-only'],
  volume_full: [503, 'Volume full'],
  volume_not_mounted: [503, 'Volume not mounted'],
  volume_unstable: [503, 'Volume unstable'],
  blob_missing: [503, 'Blob missing'],
  blob_corrupt: [503, 'Blob corrupt'],
  model_unloadable: [503, 'Model unloadable'],
  canary_mismatch: [503, 'Model failed its known answers'],
  sources_exhausted: [503, 'All sources failed'],
  source_not_found: [503, 'Not found at source'],
  source_unauthorized: [503, 'Source denied access'],
  source_rate_limited: [503, 'Source rate limited'],
  source_unreachable: [503, 'Source unreachable'],
  source_refused: [503, 'Source refused'],
  source_stalled: [503, 'Source stalled'],
  source_truncated: [503, 'Source response truncated'],
  source_too_large: [503, 'Source response too large'],
  source_wrong_bytes: [503, 'Source response has wrong digest'],
  config_invalid: [500, 'Internal error'],
  manifest_invalid: [500, 'Internal error'],
  routes_invalid: [500, 'Internal error'],
  internal: [500, 'Internal error'],
};

export function statusOf(code: ErrorCode): number {
  return PROBLEMS[code][0];
}

/** The shape of an endpoint's errors: RFC 9457, or that of an API whose clients it serves. */
export type Dialect = 'problem' | 'openai' | 'tei' | 'systemone';

interface ErrorResponse {
  readonly status: number;
  readonly type: string;
  readonly body: ProblemBody | OpenAiError | TeiError | SystemOneError;
}

/** Answers an error in the dialect of the endpoint, with `Retry-After` where waiting helps. */
export function sendError(context: RequestContext, error: AppError): void {
  const { requestId, dialect } = context.state;
  const { status, type, body } = RESPONSES[dialect](error, problemOf(error, requestId));
  context.status = status;
  context.set('Content-Type', type);
  context.body = JSON.stringify(body);
  if (status === 503 || status === 429) context.set('Retry-After', retryAfterSeconds(error));
}

/** The RFC 9457 body of an error. A fault of the daemon's own keeps its details to the log. */
export function problemOf(error: AppError, requestId: string): ProblemBody {
  const [status, title] = PROBLEMS[error.code];
  return {
    type: 'about:blank',
    title,
    status,
    detail: status === 500 ? 'Internal error; the log has the details under this request id.' : error.message,
    instance: requestId,
    code: error.code,
    ...(error.gate !== undefined && { gate: error.gate }),
    ...(error.issues.length > 0 && { errors: error.issues }),
  };
}

const RESPONSES: Readonly<Record<Dialect, (error: AppError, problem: ProblemBody) => ErrorResponse>> = {
  problem: (_, body) => ({ status: body.status, type: 'application/problem+json', body }),
  openai: openAiResponse,
  tei: teiResponse,
  systemone: systemOneResponse,
};

/** Codes for which OpenAI has a name of its own. */
const OPENAI_CODES: Readonly<Record<string, string>> = {
  unauthorized: 'invalid_api_key',
  not_found: 'unknown_url',
};

/** OpenAI answers 400 where a field is wrong. */
function openAiResponse({ issues }: AppError, { status, detail, code }: ProblemBody): ErrorResponse {
  const param = issues[0]?.path || null;
  const missingModel = code === 'not_found' && param === 'model';
  const body: OpenAiError = {
    error: {
      message: detail,
      type: openAiType(status),
      param,
      code: missingModel ? 'model_not_found' : (OPENAI_CODES[code] ?? code),
    },
  };
  return { status: status === 422 ? 400 : status, type: JSON_UTF8, body };
}

function openAiType(status: number): string {
  if (status === 401) return 'authentication_error';
  if (status === 403) return 'permission_error';
  if (status === 429) return 'rate_limit_error';
  return status >= 500 ? 'server_error' : 'invalid_request_error';
}

/** Codes that Text Embeddings Inference answers with a status of its own. */
const TEI_RESPONSES: Readonly<Partial<Record<ErrorCode, readonly [number, TeiError['error_type']]>>> = {
  overloaded: [429, 'Overloaded'],
  text_too_long: [413, 'Validation'],
  worker_failed: [424, 'Backend'],
};

function teiResponse({ code }: AppError, problem: ProblemBody): ErrorResponse {
  const usual = [problem.status, problem.status >= 500 ? 'Unhealthy' : 'Validation'] as const;
  const [status, type] = TEI_RESPONSES[code] ?? usual;
  return { status, type: JSON_UTF8, body: { error: problem.detail, error_type: type } };
}

/** Codes of a body that is wrong, all of which are answered alike. */
const INVALID_BODY: ReadonlySet<ErrorCode> = new Set([
  'validation_failed',
  'malformed_json',
  'unknown_route',
]);

/** Steps of a path such as `questions["two words"].criteria[2]`. */
const STEPS = /\["((?:[^"\\]|\\.)*)"\]|\[(\d+)\]|[^.[\]]+/g;

function systemOneResponse({ code, issues }: AppError, { status, detail }: ProblemBody): ErrorResponse {
  if (INVALID_BODY.has(code)) {
    const faults = issues.length > 0 ? issues : [{ path: '', message: detail }];
    const body = faults.map(({ path, message }) => {
      const steps = [...path.matchAll(STEPS)].map(([step, quoted, index]) =>
        index === undefined ? unquoted(quoted, step) : Number(index),
      );
      return { loc: ['body', ...steps], msg: message, type: code };
    });
    return { status: 422, type: JSON_UTF8, body: { detail: body } };
  }
  const errorType = status === 401 || status === 403 ? 'authentication_error' : code;
  return { status, type: JSON_UTF8, body: { detail: { error_type: errorType, message: detail } } };
}

/** The name in quotes that a step holds, or the step where it holds none. */
function unquoted(quoted: string | undefined, step: string): string {
  return quoted === undefined ? step : String(JSON.parse(`"${quoted}"`));
}

function retryAfterSeconds({ retryAfterMs = 0 }: AppError): string {
  return String(Math.max(1, Math.ceil(retryAfterMs / 1_000)));
}
