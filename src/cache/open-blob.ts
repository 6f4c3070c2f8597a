import { createHash } from 'node:crypto';
import type { FileHandle } from 'node:fs/promises';
import { Readable } from 'node:stream';
import { AppError, errnoOf } from '../shared/errors.js';
import { asVolumeError, type Fingerprint, fingerprintOf, hashInto, openRegular } from './disk.js';
import { blobPath, type Layout } from './layout.js';
import type { PinnedFile } from './manifest.js';

/** Bytes read at once; a stream holds two of these at most. */
const PIECE_BYTES = 512 * 1_024;

/**
 * Time from the beginning of a piece to that of the next, whoever they are for, in milliseconds; for a smaller piece less.
 * A piece takes up to one of the process, and a client that never reads takes eight of them before the kernel's buffers
 * are full: downloads must leave room for requests. All of them together get up to 170 MB a second.
 */
const PIECE_EVERY_MS = 3;

/** A blob whose bytes were verified, and stay those of one file whatever is renamed to its name meanwhile. */
export interface OpenBlob {
  readonly size: number;
  /**
   * The bytes from `start` to before `end`. The stream owns the blob and closes it at its end or when it is
   * destroyed. It fails instead of ending when the file was written to under it.
   */
  stream(start: number, end: number): Readable;
  /** Closes the blob, where no stream was asked for. */
  close(): Promise<void>;
}

/**
 * Opens blobs for serving. Each is read whole and its digest compared before it is handed out, through the descriptor
 * that is handed out; one that looks as it did then is not read again. One at a time is verified per blob, however many
 * ask. What is in memory, verified, is not looked for on the disk.
 */
export class BlobOpener {
  readonly #layout: Layout;
  /** What each blob looked like when its digest was right. */
  readonly #verified = new Map<string, Fingerprint>();
  readonly #verifying = new Map<string, Promise<void>>();
  readonly #inMemory = new Map<string, Uint8Array>();
  readonly #pace = new Pace();

  constructor(layout: Layout) {
    this.#layout = layout;
  }

  /** Serves a file from now on out of its verified bytes, which are in memory anyway and must not change. */
  keep({ sha256 }: PinnedFile, bytes: Uint8Array): void {
    this.#inMemory.set(sha256, bytes);
  }

  /** @throws AppError `blob_missing`, `blob_corrupt`, `volume_unavailable` */
  async open(file: PinnedFile): Promise<OpenBlob> {
    const bytes = this.#inMemory.get(file.sha256);
    if (bytes) return new BlobInMemory(bytes, this.#pace);
    const path = blobPath(this.#layout, file.sha256);
    let opened: Awaited<ReturnType<typeof openRegular>>;
    try {
      opened = await openRegular(path);
    } catch (error) {
      throw openFault(error, file);
    }
    const { file: handle, stat } = opened;
    try {
      const fingerprint = fingerprintOf(stat);
      // Somebody else's verification may have been of another file under the same name: look again after it.
      while (this.#verified.get(file.sha256) !== fingerprint) {
        const others = this.#verifying.get(file.sha256)?.catch(() => undefined);
        await (others ?? this.#verify(file, handle, fingerprint));
      }
      return new BlobOnDisk(handle, file.size, fingerprint, this.#pace);
    } catch (error) {
      await handle.close();
      throw error instanceof AppError ? error : asVolumeError(error, `cannot read ${file.path}`);
    }
  }

  async #verify(file: PinnedFile, handle: FileHandle, fingerprint: Fingerprint): Promise<void> {
    const verification = compare(file, handle, fingerprint);
    this.#verifying.set(file.sha256, verification);
    try {
      await verification;
      this.#verified.set(file.sha256, fingerprint);
    } finally {
      this.#verifying.delete(file.sha256);
    }
  }
}

/** @throws AppError `blob_corrupt` */
async function compare(file: PinnedFile, handle: FileHandle, fingerprint: Fingerprint): Promise<void> {
  const hash = createHash('sha256');
  const size = await hashInto(hash, handle, 0, file.size);
  const actual = hash.digest('hex');
  const stat = await handle.stat({ bigint: true });
  if (size === file.size && stat.size === BigInt(size) && actual === file.sha256) {
    if (fingerprintOf(stat) === fingerprint) return;
    throw new AppError('blob_corrupt', `${file.path}: was changed while it was read`, { retryable: true });
  }
  throw new AppError('blob_corrupt', `${file.path}: ${stat.size} bytes with sha256 ${actual}`, {
    retryable: true,
  });
}

class BlobOnDisk implements OpenBlob {
  readonly size: number;
  readonly #handle: FileHandle;
  readonly #fingerprint: Fingerprint;
  readonly #pace: Pace;

  constructor(handle: FileHandle, size: number, fingerprint: Fingerprint, pace: Pace) {
    this.#handle = handle;
    this.size = size;
    this.#fingerprint = fingerprint;
    this.#pace = pace;
  }

  stream(start: number, end: number): Readable {
    const read = (position: number): Promise<Buffer> =>
      readPiece(this.#handle, position, end, this.#fingerprint);
    return piecesOf(start, end, read, this.#pace, () => this.close());
  }

  async close(): Promise<void> {
    await this.#handle.close();
  }
}

class BlobInMemory implements OpenBlob {
  readonly #bytes: Uint8Array;
  readonly #pace: Pace;

  constructor(bytes: Uint8Array, pace: Pace) {
    this.#bytes = bytes;
    this.#pace = pace;
  }

  get size(): number {
    return this.#bytes.length;
  }

  stream(start: number, end: number): Readable {
    const read = async (position: number): Promise<Uint8Array> =>
      this.#bytes.subarray(position, Math.min(position + PIECE_BYTES, end));
    return piecesOf(start, end, read, this.#pace, this.close);
  }

  async close(): Promise<void> {}
}

/**
 * A stream of what `read` gives from `start` to before `end`. Not made of a generator: one that was never
 * begun does not run its `finally`, and a descriptor would leak.
 */
function piecesOf(
  start: number,
  end: number,
  read: (position: number) => Promise<Uint8Array>,
  pace: Pace,
  close: () => Promise<void>,
): Readable {
  let position = start;
  let leave = (): void => undefined;
  return new Readable({
    highWaterMark: PIECE_BYTES,
    read() {
      const next = async (): Promise<void> => {
        const piece = await read(position);
        position += piece.length;
        if (piece.length > 0) this.push(piece);
        if (position >= end) this.push(null);
      };
      leave = pace.enter(end - position, () => {
        next().catch((error: unknown) => this.destroy(asVolumeError(error, 'cannot read a blob')));
      });
    },
    destroy(error, callback) {
      leave();
      close().then(
        () => callback(error),
        () => callback(error),
      );
    },
  });
}

/** Lets pieces be read one after the other, some time apart. */
class Pace {
  readonly #waiting = new Map<() => void, number>();
  #timer: NodeJS.Timeout | undefined;
  /** When the next one may begin, on the clock of `performance.now()`. */
  #next = 0;

  /**
   * Calls `begin` when its turn has come.
   * @param bytes that are to be read, of which a piece is read at most
   * @returns gives the turn up, if it has not come yet
   */
  enter(bytes: number, begin: () => void): () => void {
    this.#waiting.set(begin, (PIECE_EVERY_MS * Math.min(bytes, PIECE_BYTES)) / PIECE_BYTES);
    if (!this.#timer) this.#run();
    return () => void this.#waiting.delete(begin);
  }

  #run(): void {
    this.#timer = undefined;
    for (const [begin, takesMs] of this.#waiting) {
      const now = performance.now();
      if (now < this.#next) {
        this.#timer = setTimeout(() => this.#run(), this.#next - now);
        return;
      }
      this.#waiting.delete(begin);
      this.#next = now + takesMs;
      begin();
    }
  }
}

/** The next piece; before the last one, a look whether the file is still the verified one. */
async function readPiece(
  handle: FileHandle,
  position: number,
  end: number,
  fingerprint: Fingerprint,
): Promise<Buffer> {
  const wanted = Math.min(PIECE_BYTES, end - position);
  if (wanted <= 0) return Buffer.alloc(0);
  const piece = Buffer.allocUnsafe(wanted);
  const { bytesRead } = await handle.read(piece, 0, wanted, position);
  if (bytesRead < wanted) throw new AppError('blob_corrupt', 'a blob was cut while it was served');
  if (position + wanted < end) return piece;
  if (!sameContent(fingerprintOf(await handle.stat({ bigint: true })), fingerprint)) {
    throw new AppError('blob_corrupt', 'a blob was written to while it was served');
  }
  return piece;
}

/** Another name, or none any more (a repair renamed a new file over it), changes ctime but not the content. */
function sameContent(a: Fingerprint, b: Fingerprint): boolean {
  const withoutChangeTime = (fingerprint: Fingerprint): string =>
    fingerprint.slice(0, fingerprint.lastIndexOf(':'));
  return withoutChangeTime(a) === withoutChangeTime(b);
}

function openFault(error: unknown, file: PinnedFile): AppError {
  if (error instanceof AppError) return error;
  switch (errnoOf(error)) {
    case 'ENOENT':
    case 'ENOTDIR':
      return new AppError('blob_missing', `${file.path}: not on the volume`, { retryable: true });
    case 'ELOOP':
    case 'ENXIO':
      return new AppError('blob_corrupt', `${file.path}: not a regular file`, { retryable: true });
    default:
      return asVolumeError(error, `cannot open ${file.path}`);
  }
}
