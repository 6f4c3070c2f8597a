import type { Context } from 'koa';
import type { TeiError } from '../../contract/tei.js';
import type { AppError, ErrorCode } from '../../errors.js';
import { problemOf, setRetryAfter } from '../problem.js';

/** The codes that this API answers with a status of its own. */
const ANSWERS: Readonly<Partial<Record<ErrorCode, readonly [number, TeiError['error_type']]>>> = {
  overloaded: [429, 'Overloaded'],
  text_too_long: [413, 'Validation'],
  worker_failed: [424, 'Backend'],
};

/** Answers an error as clients of Text Embeddings Inference expect it. */
export function sendTeiError(context: Context, error: AppError): void {
  const { status, detail } = problemOf(error, context.state.requestId);
  const [teiStatus, type] = ANSWERS[error.code] ?? [status, status >= 500 ? 'Unhealthy' : 'Validation'];
  const body: TeiError = { error: detail, error_type: type };
  context.status = teiStatus;
  context.body = body;
  setRetryAfter(context, error);
}
