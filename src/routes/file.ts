import { createHash } from 'node:crypto';
import { type FileHandle, open, realpath, stat } from 'node:fs/promises';
import { basename, dirname, resolve } from 'node:path';
import { type FSWatcher, watch } from 'chokidar';
import { throwIfAborted } from '../shared/concurrent.js';
import { AppError, type ErrorCode, errnoOf, type FieldIssue, messageOf } from '../shared/errors.js';
import type { Log } from '../shared/log.js';
import { parseRouteSet } from './parse.js';
import type { RouteSet } from './set.js';

/** A route file is never larger than this (64 MiB). */
export const MAX_ROUTE_FILE_BYTES = 64 * 2 ** 20;

/** A mount stays on the file that was there first, whatever takes its name outside. */
export const ROUTES_FILE_IS_MOUNT =
  'ROUTES_FILE is itself a mount: a new file in its place outside is not seen; mount its folder instead';

/** When a changed file is looked at, in milliseconds. */
export const ROUTE_FILE_DEFAULTS = {
  /** A file counts as written when nothing has happened to it for this long. */
  debounceMs: 150,
  /** How often the file is looked at without any event: network mounts and replaced folders give none. */
  pollMs: 2_000,
  /** Wait before a set that could not be applied for a passing reason is tried again. */
  retryMs: 5_000,
} as const;

/** Options of {@link RouteFile}. */
export interface RouteFileOptions {
  readonly path: string;
  /** Makes a set the active one, such as `Classifier.load`. Called once at a time. */
  readonly apply: (set: RouteSet, options: { readonly signal: AbortSignal }) => Promise<unknown>;
  readonly log: Log;
  readonly debounceMs?: number;
  readonly pollMs?: number;
  readonly retryMs?: number;
}

export interface RouteFileStatus {
  /** The file's base name. */
  readonly file: string;
  /** Digest of the set that was applied last; `undefined` before the first. */
  readonly digest: string | undefined;
  readonly loadedAt: Date | undefined;
  /** A changed file is being read or applied. */
  readonly loading: boolean;
  /** Why what the file says now is not what is being served. */
  readonly error: RouteFileFault | undefined;
}

/** A change that was refused. */
export interface RouteFileFault {
  readonly code: ErrorCode;
  readonly message: string;
  readonly issues: readonly FieldIssue[];
  readonly at: Date;
}

/**
 * A route file that is loaded once and then followed. Each change is parsed and applied; a broken one is
 * refused and named in the log and in `status`, and what was applied before stays. A change during an
 * apply aborts it and starts over.
 */
export class RouteFile {
  readonly #path: string;
  readonly #options: RouteFileOptions;
  #watcher: FSWatcher | undefined;
  #poll: NodeJS.Timeout | undefined;
  #debounce: NodeJS.Timeout | undefined;
  #retry: NodeJS.Timeout | undefined;
  #run: { readonly stop: AbortController; readonly done: Promise<void> } | undefined;
  /** Last result of `stat`; a cheap way to see that nothing happened. */
  #seen: string | undefined;
  /** The content that came to an end last, and why it was refused if it was. */
  #settled: { readonly digest: string; readonly fault: RouteFileFault | undefined } | undefined;
  #applied: { readonly digest: string; readonly at: Date } | undefined;
  /** The content that was parsed last: checked before anything listens, it is applied when the model is there. */
  #parsed: { readonly digest: string; readonly set: RouteSet } | undefined;
  #error: RouteFileFault | undefined;
  #closed = false;

  constructor(options: RouteFileOptions) {
    this.#options = options;
    this.#path = resolve(options.path);
  }

  /**
   * Reads the file and applies nothing.
   * @throws AppError `routes_invalid`, also where the file cannot be read
   */
  async check(): Promise<RouteSet> {
    const { text, digest } = await readTextFile(this.#path, MAX_ROUTE_FILE_BYTES);
    return this.#parse(text, digest);
  }

  /**
   * Loads the file and begins to follow it. May be called again, after a failure or for another model.
   * @throws AppError `routes_invalid` (also where the file cannot be read), or what `apply` throws
   */
  async start({ signal }: { readonly signal?: AbortSignal } = {}): Promise<void> {
    // Whatever came of this content before, a new start wants it applied.
    this.#settled = undefined;
    const stop = new AbortController();
    this.#seen = await fingerprintOf(this.#path);
    const first = this.#load(signal ? AbortSignal.any([signal, stop.signal]) : stop.signal);
    this.#run = { stop, done: first.then(noop, noop) };
    try {
      await first;
    } finally {
      this.#run = undefined;
    }
    await this.#follow();
  }

  status(): RouteFileStatus {
    return {
      file: basename(this.#path),
      digest: this.#applied?.digest,
      loadedAt: this.#applied?.at,
      loading: this.#run !== undefined || this.#debounce !== undefined,
      error: this.#error,
    };
  }

  /** Stops following and aborts an apply that is under way. */
  async close(): Promise<void> {
    this.#closed = true;
    clearInterval(this.#poll);
    clearTimeout(this.#debounce);
    clearTimeout(this.#retry);
    this.#debounce = undefined;
    this.#run?.stop.abort(new AppError('draining', 'the route file is closed'));
    await Promise.all([this.#watcher?.close(), this.#run?.done]);
  }

  /**
   * Follows the folder rather than the file: an editor that renames over the file, or a mounted ConfigMap
   * that swaps its `..data` link, leaves a watch on the file itself behind with the old one. The folder of
   * the link's target is followed too, and a slow poll sees what no event told.
   */
  async #follow(): Promise<void> {
    const target = await realpath(this.#path).catch(() => this.#path);
    const folders = [...new Set([dirname(this.#path), dirname(target)])];
    if (this.#closed || this.#watcher) return;
    const names = new Set([basename(this.#path), basename(target)]);
    this.#watcher = watch(folders, {
      depth: 0,
      ignoreInitial: true,
      followSymlinks: false,
      ignored: (path) =>
        !folders.includes(path) && !names.has(basename(path)) && !basename(path).startsWith('..'),
    });
    this.#watcher.on('all', () => this.#look());
    // Of each folder that cannot be watched.
    this.#watcher.once('error', (error) => {
      this.#options.log.warn({ err: error }, 'route file: watching failed; it is polled instead');
      this.#watcher?.on('error', noop);
    });
    this.#poll = setInterval(() => this.#look(), this.#options.pollMs ?? ROUTE_FILE_DEFAULTS.pollMs);
    this.#poll.unref();
  }

  #look(): void {
    fingerprintOf(this.#path).then((now) => {
      if (this.#closed || now === this.#seen) return;
      this.#seen = now;
      clearTimeout(this.#debounce);
      this.#debounce = setTimeout(() => {
        this.#debounce = undefined;
        this.#restart().catch(noop);
      }, this.#options.debounceMs ?? ROUTE_FILE_DEFAULTS.debounceMs);
    }, noop);
  }

  /** Aborts a load that is under way and begins another, which never rejects. */
  async #restart(): Promise<void> {
    clearTimeout(this.#retry);
    const before = this.#run;
    before?.stop.abort(new AppError('aborted', 'the route file changed again'));
    const stop = new AbortController();
    const run = { stop, done: this.#attempt(stop.signal, before?.done) };
    this.#run = run;
    await run.done;
    if (this.#run === run) this.#run = undefined;
  }

  async #attempt(signal: AbortSignal, before: Promise<void> | undefined): Promise<void> {
    await before;
    if (this.#closed) return;
    try {
      await this.#load(signal);
    } catch (error) {
      if (signal.aborted) return;
      this.#refuse(error);
    }
  }

  async #load(signal: AbortSignal): Promise<void> {
    const { log, apply } = this.#options;
    const { text, digest } = await readTextFile(this.#path, MAX_ROUTE_FILE_BYTES);
    throwIfAborted(signal);
    if (digest === this.#settled?.digest) {
      // Touched, or away for a while: what came of this content last time still holds.
      this.#error = this.#settled.fault;
      return;
    }
    let set: RouteSet;
    try {
      set = this.#parse(text, digest);
    } catch (error) {
      this.#settled = { digest, fault: faultOf(error) };
      throw error;
    }
    await apply(set, { signal });
    throwIfAborted(signal);
    this.#settled = { digest, fault: undefined };
    this.#applied = { digest: set.digest, at: new Date() };
    this.#error = undefined;
    for (const { line, column, path, message } of set.warnings) {
      log.warn(
        { line, column, field: path },
        `route file: ${basename(this.#path)}:${line}:${column}: ${message}`,
      );
    }
    const counts = { routes: set.routes.length, utterances: set.utteranceCount, digest: set.digest };
    log.info(counts, 'route file: loaded');
  }

  #parse(text: string, digest: string): RouteSet {
    const known = this.#parsed;
    if (known?.digest === digest) return known.set;
    const set = parseRouteSet(text, { origin: basename(this.#path) });
    this.#parsed = { digest, set };
    return set;
  }

  #refuse(error: unknown): void {
    const fault = faultOf(error);
    const repeated = this.#error?.message === fault.message;
    this.#error = fault;
    const known = error instanceof AppError;
    if (!repeated) {
      const faults = fault.message.split('\n');
      const fields = {
        code: fault.code,
        digest: this.#applied?.digest,
        ...(known ? { faults } : { err: error }),
      };
      this.#options.log.error(fields, 'route file: refused, the old routes stay');
    }
    if (!known || !error.retryable || this.#closed) return;
    const retryMs = error.retryAfterMs ?? this.#options.retryMs ?? ROUTE_FILE_DEFAULTS.retryMs;
    this.#retry = setTimeout(() => this.#restart().catch(noop), retryMs);
    this.#retry.unref();
  }
}

/** Describes why a set was refused. */
export function faultOf(error: unknown): RouteFileFault {
  const known = error instanceof AppError;
  return {
    code: known ? error.code : 'internal',
    message: messageOf(error),
    issues: known ? error.issues : [],
    at: new Date(),
  };
}

function noop(): void {}

export interface TextFile {
  readonly text: string;
  /** sha256 of its bytes in hex. */
  readonly digest: string;
}

/**
 * Reads a UTF-8 file of bounded size. Messages name the file without its folder.
 * @throws AppError `routes_invalid`: missing, unreadable, no plain file, too large, not UTF-8
 */
export async function readTextFile(path: string, maxBytes: number): Promise<TextFile> {
  const name = basename(path);
  const bytes = await readBounded(path, name, maxBytes);
  const digest = createHash('sha256').update(bytes).digest('hex');
  try {
    return { text: new TextDecoder('utf-8', { fatal: true }).decode(bytes), digest };
  } catch (cause) {
    throw new AppError('routes_invalid', `${name}: is not UTF-8 text`, { cause });
  }
}

/** Changes whenever the file does, or comes, or goes: a cheap way to see that nothing happened. */
export async function fingerprintOf(path: string): Promise<string> {
  try {
    const { dev, ino, size, mtimeNs, ctimeNs } = await stat(path, { bigint: true });
    return [dev, ino, size, mtimeNs, ctimeNs].join(' ');
  } catch (error) {
    return errnoOf(error) ?? 'unreadable';
  }
}

async function readBounded(path: string, name: string, maxBytes: number): Promise<Buffer> {
  let file: FileHandle | undefined;
  try {
    // Asked before it is opened: opening a FIFO would wait for a writer.
    if (!(await stat(path)).isFile()) throw new AppError('routes_invalid', `${name}: is not a file`);
    file = await open(path, 'r');
    if ((await file.stat()).size > maxBytes) {
      throw new AppError('routes_invalid', `${name}: larger than ${maxBytes} bytes`);
    }
    return await file.readFile();
  } catch (error) {
    if (error instanceof AppError) throw error;
    const code = errnoOf(error);
    const reason = code === 'ENOENT' ? 'does not exist' : `cannot be read (${code ?? messageOf(error)})`;
    throw new AppError('routes_invalid', `${name}: ${reason}`, { cause: error });
  } finally {
    await file?.close();
  }
}
