import { crc32 } from 'node:zlib';
import { AppError } from '../../shared/errors.js';
import type { PinnedFile } from '../manifest.js';
import { checkLinked, contentLengthOf, contentRangeOf, refuseEncoded, strongEtagOf } from './answer.js';
import { abortedFault, statusFault, truncatedFault } from './faults.js';
import type { HttpAnswer, HttpClient } from './http-client.js';
import { HEAD_BYTES, htmlTypeFault, impostorFault, sizeFault, tooLargeFault } from './placeholder.js';
import { Attempts, type RetryContext } from './retry.js';

/** What a resumable download is made of. */
export interface DownloadOptions {
  readonly client: HttpClient;
  readonly url: URL;
  readonly file: PinnedFile;
  /** Where to begin, if the server can; between 0 and the pinned size. */
  readonly offset: number;
  readonly retry: Omit<RetryContext, 'file'>;
}

/** The answer being read. */
interface Current {
  readonly answer: HttpAnswer;
  /** Whether the answer announced its length. */
  readonly framed: boolean;
  /** How many of its next bytes an earlier answer delivered already, and the checksum of those passed over. */
  skip: number;
  skippedCrc: number;
}

const NOTHING = new Uint8Array(0);

/**
 * One file over HTTP, which survives what happens on the way: a connection that breaks, falls silent or drips is
 * replaced, and the file goes on where it stopped, by Range where the server honours it. Where it does not, the
 * file is read from its beginning and what was delivered already is dropped, after a look whether it is the same.
 *
 * Not promised: that the bytes are true. Before the first byte the answer is checked against the pinned size, and
 * never more than that is delivered; the digest is the reader's business.
 */
export class ResumableDownload implements AsyncIterable<Uint8Array> {
  readonly #options: DownloadOptions;
  readonly #attempts: Attempts;
  #current: Current | undefined;
  #opened = false;
  #closed = false;
  #complete: boolean;
  /** Whether Range is worth asking for. */
  #ranges = true;
  #etag: string | undefined;
  #offset: number;
  /** The next byte of the file to deliver. */
  #position: number;
  /** Of the bytes delivered so far. */
  #crc = 0;

  private constructor(options: DownloadOptions) {
    this.#options = options;
    this.#attempts = new Attempts({ ...options.retry, file: options.file.path });
    this.#offset = options.offset > options.file.size ? 0 : options.offset;
    this.#position = this.#offset;
    this.#complete = this.#position === options.file.size;
  }

  /**
   * Returns when the server has begun to deliver the file, or one of its size at least.
   * @throws AppError `source_…`, `aborted`
   */
  static async open(options: DownloadOptions): Promise<ResumableDownload> {
    const download = new ResumableDownload(options);
    while (!download.#complete && !download.#current) {
      await download.#try(() => download.#connect());
    }
    return download;
  }

  /** The file's first byte that is delivered: the wanted offset, or 0 where the server cannot start there. */
  get offset(): number {
    return this.#offset;
  }

  /** Gives up what is left. */
  close(): void {
    this.#closed = true;
    this.#drop();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array, void, void> {
    try {
      while (!this.#complete && !this.#closed) {
        const piece = await this.#try(async () => {
          if (!this.#current) await this.#connect();
          return this.#pull();
        });
        if (piece && piece.length > 0) yield piece;
      }
      if (!this.#complete) throw abortedFault('the download was closed');
    } finally {
      this.close();
    }
  }

  /** One attempt; after a failure that another one may mend, `undefined`. */
  async #try<T>(action: () => Promise<T>): Promise<T | undefined> {
    try {
      return await action();
    } catch (failure) {
      this.#drop();
      await this.#attempts.next(failure);
      return undefined;
    }
  }

  #drop(): void {
    this.#current?.answer.body.close();
    this.#current = undefined;
  }

  async #connect(): Promise<void> {
    if (this.#position > 0 && this.#ranges) {
      const answer = await this.#ask(this.#rangeHeaders());
      try {
        if (answer.status === 200) return await this.#takeWhole(answer);
        if (answer.status === 206 && this.#continues(answer)) return this.#takeRest(answer);
        if (answer.status !== 206 && answer.status !== 416) {
          throw statusFault(answer.status, answer.headers, answer.place);
        }
        this.#checkTotal(answer);
      } catch (error) {
        answer.body.close();
        throw error;
      }
      answer.body.close();
      // It answers ranges, but not the one that was asked for.
      this.#ranges = false;
    }
    const answer = await this.#ask({});
    try {
      if (answer.status !== 200) throw statusFault(answer.status, answer.headers, answer.place);
      await this.#takeWhole(answer);
    } catch (error) {
      answer.body.close();
      throw error;
    }
  }

  #ask(headers: Readonly<Record<string, string>>): Promise<HttpAnswer> {
    const { client, url, file, retry } = this.#options;
    return client.get({
      url,
      label: file.path,
      headers,
      signal: retry.signal,
      deadline: this.#attempts.deadline,
      inspect: (fields, place) => checkLinked(fields, file, place),
    });
  }

  #rangeHeaders(): Record<string, string> {
    const range = { range: `bytes=${this.#position}-` };
    return this.#etag === undefined ? range : { ...range, 'if-range': this.#etag };
  }

  /** Whether a 206 answer is the rest of the very file that was begun. */
  #continues({ headers }: HttpAnswer): boolean {
    const range = contentRangeOf(headers);
    const { size } = this.#options.file;
    if (range?.start !== this.#position || range.end === undefined || range.end >= size) return false;
    if (range.total !== undefined && range.total !== size) return false;
    const etag = strongEtagOf(headers);
    return this.#etag === undefined || etag === undefined || etag === this.#etag;
  }

  /** A range that does not fit may mean that the server's file has another size; then no answer will do. */
  #checkTotal({ headers, place }: HttpAnswer): void {
    const { size } = this.#options.file;
    const total = contentRangeOf(headers)?.total;
    if (total !== undefined && total !== size) throw sizeFault(place, total, size);
  }

  #takeRest(answer: HttpAnswer): void {
    refuseEncoded(answer.headers, answer.place);
    const { size } = this.#options.file;
    const length = contentLengthOf(answer.headers);
    if (length !== undefined && length > size - this.#position) {
      throw tooLargeFault(answer.place, size, this.#position + length);
    }
    this.#begin(answer, 0, length !== undefined);
  }

  async #takeWhole(answer: HttpAnswer): Promise<void> {
    const { headers, place, body } = answer;
    const { path, size } = this.#options.file;
    refuseEncoded(headers, place);
    const page = htmlTypeFault(headers, path, place);
    if (page) throw page;
    const length = contentLengthOf(headers);
    if (length !== undefined && length > size) throw tooLargeFault(place, size, length);
    const head = await body.peek(HEAD_BYTES);
    const impostor = impostorFault(head, path, place);
    if (impostor) throw impostor;
    if (length !== undefined && length < size) throw sizeFault(place, length, size);
    if (!this.#opened) {
      this.#offset = 0;
      this.#position = 0;
    }
    this.#begin(answer, this.#position, length !== undefined);
  }

  #begin(answer: HttpAnswer, skip: number, framed: boolean): void {
    this.#opened = true;
    this.#etag = strongEtagOf(answer.headers);
    this.#current = { answer, skip, skippedCrc: 0, framed };
  }

  /** The next piece that was not delivered yet; an empty one if there is none in what came, or no more at all. */
  async #pull(): Promise<Uint8Array> {
    const current = this.#current;
    const piece = current && (await this.#read(current));
    if (!current || !piece) {
      this.#complete = this.#position === this.#options.file.size;
      return NOTHING;
    }
    const fresh = current.skip > 0 ? this.#skip(piece, current) : piece;
    const { size } = this.#options.file;
    if (this.#position + fresh.length > size) throw tooLargeFault(current.answer.place, size);
    this.#crc = crc32(fresh, this.#crc);
    this.#position += fresh.length;
    this.#attempts.progress(fresh.length);
    return fresh;
  }

  /** The next piece of the answer; `undefined` when the file is complete. */
  async #read({ answer, skip, framed }: Current): Promise<Uint8Array | undefined> {
    const { size } = this.#options.file;
    const isComplete = this.#position === size;
    // Without an announced length, only the end of the body shows that the file goes no further.
    if (isComplete && framed) return undefined;
    try {
      const piece = await answer.body.next();
      if (!piece && !isComplete) throw truncatedFault(answer.place, this.#position - skip, size);
      return piece;
    } catch (error) {
      // What breaks after the last byte harms nobody.
      if (isComplete) return undefined;
      throw error;
    }
  }

  /** Drops what was delivered already, and compares it with that. */
  #skip(piece: Uint8Array, current: Current): Uint8Array {
    const known = piece.subarray(0, current.skip);
    const at = this.#position - current.skip;
    // Bytes before the offset came in an earlier life: nothing is known of them here.
    current.skippedCrc = crc32(known.subarray(Math.max(0, this.#offset - at)), current.skippedCrc);
    current.skip -= known.length;
    if (current.skip === 0 && current.skippedCrc !== this.#crc) {
      throw new AppError('source_wrong_bytes', `${current.answer.place}: changed during the download`);
    }
    return piece.subarray(known.length);
  }
}
