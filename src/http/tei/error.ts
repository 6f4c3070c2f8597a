import type { TeiError } from '../../api/tei.js';
import type { AppError, ErrorCode } from '../../shared/errors.js';
import { JSON_UTF8 } from '../answer.js';
import { type ErrorAnswer, problemOf } from '../problem.js';

/** The codes that this API answers with a status of its own. */
const ANSWERS: Readonly<Partial<Record<ErrorCode, readonly [number, TeiError['error_type']]>>> = {
  overloaded: [429, 'Overloaded'],
  text_too_long: [413, 'Validation'],
  worker_failed: [424, 'Backend'],
};

/** An error as clients of Text Embeddings Inference expect it. */
export function teiAnswer(error: AppError, requestId: string): ErrorAnswer {
  const { status: usual, detail } = problemOf(error, requestId);
  const [status, type] = ANSWERS[error.code] ?? [usual, usual >= 500 ? 'Unhealthy' : 'Validation'];
  const body: TeiError = { error: detail, error_type: type };
  return { status, type: JSON_UTF8, body: JSON.stringify(body) };
}
