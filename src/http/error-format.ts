import type { Context } from 'koa';
import type { AppError } from '../errors.js';
import { sendOpenAiError } from './openai/error.js';
import { sendProblem } from './problem.js';
import { sendTeiError } from './tei/error.js';

/** Answers an error in the shape that the clients of this path read. */
export function sendError(context: Context, error: AppError): void {
  const { method } = context;
  // Of a target that is no URL, Koa knows no path, whatever its type says.
  const path = context.path ?? '';
  if (path.startsWith('/v1/')) sendOpenAiError(context, error);
  else if (path === '/embed' || path === '/info' || (path === '/' && method === 'POST')) {
    sendTeiError(context, error);
  } else sendProblem(context, error);
}
