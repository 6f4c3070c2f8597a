import { AppError, messageOf } from '../shared/errors.js';
import type { IngestWriter } from './ingest.js';
import type { PinnedFile } from './manifest.js';
import type { Source, WantedFile } from './source.js';
import type { ContentStore } from './store.js';

/** How a source failed for one file (or for all that it was asked for). */
export interface SourceFailure {
  readonly source: string;
  readonly path: string;
  readonly code: AppError['code'];
  readonly message: string;
  readonly retryAfterMs: number | undefined;
}

/** What `acquire` tells while it works. */
export interface AcquireObserver {
  /** `received` more bytes of a file came from a source; `bytes` of it are on disk now. */
  progress(file: PinnedFile, bytes: number, source: string, received: number): void;
  /** A file is whole and published. */
  committed(file: PinnedFile, source: string): void;
  /** A source could not give a file; the next one is tried. */
  failed(failure: SourceFailure): void;
}

/**
 * Brings `files` onto the volume from the first source that delivers the pinned bytes of each.
 * @throws AppError `sources_exhausted` when some file could be had nowhere (with every reason), `volume_…` when
 * the volume cannot take them, `aborted`
 */
export async function acquire(
  store: ContentStore,
  sources: readonly Source[],
  files: readonly PinnedFile[],
  observer: AcquireObserver,
  signal: AbortSignal,
): Promise<void> {
  // Two paths may pin the same bytes; they are one blob.
  const missing = new Map(files.map((file) => [file.sha256, file]));
  const total = [...missing.values()].reduce((sum, file) => sum + file.size, 0);
  await store.makeRoom(total);
  const failures: SourceFailure[] = [];
  for (const source of sources) {
    const committed = (file: PinnedFile): void => {
      missing.delete(file.sha256);
      observer.committed(file, source.name);
    };
    const failed = (file: PinnedFile, error: unknown): void => {
      const failure = {
        source: source.name,
        path: file.path,
        code: error instanceof AppError ? error.code : ('source_unreachable' as const),
        message: messageOf(error),
        retryAfterMs: error instanceof AppError ? error.retryAfterMs : undefined,
      };
      failures.push(failure);
      observer.failed(failure);
    };
    await drawFrom(source, { store, files: [...missing.values()], observer, signal, committed, failed });
    if (missing.size === 0) return;
  }
  const reasons = failures.map(({ source, path, message }) => `\n  ${source}: ${path}: ${message}`);
  const waits = failures.flatMap(({ retryAfterMs }) => retryAfterMs ?? []);
  throw new AppError(
    'sources_exhausted',
    `no source delivered ${[...missing.values()].map(({ path }) => path).join(', ')}:${reasons.join('') || ' none is configured'}`,
    { retryable: true, ...(waits.length > 0 && { retryAfterMs: Math.min(...waits) }) },
  );
}

interface Draw {
  readonly store: ContentStore;
  readonly files: readonly PinnedFile[];
  readonly observer: AcquireObserver;
  readonly signal: AbortSignal;
  readonly committed: (file: PinnedFile) => void;
  readonly failed: (file: PinnedFile, error: unknown) => void;
}

/** Takes what one source can give: an archive in one call, anything else file by file, several at once. */
async function drawFrom(source: Source, draw: Draw): Promise<void> {
  if (source.atOnce) return drawTogether(source, draw.files, draw);
  const queue = [...draw.files].sort((a, b) => b.size - a.size);
  const lanes = Array.from({ length: Math.min(source.concurrency, queue.length) }, async () => {
    for (let file = queue.shift(); file; file = queue.shift()) await drawTogether(source, [file], draw);
  });
  await settle(lanes);
}

async function drawTogether(source: Source, files: readonly PinnedFile[], draw: Draw): Promise<void> {
  const writers = new Map<string, IngestWriter>();
  const open = new Map(files.map((file) => [file.sha256, file]));
  try {
    const wanted: WantedFile[] = [];
    for (const file of files) {
      const writer = await draw.store.ingest(file, draw.signal);
      writers.set(file.sha256, writer);
      wanted.push({ file, offset: writer.offset });
    }
    for await (const delivery of source.deliver(wanted, draw.signal)) {
      const { file } = delivery;
      const writer = writers.get(file.sha256);
      if (!writer || !open.has(file.sha256)) continue;
      if (delivery.offset !== writer.offset) await writer.restart();
      for await (const bytes of delivery.bytes) {
        await writer.write(bytes);
        draw.observer.progress(file, writer.offset, source.name, bytes.length);
      }
      const resumed = delivery.offset > 0;
      try {
        await writer.commit();
        draw.committed(file);
      } catch (error) {
        // Bytes of an earlier attempt may be what was wrong; without them the source gets a fair try.
        if (!(resumed && isWrongBytes(error))) throw error;
        await drawTogether(source, [file], draw);
      }
      open.delete(file.sha256);
    }
    for (const file of open.values()) {
      draw.failed(file, new AppError('source_not_found', 'not delivered'));
    }
  } catch (error) {
    if (draw.signal.aborted) throw new AppError('aborted', 'stopped while fetching', { cause: error });
    if (error instanceof AppError && !error.code.startsWith('source_')) {
      // A full volume is not helped by half a file on it.
      if (error.code === 'volume_full') for (const writer of writers.values()) await writer.discard();
      throw error;
    }
    for (const file of open.values()) draw.failed(file, error);
  } finally {
    for (const writer of writers.values()) await writer.close();
  }
}

function isWrongBytes(error: unknown): boolean {
  return error instanceof AppError && error.code === 'source_wrong_bytes';
}

/** Waits for all, then fails with the first failure: nothing goes on in the background. */
async function settle(tasks: readonly Promise<void>[]): Promise<void> {
  const results = await Promise.allSettled(tasks);
  for (const result of results) if (result.status === 'rejected') throw result.reason;
}
