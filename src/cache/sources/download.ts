import type { PinnedFile } from '../manifest.js';
import {
  abortedFault,
  contentLengthOf,
  contentRangeOf,
  HEAD_BYTES,
  placeholderFault,
  refuseEncoded,
  sizeFault,
  statusFault,
  strongEtagOf,
  tooLargeFault,
  truncatedFault,
} from './faults.js';
import type { HttpAnswer, HttpClient, HttpGet } from './http-client.js';
import { Attempts, type RetryContext } from './retry.js';

export interface DownloadOptions {
  readonly client: HttpClient;
  readonly url: URL;
  /** `size` is unknown of a file that is about to be pinned. */
  readonly file: Pick<PinnedFile, 'path'> & { readonly size: number | undefined };
  /** Where to begin, if the server can; between 0 and the size. */
  readonly offset: number;
  readonly retry: Omit<RetryContext, 'file'>;
  readonly inspect?: HttpGet['inspect'];
}

interface Current {
  readonly answer: HttpAnswer;
  /** Whether the answer announced its length. */
  readonly framed: boolean;
  /** How many of its next bytes an earlier answer delivered already. */
  skip: number;
}

const NOTHING = new Uint8Array(0);

/**
 * One file over HTTP, which survives what happens on the way: a connection that breaks, falls silent or drips is
 * replaced, and the file goes on where it stopped, by Range where the server honours it. Where it does not, the
 * file is read from its beginning, and the bytes that were delivered already are dropped.
 *
 * Not promised: that the bytes are true. Before the first byte the answer is checked against the expected size, and
 * never more than that is delivered; the digest is the reader's business.
 */
export class Download implements AsyncIterable<Uint8Array> {
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
  /** The file's size as pinned, or as the first answer announced it. */
  #size: number | undefined;

  private constructor(options: DownloadOptions) {
    const { file, offset, retry } = options;
    this.#options = options;
    this.#attempts = new Attempts({ ...retry, file: file.path });
    this.#size = file.size;
    this.#offset = offset > (file.size ?? offset) ? 0 : offset;
    this.#position = this.#offset;
    this.#complete = this.#position === file.size;
  }

  /**
   * Returns when the server has begun to deliver the file, or one of its size at least.
   * @throws AppError `source_…`, `aborted`
   */
  static async open(options: DownloadOptions): Promise<Download> {
    const download = new Download(options);
    if (!download.#complete) await download.#try(() => download.#connect());
    return download;
  }

  /** The file's first byte that is delivered: the wanted offset, or 0 where the server cannot start there. */
  get offset(): number {
    return this.#offset;
  }

  /** The file's size, as far as it is known. */
  get size(): number | undefined {
    return this.#size;
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
        if (piece.length > 0) yield piece;
      }
      if (!this.#complete) throw abortedFault('the download was closed');
    } finally {
      this.close();
    }
  }

  #try<T>(action: () => Promise<T>): Promise<T> {
    return this.#attempts.run(action, () => this.#drop());
  }

  #drop(): void {
    this.#current?.answer.body.close();
    this.#current = undefined;
  }

  async #connect(): Promise<void> {
    if (this.#position > 0 && this.#ranges && (await this.#ask(true))) return;
    await this.#ask(false);
  }

  /** One request, for the rest of the file or for all of it; returns whether its answer is being read now. */
  async #ask(rest: boolean): Promise<boolean> {
    const { client, url, file, retry, inspect } = this.#options;
    const range = { range: `bytes=${this.#position}-`, ...(this.#etag && { 'if-range': this.#etag }) };
    const answer = await client.get({
      url,
      label: file.path,
      headers: rest ? range : {},
      signal: retry.signal,
      deadline: this.#attempts.deadline,
      ...(inspect && { inspect }),
    });
    const { status, headers, place, body } = answer;
    try {
      if (status === 200) await this.#takeWhole(answer);
      else if (rest && status === 206 && this.#continues(answer)) this.#takeRest(answer);
      else if (rest && (status === 206 || status === 416)) this.#ranges = false;
      else throw statusFault(status, headers, place);
      // A range that does not fit may mean that the server's file has another size; then no answer will do.
      const total = contentRangeOf(headers)?.total;
      if (status !== 200 && total !== undefined && this.#size !== undefined && total !== this.#size) {
        throw sizeFault(place, total, this.#size);
      }
    } catch (error) {
      body.close();
      throw error;
    }
    if (!this.#current) body.close();
    return this.#current !== undefined;
  }

  /** Whether a 206 answer is the rest of the very file that was begun. */
  #continues({ headers }: HttpAnswer): boolean {
    const range = contentRangeOf(headers);
    const size = this.#size ?? range?.total;
    if (range?.start !== this.#position || range.end === undefined || range.end >= (size ?? Infinity)) {
      return false;
    }
    if (range.total !== undefined && range.total !== size) return false;
    const etag = strongEtagOf(headers);
    return this.#etag === undefined || etag === undefined || etag === this.#etag;
  }

  #takeRest(answer: HttpAnswer): void {
    refuseEncoded(answer.headers, answer.place);
    const length = contentLengthOf(answer.headers);
    if (length !== undefined && this.#size !== undefined && length > this.#size - this.#position) {
      throw tooLargeFault(answer.place, this.#size, this.#position + length);
    }
    this.#begin(answer, 0, length !== undefined);
  }

  async #takeWhole(answer: HttpAnswer): Promise<void> {
    const { headers, place, body } = answer;
    const { path, size } = this.#options.file;
    refuseEncoded(headers, place);
    const page = placeholderFault(NOTHING, path, place, headers);
    if (page) throw page;
    const length = contentLengthOf(headers);
    if (length !== undefined && size !== undefined && length > size) throw tooLargeFault(place, size, length);
    const placeholder = placeholderFault(await body.peek(HEAD_BYTES), path, place);
    if (placeholder) throw placeholder;
    if (length !== undefined && size !== undefined && length < size) throw sizeFault(place, length, size);
    if (!this.#opened) {
      this.#offset = 0;
      this.#position = 0;
    }
    this.#size ??= length;
    this.#begin(answer, this.#position, length !== undefined);
  }

  #begin(answer: HttpAnswer, skip: number, framed: boolean): void {
    this.#opened = true;
    this.#etag = strongEtagOf(answer.headers);
    this.#current = { answer, skip, framed };
  }

  /** The next piece that was not delivered yet; an empty one if there is none in what came, or no more at all. */
  async #pull(): Promise<Uint8Array> {
    const current = this.#current;
    const piece = current && (await this.#read(current));
    if (!current || !piece) {
      this.#complete = true;
      return NOTHING;
    }
    const fresh = piece.subarray(current.skip);
    current.skip -= piece.length - fresh.length;
    if (this.#size !== undefined && this.#position + fresh.length > this.#size) {
      throw tooLargeFault(current.answer.place, this.#size);
    }
    this.#position += fresh.length;
    this.#attempts.progress(fresh.length);
    return fresh;
  }

  /** The next piece of the answer; `undefined` when the file is complete. */
  async #read({ answer, skip, framed }: Current): Promise<Uint8Array | undefined> {
    const isComplete = this.#position === this.#size;
    // Without an announced length, only the end of the body shows that the file goes no further.
    if (isComplete && framed) return undefined;
    try {
      const piece = await answer.body.next();
      if (!piece && this.#size !== undefined && !isComplete) {
        throw truncatedFault(answer.place, this.#position - skip, this.#size);
      }
      return piece;
    } catch (error) {
      // A connection may break after the last byte.
      if (isComplete) return undefined;
      throw error;
    }
  }
}
