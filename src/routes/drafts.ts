import { Worker, type WorkerOptions } from 'node:worker_threads';
import { throwIfAborted, unlessAborted } from '../shared/concurrent.js';
import { AppError, type ErrorCode, type FieldIssue } from '../shared/errors.js';
import { type ParseRouteSetOptions, parseRoute, parseRouteSet } from './parse.js';
import type { Route, RouteSet } from './set.js';

/** Longest text that is parsed on the caller's thread, in characters; of YAML, which is slower, less. */
const AT_ONCE_CHARS = { json: 32_768, yaml: 1_024 } as const;

/**
 * Bounds of a thread that parses. 3.5 MB of YAML with 50,000 utterances need 64 MB and, on a slow core, 3 s; text that is
 * wrong throughout takes a hundred times that.
 */
const THREAD_LIMITS = { mb: 96, ms: 10_000 } as const;

/** A route set as text, or one route. */
export interface DraftText {
  readonly text: string;
  readonly options: ParseRouteSetOptions;
  /** Whether it is the body of a request: there broken JSON is `malformed_json`, as in every body. */
  readonly isBody?: boolean;
}

/** Work of the thread. With `name`, the text is the route of that name. */
export interface DraftWork extends DraftText {
  readonly name?: string;
}

/** Result of the thread: errors do not pass between threads whole. */
export type DraftParsed =
  | { readonly ok: true; readonly parsed: RouteSet | Route }
  | {
      readonly ok: false;
      readonly code: ErrorCode;
      readonly message: string;
      readonly issues: readonly FieldIssue[];
    };

/**
 * Parses a route set that a client sent. A long text is parsed in a thread, which ends with `signal`.
 * @throws AppError `routes_invalid`, also when it takes too much memory or time; `malformed_json` of a body; `aborted`
 */
export async function parseDraft(draft: DraftText, signal: AbortSignal): Promise<RouteSet> {
  return (await parseAnywhere(draft, signal)) as RouteSet;
}

/**
 * Parses one route that a client sent, in the same way.
 * @throws as {@link parseDraft}
 */
export async function parseRouteDraft(draft: DraftText, name: string, signal: AbortSignal): Promise<Route> {
  return (await parseAnywhere({ ...draft, name }, signal)) as Route;
}

/**
 * Parses in this thread.
 * @throws AppError `routes_invalid`; `malformed_json` of a body that is to be JSON and is none
 */
export function parseWork({ text, options, isBody, name }: DraftWork): RouteSet | Route {
  try {
    return name === undefined ? parseRouteSet(text, options) : parseRoute(text, name, options);
  } catch (error) {
    if (!(error instanceof AppError) || !isBody || options.format !== 'json' || isJson(text)) throw error;
    throw new AppError('malformed_json', error.message, { issues: error.issues, cause: error });
  }
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

async function parseAnywhere(work: DraftWork, signal: AbortSignal): Promise<RouteSet | Route> {
  if (work.text.length <= AT_ONCE_CHARS[work.options.format ?? 'yaml']) return parseWork(work);
  const late = new AbortController();
  const timer = setTimeout(() => {
    late.abort(
      tooMuch(`it takes longer than ${THREAD_LIMITS.ms / 1_000} s to read; JSON is quicker than YAML`),
    );
  }, THREAD_LIMITS.ms);
  try {
    const result = await runThread<DraftParsed>(new URL('./draft-worker.js', import.meta.url), {
      name: 'draft',
      workerData: work,
      resourceLimits: { maxOldGenerationSizeMb: THREAD_LIMITS.mb },
      signal: AbortSignal.any([signal, late.signal]),
    });
    if (result.ok) return result.parsed;
    throw new AppError(result.code, result.message, { issues: result.issues });
  } catch (error) {
    const outOfMemory =
      error instanceof Error && 'code' in error && error.code === 'ERR_WORKER_OUT_OF_MEMORY';
    throw outOfMemory ? tooMuch('it takes too much memory to read', error) : error;
  } finally {
    clearTimeout(timer);
  }
}

/**
 * Runs a module in a thread of its own, which ends with the first message that it posts or with `signal`.
 * @returns that message
 * @throws AppError `aborted` when `signal` was; what the thread died of
 */
async function runThread<T>(
  entry: URL,
  { signal, ...options }: WorkerOptions & { readonly signal: AbortSignal },
): Promise<T> {
  throwIfAborted(signal);
  // Command-line flags of the parent (a loader of tests, a profiler) are not for it.
  const worker = new Worker(entry, { ...options, execArgv: [] });
  const message = new Promise<T>((resolve, reject) => {
    worker.once('message', resolve);
    worker.once('error', reject);
    worker.once('exit', (code) => reject(new Error(`its thread ended with ${code}`)));
  });
  try {
    return await unlessAborted(message, signal);
  } finally {
    await worker.terminate();
  }
}

function tooMuch(message: string, cause?: unknown): AppError {
  return new AppError('routes_invalid', message, { issues: [{ path: '', message }], cause });
}
