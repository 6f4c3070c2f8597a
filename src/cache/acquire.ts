import { createHash } from 'node:crypto';
import { AppError, messageOf } from '../shared/errors.js';
import type { PinnedFile } from './manifest.js';
import type { Source, WantedFile } from './source.js';
import { digestFault, isHostFault, tooLargeFault, truncatedFault } from './sources/faults.js';

/** How a source failed for one file, or for all of them where its host as a whole cannot be reached. */
export interface SourceFailure {
  readonly source: string;
  readonly path: string;
  readonly code: AppError['code'];
  readonly message: string;
  readonly retryAfterMs: number | undefined;
}

/** Where the bytes of one file go; `IngestWriter` keeps this contract on a volume. */
export interface FileSink {
  /** Bytes that are there already, not yet verified. */
  readonly offset: number;
  restart(): Promise<void>;
  /** @throws AppError `source_too_large` beyond the pinned size */
  write(bytes: Uint8Array): Promise<void>;
  /** @throws AppError `source_truncated`, `source_wrong_bytes` */
  commit(): Promise<void>;
  close(): Promise<void>;
  discard(): Promise<void>;
}

/** Where files go: a store, or memory. */
export interface Sink {
  /** @throws AppError `volume_full` */
  makeRoom(bytes: number): Promise<void>;
  ingest(file: PinnedFile, signal: AbortSignal): Promise<FileSink>;
}

/** Sees what `acquire` does. */
export interface AcquireObserver {
  /** `received` more bytes of a file came from a source; `bytes` of it are there now. */
  progress?(file: PinnedFile, bytes: number, source: string, received: number): void;
  /** A file is whole and published. */
  committed?(file: PinnedFile, source: string): void;
  /** A source could not give a file; the next one is tried. */
  failed?(failure: SourceFailure): void;
}

/**
 * Brings `files` to their sink from the first source that delivers the pinned bytes of each.
 * @throws AppError `sources_exhausted` when some file could be had nowhere (with every reason), `volume_…` when
 * the volume cannot take them, `aborted`
 */
export async function acquire(
  sink: Sink,
  sources: readonly Source[],
  files: readonly PinnedFile[],
  observer: AcquireObserver,
  signal: AbortSignal,
): Promise<void> {
  // Two paths may pin the same bytes; they are one blob.
  const missing = new Map(files.map((file) => [file.sha256, file]));
  const count = missing.size;
  await sink.makeRoom([...missing.values()].reduce((sum, file) => sum + file.size, 0));
  const failures: SourceFailure[] = [];
  for (const source of sources) {
    const context: FetchContext = {
      ...{ sink, source, observer, signal, unreachable: false },
      committed: (file) => {
        missing.delete(file.sha256);
        observer.committed?.(file, source.name);
      },
      failed: (file, error) => {
        const failure = failureOf(source, file, error);
        // Files side by side that meet the same dead host have one failure.
        if (failures.some(({ source, message }) => source === failure.source && message === failure.message))
          return;
        failures.push(failure);
        observer.failed?.(failure);
      },
    };
    await fetchFrom(context, [...missing.values()]);
    if (missing.size === 0) return;
  }
  const waits = failures.flatMap(({ retryAfterMs }) => retryAfterMs ?? []);
  const reasons = reasonsOf(failures).join('; ');
  throw new AppError(
    'sources_exhausted',
    `no source delivers ${namesOf([...missing.values()], count)}: ${reasons || 'none is configured'}; ` +
      'open the way to one, or add another to MODEL_SOURCES ("ai-router doctor" tries each)',
    { retryable: true, ...(waits.length > 0 && { retryAfterMs: Math.min(...waits) }) },
  );
}

/** The missing files for a message: by name where they are few, or not all that were wanted. */
function namesOf(missing: readonly PinnedFile[], wanted: number): string {
  if (missing.length === wanted && wanted > 2) return `the ${wanted} missing files`;
  const named = missing.slice(0, 3).map(({ path }) => path);
  return [...named, ...(missing.length > 3 ? [`${missing.length - 3} more`] : [])].join(', ');
}

/** Each source with its faults; one that it has for several files is said once. */
function reasonsOf(failures: readonly SourceFailure[]): string[] {
  const groups = new Map<string, SourceFailure[]>();
  for (const failure of failures) {
    const key = `${failure.source}: ${causeOf(failure)}`;
    groups.set(key, [...(groups.get(key) ?? []), failure]);
  }
  return [...groups].map(([text, [first, ...others]]) =>
    first && others.length === 0 ? reasonOf(first) : `${text} (${others.length + 1} files)`,
  );
}

/** The cause of a failure without its file and address. */
function causeOf({ path, message }: SourceFailure): string {
  return message.startsWith(`${path} from `) ? message.replace(/^.*? from \S+: /, '') : message;
}

/** A mirror is called by its host, which need not be said twice. */
function reasonOf({ source, message }: SourceFailure): string {
  const [host = '', ...rest] = message.split(': ');
  return rest.length > 0 && source.endsWith(` ${host}`)
    ? `${source}: ${rest.join(': ')}`
    : `${source}: ${message}`;
}

/**
 * Brings files into memory without any volume.
 * @returns the bytes by path, each equal to its pin
 * @throws AppError as {@link acquire}
 */
export async function fetchIntoMemory(
  sources: readonly Source[],
  files: readonly PinnedFile[],
  signal: AbortSignal,
): Promise<ReadonlyMap<string, Buffer>> {
  const found = new Map<string, Buffer>();
  const sink: Sink = {
    makeRoom: async () => undefined,
    ingest: async (file) => memorySink(file, (bytes) => found.set(file.path, bytes)),
  };
  await acquire(sink, sources, files, {}, signal);
  return found;
}

function memorySink({ path, size, sha256 }: PinnedFile, publish: (bytes: Buffer) => void): FileSink {
  const bytes = Buffer.allocUnsafeSlow(size);
  let offset = 0;
  return {
    get offset() {
      return offset;
    },
    async restart() {
      offset = 0;
    },
    async write(piece) {
      if (offset + piece.length > size) throw tooLargeFault(path, size);
      bytes.set(piece, offset);
      offset += piece.length;
    },
    async commit() {
      if (offset < size) throw truncatedFault(path, offset, size);
      const actual = createHash('sha256').update(bytes).digest('hex');
      if (actual !== sha256) throw digestFault(path, actual, sha256);
      publish(bytes);
    },
    close: async () => undefined,
    discard: async () => undefined,
  };
}

interface FetchContext {
  readonly sink: Sink;
  readonly source: Source;
  readonly observer: AcquireObserver;
  readonly signal: AbortSignal;
  /** Set once its host as a whole cannot be reached: five files from one dead source are one failure. */
  unreachable: boolean;
  readonly committed: (file: PinnedFile) => void;
  readonly failed: (file: PinnedFile, error: unknown) => void;
}

/** Takes what one source can give: an archive in one call, anything else file by file, several at once. */
async function fetchFrom(context: FetchContext, files: readonly PinnedFile[]): Promise<void> {
  if (context.source.atOnce) return fetchBatch(context, files);
  const queue = [...files].sort((a, b) => b.size - a.size);
  const lanes = Array.from({ length: Math.min(context.source.concurrency, queue.length) }, async () => {
    for (let file = queue.shift(); file && !context.unreachable; file = queue.shift()) {
      await fetchBatch(context, [file]);
    }
  });
  // All of them end before the first failure is passed on: nothing goes on in the background.
  const results = await Promise.allSettled(lanes);
  for (const result of results) if (result.status === 'rejected') throw result.reason;
}

async function fetchBatch(context: FetchContext, files: readonly PinnedFile[]): Promise<void> {
  const { sink, source, observer, signal } = context;
  const writers = new Map<string, FileSink>();
  const open = new Map(files.map((file) => [file.sha256, file]));
  try {
    const wanted: WantedFile[] = [];
    for (const file of files) {
      const writer = await sink.ingest(file, signal);
      writers.set(file.sha256, writer);
      wanted.push({ file, offset: writer.offset });
    }
    for await (const { file, offset, bytes } of source.deliver(wanted, signal)) {
      const writer = writers.get(file.sha256);
      if (!writer || !open.has(file.sha256)) continue;
      if (offset !== writer.offset) await writer.restart();
      for await (const piece of bytes) {
        await writer.write(piece);
        observer.progress?.(file, writer.offset, source.name, piece.length);
      }
      try {
        await writer.commit();
        context.committed(file);
      } catch (error) {
        // Bytes of an earlier attempt may be what was wrong; without them the source gets a fair try.
        const isWrong = error instanceof AppError && error.code === 'source_wrong_bytes';
        if (offset === 0 || !isWrong) throw error;
        await fetchBatch(context, [file]);
      }
      open.delete(file.sha256);
    }
    for (const file of open.values()) {
      context.failed(file, new AppError('source_not_found', `${file.path}: not delivered`));
    }
  } catch (error) {
    if (signal.aborted) throw new AppError('aborted', 'stopped while fetching', { cause: error });
    if (error instanceof AppError && !error.code.startsWith('source_')) {
      // A full volume is not helped by half a file on it.
      if (error.code === 'volume_full') for (const writer of writers.values()) await writer.discard();
      throw error;
    }
    context.unreachable ||= isHostFault(error);
    for (const file of open.values()) context.failed(file, error);
  } finally {
    for (const writer of writers.values()) await writer.close();
  }
}

function failureOf(source: Source, file: PinnedFile, error: unknown): SourceFailure {
  const { code, retryAfterMs } = error instanceof AppError ? error : { code: 'source_unreachable' as const };
  return { source: source.name, path: file.path, code, message: messageOf(error), retryAfterMs };
}
