import { crc32 } from 'node:zlib';
import { AppError } from '../../shared/errors.js';
import type { PinnedFile } from '../manifest.js';
import type { Delivery, WantedFile } from '../source.js';
import { ArchiveMatch } from './archive-match.js';
import { type ArchiveStream, openArchive } from './archive-stream.js';
import { abortedFault } from './faults.js';
import { HttpClient } from './http-client.js';
import { sizeFault } from './placeholder.js';
import { Attempts } from './retry.js';
import { exactUrl, parseBaseUrl, redactUrl } from './url.js';
import { type HttpSource, type HttpSourceOptions, WIRE_DEFAULTS, type WireParts } from './wire.js';

/** Where an archive of a model is. */
export interface ArchiveOptions extends HttpSourceOptions {
  /** The address of a `.tar.gz`, `.tgz` or `.tar`; its query string and userinfo go to its own origin only. */
  readonly url: string;
}

/**
 * One archive that holds the pinned files, streamed: it is never on disk, nor more than a few pieces of it in
 * memory. One `deliver` call reads it once and delivers the wanted files in the archive's order, from byte 0.
 * After a failure on the way it is read again from its beginning, and what was delivered is passed over.
 * @throws AppError `config_invalid`
 */
export function createArchiveSource(options: ArchiveOptions, parts: WireParts = {}): HttpSource {
  const base = parseBaseUrl(options.url);
  const url = exactUrl(base);
  const name = `archive ${base.url.host}`;
  const label = base.url.pathname.split('/').pop() || 'archive';
  const limits = { ...WIRE_DEFAULTS, ...options.limits };
  const client = new HttpClient(base.url, base.authorization, limits, parts);
  const random = parts.random ?? Math.random;

  async function* deliver(wanted: readonly WantedFile[], signal: AbortSignal): AsyncGenerator<Delivery> {
    const { onEvent } = options;
    const attempts = new Attempts({ source: name, file: label, limits, signal, random, onEvent });
    const files = wanted.map(({ file }) => file);
    const maxBytes = files.reduce((sum, { size }) => sum + size, limits.archiveSlackBytes);
    const open = async () => {
      const answer = await client.get({ url, label, signal, deadline: attempts.deadline });
      return openArchive(answer, maxBytes);
    };
    const run = new ArchiveRun(files, open, attempts, `${label} from ${redactUrl(url)}`);
    try {
      for (let file = await run.next(); file; file = await run.next()) {
        yield { file, offset: 0, bytes: run.bytes(file) };
      }
    } finally {
      run.close();
    }
  }
  return { name, concurrency: 1, atOnce: true, deliver, close: () => client.close() };
}

/** One `deliver` call: the wanted files, wherever they are in the archive, over as many readings as it takes. */
class ArchiveRun {
  readonly #match: ArchiveMatch;
  readonly #open: () => Promise<ArchiveStream>;
  readonly #attempts: Attempts;
  readonly #place: string;
  readonly #wantedCount: number;
  #stream: ArchiveStream | undefined;
  /** The file that is being delivered. */
  #current: PinnedFile | undefined;

  constructor(
    files: readonly PinnedFile[],
    open: () => Promise<ArchiveStream>,
    attempts: Attempts,
    place: string,
  ) {
    this.#match = new ArchiveMatch(files);
    this.#wantedCount = files.length;
    this.#open = open;
    this.#attempts = attempts;
    this.#place = place;
  }

  /** The next wanted file that the archive holds. */
  async next(): Promise<PinnedFile | undefined> {
    this.#current = undefined;
    while (this.#match.pending.length > 0) {
      const found = await this.#try(async () => (await this.#seek()) ?? 'none');
      if (found === 'none') return undefined;
      if (!found) continue;
      this.#current = found;
      return found;
    }
    return undefined;
  }

  /** The content of `file`, which `next` just returned. */
  async *bytes(file: PinnedFile): AsyncGenerator<Uint8Array> {
    let position = 0;
    let crc = 0;
    while (position < file.size) {
      if (this.#current !== file) throw abortedFault('the archive went on to the next file');
      const piece = await this.#try(async () => {
        this.#stream ??= await this.#reopenAt(file, position, crc);
        return this.#stream.tar.read();
      });
      if (!piece) continue;
      crc = crc32(piece, crc);
      position += piece.length;
      this.#attempts.progress(piece.length);
      yield piece;
    }
  }

  close(): void {
    this.#current = undefined;
    this.#stream?.close();
    this.#stream = undefined;
  }

  /** One attempt; after a failure that another one may mend, `undefined`. */
  async #try<T>(action: () => Promise<T>): Promise<T | undefined> {
    try {
      return await action();
    } catch (failure) {
      this.#stream?.close();
      this.#stream = undefined;
      await this.#attempts.next(failure);
      return undefined;
    }
  }

  async #seek(): Promise<PinnedFile | undefined> {
    this.#stream ??= await this.#open();
    const { tar } = this.#stream;
    for (let entry = await tar.next(); entry; entry = await tar.next()) {
      const file = this.#match.take(entry);
      if (file) return file;
    }
    if (!tar.hasEnded) throw tar.truncated();
    this.#checkRest();
    return undefined;
  }

  /**
   * At the end of the archive. A file that it lacks may come from elsewhere; an archive that holds none of them,
   * or one of another size, is worth a word.
   */
  #checkRest(): void {
    const { pending, otherSizes } = this.#match;
    for (const { path, size } of pending) {
      const actual = otherSizes.get(path);
      if (actual !== undefined) throw sizeFault(`${path} in ${this.#place}`, actual, size);
    }
    if (pending.length === this.#wantedCount) {
      throw new AppError('source_not_found', `${this.#place}: holds none of the wanted files`);
    }
  }

  /** A new reading, up to byte `position` of `file`, of which the bytes before have the checksum `crc`. */
  async #reopenAt(file: PinnedFile, position: number, crc: number): Promise<ArchiveStream> {
    const stream = await this.#open();
    try {
      let entry = await stream.tar.next();
      while (entry && !this.#match.isSame(entry, file)) entry = await stream.tar.next();
      let passed = 0;
      let passedCrc = 0;
      while (entry && passed < position) {
        const piece = await stream.tar.read(position - passed);
        if (!piece) break;
        passedCrc = crc32(piece, passedCrc);
        passed += piece.length;
      }
      if (entry && passed === position && passedCrc === crc) return stream;
      throw new AppError('source_wrong_bytes', `${this.#place}: changed during the download`);
    } catch (error) {
      stream.close();
      throw error;
    }
  }
}
