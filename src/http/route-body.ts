import type { Context } from 'koa';
import type { ParseRouteSetOptions } from '../routes/routes.js';
import { AppError } from '../shared/errors.js';
import { JSON_TYPES, readText } from './body.js';

const YAML_TYPES = ['application/yaml', 'application/x-yaml', 'text/yaml', 'text/x-yaml', '+yaml'] as const;

/** Routes in a request's body, as they stand in a file. */
export interface RouteText {
  readonly text: string;
  readonly options: ParseRouteSetOptions;
}

/** Reads a body of JSON or YAML. */
export async function readRouteText(context: Context, maxBytes: number): Promise<RouteText> {
  const wanted = 'routes with "Content-Type: application/json" or "application/yaml"';
  const { text, type } = await readText(context, [...JSON_TYPES, ...YAML_TYPES], wanted, maxBytes);
  return { text, options: { origin: 'body', format: /json$/.test(type) ? 'json' : 'yaml' } };
}

/**
 * Runs the reader of routes, whose faults are the client's here.
 * @throws AppError `malformed_json`, `validation_failed` with every fault, its line and column; what `work` throws
 */
export function asRequest<T>(work: () => T, body?: RouteText): T {
  try {
    return work();
  } catch (error) {
    throw faultOfRequest(error, body);
  }
}

/** The same for a change that a set as a whole does not allow, such as one that leaves too little to train on. */
export async function changeAsRequest<T>(change: Promise<T>): Promise<T> {
  try {
    return await change;
  } catch (error) {
    throw faultOfRequest(error);
  }
}

/** A fault of the reader of routes as the client's; anything else as it is. */
export function faultOfRequest(error: unknown, body?: RouteText): unknown {
  if (!(error instanceof AppError) || error.code !== 'routes_invalid') return error;
  const code = body?.options.format === 'json' && !isJson(body.text) ? 'malformed_json' : 'validation_failed';
  return new AppError(code, error.message, { issues: error.issues, cause: error });
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}
