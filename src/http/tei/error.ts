import type { Context } from 'koa';
import { z } from 'zod';
import type { AppError, ErrorCode } from '../../errors.js';
import { problemOf, setRetryAfter } from '../problem.js';

const ERROR_TYPES = ['Unhealthy', 'Backend', 'Overloaded', 'Validation', 'Tokenizer'] as const;

/** An error in the shape of Text Embeddings Inference. */
export const teiError = z.strictObject({ error: z.string(), error_type: z.enum(ERROR_TYPES) });

/** The codes that this API answers with a status of its own. */
const ANSWERS: Readonly<Partial<Record<ErrorCode, readonly [number, (typeof ERROR_TYPES)[number]]>>> = {
  overloaded: [429, 'Overloaded'],
  text_too_long: [413, 'Validation'],
  worker_failed: [424, 'Backend'],
};

/** Answers an error as clients of Text Embeddings Inference expect it. */
export function sendTeiError(context: Context, error: AppError): void {
  const { status, detail } = problemOf(error, context.state.requestId);
  const [teiStatus, type] = ANSWERS[error.code] ?? [status, status >= 500 ? 'Unhealthy' : 'Validation'];
  const body: z.infer<typeof teiError> = { error: detail, error_type: type };
  context.status = teiStatus;
  context.body = body;
  setRetryAfter(context, error);
}
