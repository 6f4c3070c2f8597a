import { AppError } from '../../shared/errors.js';
import type { ByteReader } from './byte-reader.js';
import { BLOCK_BYTES, isZeroBlock, parsePax, parseTarHeader, type TarHeader, text } from './tar-header.js';

/** Long names and PAX records are never longer than this; an archive that says so wants memory. */
const MAX_META_BYTES = 1_048_576;

/** An entry of an archive. */
export interface TarEntry {
  readonly path: string;
  readonly size: number;
  /** Whether it is a regular file. Links, devices, folders and unknown kinds are not. */
  readonly isFile: boolean;
}

/**
 * Reads a tar archive entry by entry in its order: ustar, GNU and PAX, with their long names and large sizes. It
 * holds a header and a piece of content at a time, and touches no file system.
 */
export class TarReader {
  readonly #bytes: ByteReader;
  readonly #place: string;
  readonly #mayBeCut: boolean;
  /** Of the present entry: bytes of content not yet read, and of padding after it. */
  #left = 0;
  #padding = 0;
  /** Whether the archive's end mark was seen. Without it, an archive may have been cut between two entries. */
  hasEnded = false;

  /**
   * `place` says which archive, and from where; `mayBeCut` whether a lost connection would look like the end of
   * the archive, so that an early end is worth another attempt.
   */
  constructor(bytes: ByteReader, place: string, mayBeCut: boolean) {
    this.#bytes = bytes;
    this.#place = place;
    this.#mayBeCut = mayBeCut;
  }

  /**
   * The next entry, or `undefined` at the end. What is left of the present one is passed over.
   * @throws AppError `source_truncated`, `source_wrong_bytes`
   */
  async next(): Promise<TarEntry | undefined> {
    let longName: string | undefined;
    let pax: ReturnType<typeof parsePax> = {};
    for (;;) {
      const header = await this.#header();
      if (!header) return undefined;
      switch (header.type) {
        case 'L':
          longName = text(await this.#meta(header));
          break;
        case 'x':
          pax = parsePax(await this.#meta(header));
          break;
        case 'K':
        case 'g':
          this.#enter(header.size);
          break;
        default: {
          const path = pax.path ?? longName ?? header.path;
          const size = header.hasContent ? (pax.size ?? header.size) : 0;
          this.#enter(size);
          return { path, size, isFile: header.type === '0' && !path.endsWith('/') };
        }
      }
    }
  }

  /**
   * The next piece of the present entry's content, of `limit` bytes at most, or `undefined` at its end.
   * @throws AppError `source_truncated`
   */
  async read(limit = Infinity): Promise<Uint8Array | undefined> {
    if (this.#left === 0) return undefined;
    const piece = await this.#bytes.some(Math.min(limit, this.#left));
    if (!piece) throw this.truncated();
    this.#left -= piece.length;
    return piece;
  }

  /** The fault of an archive that ended too early. */
  truncated(): AppError {
    return new AppError('source_truncated', `${this.#place}: the archive ends too early`, {
      retryable: this.#mayBeCut,
    });
  }

  async #header(): Promise<TarHeader | undefined> {
    const rest = this.#left + this.#padding;
    this.#enter(0);
    if ((await this.#bytes.skip(rest)) < rest) throw this.truncated();
    const block = await this.#bytes.exactly(BLOCK_BYTES);
    if (block.length === 0) return undefined;
    if (block.length < BLOCK_BYTES) throw this.truncated();
    if (isZeroBlock(block)) {
      this.hasEnded = true;
      return undefined;
    }
    const header = parseTarHeader(block);
    if (header) return header;
    throw new AppError('source_wrong_bytes', `${this.#place}: not a tar archive, or a damaged one`);
  }

  async #meta({ size }: TarHeader): Promise<Uint8Array> {
    if (size > MAX_META_BYTES) {
      throw new AppError('source_wrong_bytes', `${this.#place}: a name of ${size} bytes`);
    }
    this.#enter(size);
    const bytes = await this.#bytes.exactly(size);
    if (bytes.length < size) throw this.truncated();
    this.#left = 0;
    return bytes;
  }

  #enter(size: number): void {
    this.#left = size;
    this.#padding = (BLOCK_BYTES - (size % BLOCK_BYTES)) % BLOCK_BYTES;
  }
}
