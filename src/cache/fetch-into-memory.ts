import { createHash } from 'node:crypto';
import { AppError, messageOf } from '../shared/errors.js';
import type { PinnedFile } from './manifest.js';
import type { Delivery, Source } from './source.js';

/**
 * Brings files into memory without any volume, from the first source that delivers the pinned bytes of each.
 * @returns the bytes by path, each equal to its pin
 * @throws AppError `sources_exhausted` with every reason, `aborted`
 */
export async function gather(
  sources: readonly Source[],
  files: readonly PinnedFile[],
  signal: AbortSignal,
): Promise<ReadonlyMap<string, Buffer>> {
  const found = new Map<string, Buffer>();
  const reasons: string[] = [];
  for (const source of sources) {
    const missing = files.filter(({ path }) => !found.has(path));
    const calls = source.atOnce ? [missing] : missing.map((file) => [file]);
    for (const wanted of calls) {
      try {
        const deliveries = source.deliver(
          wanted.map((file) => ({ file, offset: 0 })),
          signal,
        );
        for await (const delivery of deliveries) found.set(delivery.file.path, await collect(delivery));
      } catch (error) {
        if (signal.aborted) throw new AppError('aborted', 'stopped while fetching', { cause: error });
        reasons.push(`\n  ${source.name}: ${messageOf(error)}`);
      }
    }
    if (found.size === files.length) return found;
  }
  const missing = files.filter(({ path }) => !found.has(path)).map(({ path }) => path);
  throw new AppError(
    'sources_exhausted',
    `no source delivered ${missing.join(', ')}:${reasons.join('') || ' none is configured'}`,
    { retryable: true },
  );
}

async function collect({ file, bytes }: Delivery): Promise<Buffer> {
  const buffer = Buffer.allocUnsafeSlow(file.size);
  let length = 0;
  for await (const piece of bytes) {
    if (length + piece.length > file.size) {
      throw new AppError('source_too_large', `${file.path}: more than the pinned ${file.size} bytes`);
    }
    buffer.set(piece, length);
    length += piece.length;
  }
  if (length < file.size) {
    throw new AppError('source_truncated', `${file.path}: ${length} of ${file.size} bytes`, {
      retryable: true,
    });
  }
  const actual = createHash('sha256').update(buffer).digest('hex');
  if (actual === file.sha256) return buffer;
  throw new AppError('source_wrong_bytes', `${file.path}: sha256 is ${actual}, pinned is ${file.sha256}`);
}
