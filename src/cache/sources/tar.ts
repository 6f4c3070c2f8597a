import { pipeline, Readable } from 'node:stream';
import { createGunzip } from 'node:zlib';
import { extract } from 'tar-stream';
import { AppError, errnoOf, messageOf } from '../../shared/errors.js';
import { wrongBytes } from './faults.js';

export interface TarEntry {
  readonly path: string;
  readonly size: number;
  /** Whether it is a regular file. Links, devices, folders and unknown kinds are not. */
  readonly isFile: boolean;
}

/** Archives without a magic number, of which the library's types do not know. */
const V7 = { allowUnknownFormat: true };

/** Bounds and words for the reading of an archive. */
export interface TarOptions {
  /** Neither the packed nor the unpacked archive may be longer. */
  readonly maxBytes: number;
  /** Which archive, and from where, in messages. */
  readonly place: string;
  /** Whether a lost connection would look like the end of the archive, so that an early end is worth another attempt. */
  readonly mayBeCut: boolean;
}

/**
 * Reads a tar archive entry by entry in its order, gzipped or not: its first bytes decide, neither its name nor its
 * `Content-Encoding`. It holds a header and a few pieces of content at a time, and touches no file system.
 */
export class TarReader {
  readonly #options: TarOptions;
  readonly #extract = extract({ highWaterMark: 65_536, ...V7 });
  readonly #entries = this.#extract[Symbol.asyncIterator]();
  #content: AsyncIterator<Uint8Array> | undefined;
  /** How many zero bytes the archive ends with so far. */
  #zeros = 0;

  constructor(pieces: AsyncIterable<Uint8Array>, options: TarOptions) {
    this.#options = options;
    this.#extract.on('error', () => undefined);
    this.#pump(pieces).catch((error: Error) => this.#extract.destroy(error));
  }

  /**
   * Returns the next entry, or `undefined` at the end. The rest of the present one is passed over.
   * @throws AppError `source_truncated`, `source_wrong_bytes`, `source_too_large`, and those of the pieces
   */
  async next(): Promise<TarEntry | undefined> {
    while (await this.read());
    const { value: entry } = await this.#named(this.#entries.next());
    if (entry === undefined) {
      // The end of an archive is marked with two blocks of zeros; without them it may have been cut between two entries.
      if (this.#zeros < 1_024) throw this.#truncated();
      return undefined;
    }
    const { name, size = 0, type } = entry.header;
    this.#content = entry[Symbol.asyncIterator]() as AsyncIterator<Uint8Array>;
    const isFile = (type === 'file' || type === 'contiguous-file') && !name.endsWith('/');
    return { path: name, size, isFile };
  }

  /** Returns the next piece of the present entry's content, or `undefined` at its end; throws as `next`. */
  async read(): Promise<Uint8Array | undefined> {
    const result = this.#content && (await this.#named(this.#content.next()));
    if (result?.done === false) return result.value;
    this.#content = undefined;
    return undefined;
  }

  /** Gives up what is left. */
  close(): void {
    this.#extract.destroy(null);
  }

  async #pump(pieces: AsyncIterable<Uint8Array>): Promise<void> {
    for await (const piece of bounded(
      unpacked(bounded(pieces, this.#options), this.#options),
      this.#options,
    )) {
      if (this.#extract.destroyed) return;
      const last = piece.findLastIndex((byte) => byte !== 0);
      this.#zeros = last < 0 ? this.#zeros + piece.length : piece.length - last - 1;
      if (!this.#extract.write(piece)) await this.#drained();
    }
    this.#extract.end(null);
  }

  #drained(): Promise<void> {
    return new Promise((resolve) => {
      const done = (): void => {
        this.#extract.off('drain', done);
        this.#extract.off('close', done);
        resolve();
      };
      this.#extract.on('drain', done);
      this.#extract.on('close', done);
    });
  }

  /** Puts the library's errors into the project's words. */
  async #named<T>(result: Promise<T>): Promise<T> {
    try {
      return await result;
    } catch (cause) {
      if (cause instanceof AppError) throw cause;
      if (messageOf(cause) === 'Unexpected end of data') throw this.#truncated();
      throw wrongBytes(`${this.#options.place}: not a tar archive, or a damaged one`, cause);
    }
  }

  #truncated(): AppError {
    return new AppError('source_truncated', `${this.#options.place}: the archive ends too early`, {
      retryable: this.#options.mayBeCut,
    });
  }
}

async function* bounded(
  pieces: AsyncIterable<Uint8Array>,
  { maxBytes, place }: TarOptions,
): AsyncGenerator<Uint8Array> {
  let total = 0;
  for await (const piece of pieces) {
    total += piece.length;
    if (total > maxBytes) {
      throw new AppError('source_too_large', `${place}: an archive of more than ${maxBytes} bytes`);
    }
    yield piece;
  }
}

/** The pieces as they are or, where they begin as gzip does, unzipped. */
async function* unpacked(
  pieces: AsyncGenerator<Uint8Array>,
  options: TarOptions,
): AsyncGenerator<Uint8Array> {
  let head: Uint8Array = new Uint8Array(0);
  while (head.length < 2) {
    const { done, value } = await pieces.next();
    if (done) break;
    head = head.length === 0 ? value : Buffer.concat([head, value]);
  }
  const all = (async function* () {
    if (head.length > 0) yield head;
    yield* pieces;
  })();
  yield* head[0] === 0x1f && head[1] === 0x8b ? gunzip(all, options) : all;
}

async function* gunzip(
  packed: AsyncIterable<Uint8Array>,
  { place, mayBeCut }: TarOptions,
): AsyncGenerator<Uint8Array> {
  // One piece at a time: by default sixteen would wait in line.
  const input = Readable.from(packed, { highWaterMark: 1 });
  const unzipped = createGunzip({ chunkSize: 65_536 });
  // Failures of either side arrive at `unzipped`, which is read below.
  pipeline(input, unzipped, () => undefined);
  try {
    yield* unzipped as AsyncIterable<Uint8Array>;
  } catch (cause) {
    if (cause instanceof AppError) throw cause;
    if (errnoOf(cause) !== 'Z_BUF_ERROR')
      throw wrongBytes(`${place}: damaged gzip (${messageOf(cause)})`, cause);
    throw new AppError('source_truncated', `${place}: the gzip stream ends too early`, {
      retryable: mayBeCut,
      cause,
    });
  } finally {
    unzipped.destroy();
  }
}
