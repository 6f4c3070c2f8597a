import type { Context } from 'koa';
import type { AppError } from '../shared/errors.js';
import { openAiAnswer } from './openai/error.js';
import { type ErrorAnswer, problemAnswer } from './problem.js';
import { teiAnswer } from './tei/error.js';

/** An error in the shape that the clients of a path read. */
export function errorAnswer(method: string, path: string, error: AppError, requestId: string): ErrorAnswer {
  if (path.startsWith('/v1/')) return openAiAnswer(error, requestId);
  const tei = path === '/embed' || path === '/info' || (path === '/' && method === 'POST');
  return tei ? teiAnswer(error, requestId) : problemAnswer(error, requestId);
}

/** `Retry-After` (seconds) of an answer whose status says that waiting helps. */
export function retryAfterOf({ retryAfterMs }: AppError, status: number): string | undefined {
  if (status !== 503 && status !== 429) return undefined;
  return String(Math.ceil(Math.max(1_000, retryAfterMs ?? 1_000) / 1_000));
}

/** Answers an error, with `Retry-After` where waiting helps. */
export function sendError(context: Context, error: AppError): void {
  // Of a target that is no URL, Koa knows no path, whatever its type says.
  const { status, type, body } = errorAnswer(
    context.method,
    context.path ?? '',
    error,
    context.state.requestId,
  );
  context.status = status;
  context.set('Content-Type', type);
  context.body = body;
  const retryAfter = retryAfterOf(error, status);
  if (retryAfter !== undefined) context.set('Retry-After', retryAfter);
}
