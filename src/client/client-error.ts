import type { ProblemBody } from '../api/problem.js';
import type { ErrorCode } from '../shared/errors.js';

/** Why a call failed: what the daemon said, or why nothing of it was heard. */
export type ClientErrorCode =
  | ErrorCode
  /** No answer: the address is wrong, the network is broken, or nobody listens. */
  | 'connection_failed'
  /** No answer within `timeoutMs`. */
  | 'no_answer'
  /** An answer that is not the daemon's, such as a proxy's page. */
  | 'unexpected_answer';

/** What is known of a failed call. */
export interface ClientErrorFacts {
  readonly status?: number;
  readonly problem?: ProblemBody;
  readonly requestId?: string;
  /** How long the daemon asks to wait, in milliseconds. */
  readonly retryAfterMs?: number;
  readonly cause?: unknown;
}

/** The one error class of the client. An abort by the caller's signal is not one: its own reason is thrown. */
export class ClientError extends Error {
  override readonly name = 'ClientError';
  readonly code: ClientErrorCode;
  /** The HTTP status, when there was an answer. */
  readonly status: number | undefined;
  /** The daemon's problem document, when it sent one. */
  readonly problem: ProblemBody | undefined;
  /** Under which the daemon logged the request. */
  readonly requestId: string | undefined;
  readonly retryAfterMs: number | undefined;

  constructor(code: ClientErrorCode, message: string, facts: ClientErrorFacts = {}) {
    super(message, facts.cause === undefined ? undefined : { cause: facts.cause });
    this.code = code;
    this.status = facts.status;
    this.problem = facts.problem;
    this.requestId = facts.requestId;
    this.retryAfterMs = facts.retryAfterMs;
  }

  /** Every wrong field, where that is what was wrong. */
  get errors(): NonNullable<ProblemBody['errors']> {
    return this.problem?.errors ?? [];
  }

  /** Whether the same call may succeed later without anybody changing anything. */
  get retryable(): boolean {
    return this.status === undefined || this.status === 429 || this.status === 503;
  }
}
