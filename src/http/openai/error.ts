import type { Context } from 'koa';
import type { OpenAiError } from '../../contract/openai.js';
import type { AppError } from '../../errors.js';
import { problemOf, setRetryAfter } from '../problem.js';

/** Where OpenAI has a word of its own for one of our codes. */
const CODES: Readonly<Record<string, string>> = {
  unauthorized: 'invalid_api_key',
  not_found: 'unknown_url',
};

/** Answers an error as OpenAI's clients expect it; a wrong field is 400 there. */
export function sendOpenAiError(context: Context, error: AppError): void {
  const { status, detail, code } = problemOf(error, context.state.requestId);
  const param = error.issues[0]?.path || null;
  const body: OpenAiError = {
    error: {
      message: detail,
      type: typeOf(status),
      param,
      code: code === 'not_found' && param === 'model' ? 'model_not_found' : (CODES[code] ?? code),
    },
  };
  context.status = status === 422 ? 400 : status;
  context.body = body;
  setRetryAfter(context, error);
}

function typeOf(status: number): string {
  if (status === 401) return 'authentication_error';
  if (status === 403) return 'permission_error';
  if (status === 429) return 'rate_limit_error';
  return status >= 500 ? 'server_error' : 'invalid_request_error';
}
