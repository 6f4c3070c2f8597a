import { createHash } from 'node:crypto';
import type { FileHandle } from 'node:fs/promises';
import { Readable } from 'node:stream';
import { AppError, errnoOf } from '../shared/errors.js';
import { asVolumeError, type Fingerprint, fingerprintOf, hashInto, openRegular } from './disk.js';
import { blobPath, type Layout } from './layout.js';
import type { PinnedFile } from './manifest.js';

/** Bytes read at once: a stream holds two of these at most, and other requests get their turn between them. */
const PIECE_BYTES = 256 * 1_024;

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
 * ask.
 */
export class BlobOpener {
  readonly #layout: Layout;
  /** Fingerprint of each blob when its digest was right. */
  readonly #verified = new Map<string, Fingerprint>();
  readonly #verifying = new Map<string, Promise<void>>();

  constructor(layout: Layout) {
    this.#layout = layout;
  }

  /** @throws AppError `blob_missing`, `blob_corrupt`, `volume_unavailable` */
  async open(file: PinnedFile): Promise<OpenBlob> {
    const { file: handle, stat } = await openRegular(blobPath(this.#layout, file.sha256)).catch((error) => {
      throw openFault(error, file);
    });
    try {
      const fingerprint = fingerprintOf(stat);
      // A verification under way may be of another file under the same name: look again after it.
      while (this.#verified.get(file.sha256) !== fingerprint) {
        const others = this.#verifying.get(file.sha256)?.catch(() => undefined);
        await (others ?? this.#verify(file, handle, fingerprint));
      }
      return {
        size: file.size,
        stream: (start, end) => streamOf(handle, start, end, fingerprint),
        close: () => handle.close(),
      };
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
  const isRight = size === file.size && stat.size === BigInt(size) && actual === file.sha256;
  if (isRight && fingerprintOf(stat) === fingerprint) return;
  const reason = isRight ? 'was changed while it was read' : `${stat.size} bytes with sha256 ${actual}`;
  throw new AppError('blob_corrupt', `${file.path}: ${reason}`, { retryable: true });
}

/** Not made of a generator: one that was never begun does not run its `finally`, and a descriptor would leak. */
function streamOf(handle: FileHandle, start: number, end: number, fingerprint: Fingerprint): Readable {
  let position = start;
  return new Readable({
    highWaterMark: PIECE_BYTES,
    read() {
      readPiece(handle, position, end, fingerprint).then(
        (piece) => {
          position += piece.length;
          if (piece.length > 0) this.push(piece);
          if (position >= end) this.push(null);
        },
        (error: unknown) => this.destroy(asVolumeError(error, 'cannot read a blob')),
      );
    },
    destroy(error, callback) {
      const done = (): void => callback(error);
      handle.close().then(done, done);
    },
  });
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
  // Another name, or none any more (a repair renamed a new file over it), changes ctime but not the content.
  const content = (text: Fingerprint): string => text.slice(0, text.lastIndexOf(':'));
  if (content(fingerprintOf(await handle.stat({ bigint: true }))) === content(fingerprint)) return piece;
  throw new AppError('blob_corrupt', 'a blob was written to while it was served');
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
