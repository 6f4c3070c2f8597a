import type { ProblemBody } from '../api/problem.js';
import type { AppError, ErrorCode } from '../shared/errors.js';

/** The only place where an error code meets an HTTP status; a new code does not compile without its row. */
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
  precondition_failed: [412, 'Changed meanwhile'],
  precondition_required: [428, 'If-Match required'],
  body_too_large: [413, 'Body too large'],
  answer_too_large: [422, 'Answer too large'],
  request_too_large: [413, 'Request cannot be answered in time'],
  unsupported_media_type: [415, 'Unsupported media type'],
  validation_failed: [422, 'A field is wrong'],
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
  volume_foreign: [503, 'Volume holds something else'],
  volume_unstable: [503, 'Volume keeps going bad'],
  blob_missing: [503, 'Blob missing'],
  blob_corrupt: [503, 'Blob corrupt'],
  model_unloadable: [503, 'Model unloadable'],
  canary_mismatch: [503, 'Model gives wrong answers'],
  sources_exhausted: [503, 'No source delivers'],
  source_not_found: [503, 'Source lacks the file'],
  source_unauthorized: [503, 'Source refuses access'],
  source_rate_limited: [503, 'Source limits the rate'],
  source_unreachable: [503, 'Source unreachable'],
  source_refused: [503, 'Source refused'],
  source_stalled: [503, 'Source stalled'],
  source_truncated: [503, 'Source delivered too little'],
  source_too_large: [503, 'Source delivered too much'],
  source_wrong_bytes: [503, 'Source delivered other bytes'],
  config_invalid: [500, 'Internal error'],
  manifest_invalid: [500, 'Internal error'],
  routes_invalid: [500, 'Internal error'],
  internal: [500, 'Internal error'],
};

/** The HTTP status of an error code. */
export function statusOf(code: ErrorCode): number {
  return PROBLEMS[code][0];
}

/** The RFC 9457 body of an error; a fault of our own keeps its details to itself. */
export function problemOf(error: AppError, requestId: string): ProblemBody {
  const [status, title] = PROBLEMS[error.code];
  return {
    type: 'about:blank',
    title,
    status,
    detail:
      status === 500 ? 'Something went wrong here; the log has the details under this id.' : error.message,
    instance: requestId,
    code: error.code,
    ...(error.gate !== undefined && { gate: error.gate }),
    ...(error.issues.length > 0 && { errors: error.issues }),
  };
}

/** An error as it is answered. */
export interface ErrorAnswer {
  readonly status: number;
  readonly type: string;
  readonly body: string;
}

/** An error as a problem document. */
export function problemAnswer(error: AppError, requestId: string): ErrorAnswer {
  const body = problemOf(error, requestId);
  return { status: body.status, type: 'application/problem+json', body: JSON.stringify(body) };
}
