import { constants } from 'node:os';

/** Every way in which this program fails by name. HTTP knows a status for each (`http/problem.ts`). */
export const ERROR_CODES = [
  // start-up
  'config_invalid',
  'manifest_invalid',
  'routes_invalid',
  // volume
  'volume_unavailable',
  'volume_read_only',
  'volume_full',
  'volume_not_mounted',
  'volume_unstable',
  'blob_missing',
  'blob_corrupt',
  // sources
  'source_not_found',
  'source_unauthorized',
  'source_rate_limited',
  'source_unreachable',
  'source_refused',
  'source_stalled',
  'source_truncated',
  'source_too_large',
  'source_wrong_bytes',
  'sources_exhausted',
  // model
  'model_unloadable',
  'canary_mismatch',
  'worker_failed',
  // requests
  'not_ready',
  'overloaded',
  'draining',
  'timeout',
  'aborted',
  'bad_request',
  'headers_too_large',
  'request_timeout',
  'expectation_failed',
  'range_not_satisfiable',
  'malformed_json',
  'validation_failed',
  'unknown_route',
  'text_too_long',
  'body_too_large',
  'answer_too_large',
  'request_too_large',
  'unsupported_media_type',
  'not_found',
  'method_not_allowed',
  'precondition_required',
  'precondition_failed',
  'unauthorized',
  'forbidden',
  'rate_limited',
  'internal',
] as const;

/** One of {@link ERROR_CODES}. */
export type ErrorCode = (typeof ERROR_CODES)[number];

/**
 * Everything that can refuse a request because the daemon has enough to do: open connections, bytes of bodies under way,
 * requests of a client in a window, the queue before the model, the request's deadline, and the size of the answer.
 */
export const GATES = ['connections', 'body_bytes', 'rate', 'queue', 'deadline', 'answer_budget'] as const;

/** One of {@link GATES}. */
export type Gate = (typeof GATES)[number];

/** Properties of an {@link AppError} besides its code and message. */
export interface AppErrorOptions {
  /** Whether the same attempt may succeed later without anybody changing anything. Default: false. */
  retryable?: boolean;
  /** How long to wait before another attempt, in milliseconds, when a server said so. */
  retryAfterMs?: number;
  /** Faults of single fields of an input, with the path of each (`texts[3]`, `routes[0].name`). */
  issues?: readonly FieldIssue[];
  /** Which gate refused, where one did. */
  gate?: Gate;
  cause?: unknown;
}

/** One fault in a structured input. */
export interface FieldIssue {
  path: string;
  message: string;
}

/**
 * Said to clients a thousand times a second in a flood. Their stack is of no use, and to capture it
 * takes longer than all else about such an error.
 */
const REFUSALS: ReadonlySet<ErrorCode> = new Set(['overloaded', 'rate_limited']);

/**
 * The one error class of the project. It knows no HTTP; whether a failure may be retried is written on it,
 * and the original error is kept as `cause`.
 */
export class AppError extends Error {
  override readonly name = 'AppError';
  readonly code: ErrorCode;
  readonly retryable: boolean;
  readonly retryAfterMs: number | undefined;
  readonly issues: readonly FieldIssue[];
  readonly gate: Gate | undefined;

  constructor(code: ErrorCode, message: string, options: AppErrorOptions = {}) {
    const { stackTraceLimit } = Error;
    if (REFUSALS.has(code)) Error.stackTraceLimit = 0;
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    Error.stackTraceLimit = stackTraceLimit;
    this.code = code;
    this.retryable = options.retryable ?? false;
    this.retryAfterMs = options.retryAfterMs;
    this.issues = options.issues ?? [];
    this.gate = options.gate;
  }
}

/** The message of anything that was thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** The `code` of a Node.js system error (`ENOENT`, …), if it is one. */
export function errnoOf(error: unknown): string | undefined {
  if (!(error instanceof Error) || !('code' in error)) return undefined;
  if (typeof error.code !== 'string') return undefined;
  // libuv has no name for some numbers, a full quota's among them.
  const number = /^Unknown system error (-\d+)$/.exec(error.code)?.[1];
  if (number === undefined) return error.code;
  return Object.entries(constants.errno).find(([, value]) => value === -Number(number))?.[0] ?? error.code;
}

const FILE_FAULTS: Readonly<Record<string, string>> = {
  ENOENT: 'it does not exist',
  ENOTDIR: 'a part of its path is a file, not a folder',
  EISDIR: 'it is a folder',
  EEXIST: 'something else stands there',
  EACCES: 'not permitted for this user',
  EPERM: 'not permitted for this user',
  ELOOP: 'links in its path lead in a circle',
  EROFS: 'the disk is read-only',
  ENOSPC: 'the disk is full',
};

/**
 * Why a file or folder could not be used, in words.
 * @param isNew whether it was to be made: then it is its folder that does not exist
 */
export function fileFault(error: unknown, isNew = false): string {
  if (isNew && errnoOf(error) === 'ENOENT') return 'there is no such folder';
  return FILE_FAULTS[errnoOf(error) ?? ''] ?? messageOf(error);
}

/** Says why this process cannot listen there, and what to do. */
export function explainListening(error: unknown, host: string | undefined): string {
  const errno = errnoOf(error) ?? '';
  // Build tools set HOST to the name of a compiler's target.
  if (errno === 'EADDRNOTAVAIL' || errno === 'ENOTFOUND' || errno.startsWith('EAI_')) {
    return `HOST="${host ?? '::'}" is no address of this machine; unset it to listen on :: (IPv6 and IPv4), or set an address such as 0.0.0.0 or 127.0.0.1`;
  }
  switch (errno) {
    case 'EADDRINUSE':
      return 'it is in use; set PORT to another one';
    case 'EACCES':
      return 'it is not permitted for this user; set PORT to one above 1023';
    default:
      return messageOf(error);
  }
}
