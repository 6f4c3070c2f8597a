import { AppError, type ErrorCode, type FieldIssue } from '../shared/errors.js';
import { runThread } from '../shared/thread.js';
import { type ParseRouteSetOptions, parseRouteSet } from './parse.js';
import type { RouteSet } from './set.js';

/** Longest text that is parsed on the caller's thread, in characters; of YAML, which is slower, less. */
const AT_ONCE_CHARS = { json: 32_768, yaml: 1_024 } as const;

/** Memory of a thread that parses, in MB; 4 MB of hostile YAML take half of it. */
const THREAD_MB = 768;

/** A route set as text. */
export interface DraftText {
  readonly text: string;
  readonly options: ParseRouteSetOptions;
}

/** What the thread makes of it: errors do not pass between threads whole. */
export type DraftParsed =
  | { readonly ok: true; readonly set: RouteSet }
  | {
      readonly ok: false;
      readonly code: ErrorCode;
      readonly message: string;
      readonly issues: readonly FieldIssue[];
    };

/**
 * `parseRouteSet` for texts of anybody: 4 MB of YAML that is wrong throughout keep a thread busy for most of a
 * minute, so that a long text gets a thread of its own, which ends with `signal`.
 * @throws AppError `routes_invalid`, also when it takes too much memory; `aborted`
 */
export async function parseDraft({ text, options }: DraftText, signal: AbortSignal): Promise<RouteSet> {
  if (text.length <= AT_ONCE_CHARS[options.format ?? 'yaml']) return parseRouteSet(text, options);
  const parsed = await runThread<DraftParsed>(new URL('./draft-worker.js', import.meta.url), {
    name: 'draft',
    workerData: { text, options } satisfies DraftText,
    resourceLimits: { maxOldGenerationSizeMb: THREAD_MB },
    signal,
  }).catch((error: unknown) => {
    if (error instanceof Error && 'code' in error && error.code === 'ERR_WORKER_OUT_OF_MEMORY') {
      const message = 'it takes too much memory to read';
      throw new AppError('routes_invalid', message, { issues: [{ path: '', message }], cause: error });
    }
    throw error;
  });
  if (parsed.ok) return parsed.set;
  throw new AppError(parsed.code, parsed.message, { issues: parsed.issues });
}
