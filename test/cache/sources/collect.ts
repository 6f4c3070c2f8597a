import type { PinnedFile } from '../../../src/cache/manifest.js';
import type { Source, WantedFile } from '../../../src/cache/source.js';
import type { WireLimits } from '../../../src/cache/sources/retry.js';
import { AppError } from '../../../src/shared/errors.js';

/** Pauses that make a test short, and patience for as long as a busy machine may make both ends wait. */
export const FAST: Partial<WireLimits> = {
  connectTimeoutMs: 20_000,
  headersTimeoutMs: 20_000,
  idleTimeoutMs: 20_000,
  fileDeadlineMs: 60_000,
  minBytesPerSecond: 0,
  rateWindowMs: 250,
  attempts: 3,
  backoffBaseMs: 10,
  backoffCapMs: 40,
  retryAfterCapMs: 1_500,
};

/** For a server that falls silent once and then answers, which it has to be given the time for. */
export const SILENT_ONCE: Partial<WireLimits> = { ...FAST, headersTimeoutMs: 2_000, idleTimeoutMs: 2_000 };

/** For a server that is silent for good. */
export const IMPATIENT: Partial<WireLimits> = { ...FAST, headersTimeoutMs: 500, idleTimeoutMs: 300 };

/** Received part of one file. */
export interface Arrived {
  readonly path: string;
  readonly offset: number;
  readonly bytes: Buffer;
}

export const never = new AbortController().signal;

/** Wants `files` from their beginning. */
export function wanted(...files: PinnedFile[]): WantedFile[] {
  return files.map((file) => ({ file, offset: 0 }));
}

/** Takes everything that `source` delivers. */
export async function collect(
  source: Source,
  files: readonly WantedFile[],
  signal = never,
): Promise<Arrived[]> {
  const arrived: Arrived[] = [];
  for await (const { file, offset, bytes } of source.deliver(files, signal)) {
    const pieces: Uint8Array[] = [];
    for await (const piece of bytes) pieces.push(piece);
    arrived.push({ path: file.path, offset, bytes: Buffer.concat(pieces) });
  }
  return arrived;
}

/** Takes one file from its beginning, or from `offset`. */
export async function fetchOne(source: Source, file: PinnedFile, offset = 0): Promise<Arrived> {
  const [arrived] = await collect(source, [{ file, offset }]);
  if (!arrived) throw new Error(`${file.path} was not delivered`);
  return arrived;
}

/** The AppError that `promise` fails with. */
export async function faultOf(promise: Promise<unknown>): Promise<AppError> {
  try {
    await promise;
  } catch (error) {
    if (error instanceof AppError) return error;
    throw error;
  }
  throw new Error('did not fail');
}
