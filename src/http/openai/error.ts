import type { OpenAiError } from '../../api/openai.js';
import type { AppError } from '../../shared/errors.js';
import { JSON_UTF8 } from '../answer.js';
import { type ErrorAnswer, problemOf } from '../problem.js';

/** Where OpenAI has a word of its own for one of our codes. */
const CODES: Readonly<Record<string, string>> = {
  unauthorized: 'invalid_api_key',
  not_found: 'unknown_url',
};

/** An error as OpenAI's clients expect it; a wrong field is 400 there. */
export function openAiAnswer(error: AppError, requestId: string): ErrorAnswer {
  const { status, detail, code } = problemOf(error, requestId);
  const param = error.issues[0]?.path || null;
  const body: OpenAiError = {
    error: {
      message: detail,
      type: typeOf(status),
      param,
      code: code === 'not_found' && param === 'model' ? 'model_not_found' : (CODES[code] ?? code),
    },
  };
  return { status: status === 422 ? 400 : status, type: JSON_UTF8, body: JSON.stringify(body) };
}

function typeOf(status: number): string {
  if (status === 401) return 'authentication_error';
  if (status === 403) return 'permission_error';
  if (status === 429) return 'rate_limit_error';
  return status >= 500 ? 'server_error' : 'invalid_request_error';
}
