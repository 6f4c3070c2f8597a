import { AppError } from '../../shared/errors.js';
import type { PinnedFile } from '../manifest.js';
import type { Delivery, WantedFile } from '../source.js';
import type { WatchedBody } from './body.js';
import {
  abortedFault,
  contentLengthOf,
  HEAD_BYTES,
  placeholderFault,
  sizeFault,
  statusFault,
  wrongBytes,
} from './faults.js';
import { type HttpAnswer, HttpClient } from './http-client.js';
import { Attempts, type HttpSource, type HttpSourceOptions, WIRE_DEFAULTS, type WireParts } from './retry.js';
import { type TarEntry, TarReader } from './tar.js';
import { exactUrl, parseBaseUrl, redactUrl } from './url.js';

export interface ArchiveOptions extends HttpSourceOptions {
  /** The address of a `.tar.gz`, `.tgz` or `.tar`; its query string and userinfo go to its own origin only. */
  readonly url: string;
  /** A Bearer token for its own origin; userinfo in the URL takes its place. */
  readonly token?: string | undefined;
}

/**
 * One archive that holds the pinned files, streamed: it is never on disk, nor more than a few pieces of it in
 * memory. One `deliver` call reads it once and delivers the wanted files in the archive's order, from byte 0.
 * After a failure on the way it is read again from its beginning, and what was delivered is passed over.
 * @throws AppError `config_invalid`
 */
export function createArchiveSource(options: ArchiveOptions, parts: WireParts = {}): HttpSource {
  const base = parseBaseUrl(options.url, options.token);
  const url = exactUrl(base);
  const name = `archive ${base.url.host}`;
  const label = base.url.pathname.split('/').pop() || 'archive';
  const limits = { ...WIRE_DEFAULTS, ...options.limits };
  const client = new HttpClient(base, limits, parts);

  async function* deliver(wanted: readonly WantedFile[], signal: AbortSignal): AsyncGenerator<Delivery> {
    const { onEvent } = options;
    const attempts = new Attempts({ source: name, file: label, limits, signal, onEvent });
    const files = wanted.map(({ file }) => file);
    const maxBytes = files.reduce((sum, { size }) => sum + size, limits.archiveSlackBytes);
    const open = async () =>
      openArchive(await client.get({ url, label, signal, deadline: attempts.deadline }), maxBytes);
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

/** An archive on its way in. */
interface Reading {
  readonly tar: TarReader;
  readonly body: WatchedBody;
}

/** @throws AppError `source_…` for an answer that is no archive */
async function openArchive({ status, headers, place, body }: HttpAnswer, maxBytes: number): Promise<Reading> {
  try {
    if (status !== 200) throw statusFault(status, headers, place);
    const placeholder = placeholderFault(await body.peek(HEAD_BYTES), '', place, headers);
    if (placeholder) throw placeholder;
    const length = contentLengthOf(headers);
    if (length !== undefined && length > maxBytes) {
      throw new AppError('source_too_large', `${place}: an archive of more than ${maxBytes} bytes`);
    }
    return { tar: new TarReader(piecesOf(body), { maxBytes, place, mayBeCut: length === undefined }), body };
  } catch (error) {
    body.close();
    throw error;
  }
}

async function* piecesOf(body: WatchedBody): AsyncGenerator<Uint8Array> {
  for (let piece = await body.next(); piece; piece = await body.next()) yield piece;
}

/** One `deliver` call: the wanted files, wherever they are in the archive, over as many readings as it takes. */
class ArchiveRun {
  readonly #match: ArchiveMatch;
  readonly #open: () => Promise<Reading>;
  readonly #attempts: Attempts;
  readonly #place: string;
  readonly #wantedCount: number;
  #reading: Reading | undefined;
  #current: PinnedFile | undefined;

  constructor(files: readonly PinnedFile[], open: () => Promise<Reading>, attempts: Attempts, place: string) {
    this.#match = new ArchiveMatch(files);
    this.#wantedCount = files.length;
    this.#open = open;
    this.#attempts = attempts;
    this.#place = place;
  }

  /** The next wanted file that the archive holds. */
  async next(): Promise<PinnedFile | undefined> {
    this.#current = undefined;
    if (this.#match.pending.length === 0) return undefined;
    this.#current = await this.#try(() => this.#seek());
    return this.#current;
  }

  /** The content of `file`, which `next` just returned. */
  async *bytes(file: PinnedFile): AsyncGenerator<Uint8Array> {
    let position = 0;
    while (position < file.size) {
      if (this.#current !== file) throw abortedFault('the archive went on to the next file');
      const piece = await this.#try(async () => {
        if (this.#reading) return this.#reading.tar.read();
        return this.#readAgain(file, position);
      });
      if (!piece || piece.length === 0) continue;
      position += piece.length;
      this.#attempts.progress(piece.length);
      yield piece;
    }
  }

  close(): void {
    this.#current = undefined;
    this.#drop();
  }

  #try<T>(action: () => Promise<T>): Promise<T> {
    return this.#attempts.run(action, () => this.#drop());
  }

  #drop(): void {
    this.#reading?.body.close();
    this.#reading?.tar.close();
    this.#reading = undefined;
  }

  async #seek(): Promise<PinnedFile | undefined> {
    this.#reading ??= await this.#open();
    const { tar } = this.#reading;
    for (let entry = await tar.next(); entry; entry = await tar.next()) {
      const file = this.#match.take(entry);
      if (file) return file;
    }
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

  /**
   * Begins a new reading and passes over the first `position` bytes of `file`.
   * @returns what follows them in the piece that they end in
   */
  async #readAgain(file: PinnedFile, position: number): Promise<Uint8Array> {
    this.#reading = await this.#open();
    const { tar } = this.#reading;
    let entry = await tar.next();
    while (entry && !this.#match.isSame(entry, file)) entry = await tar.next();
    let rest: Uint8Array = new Uint8Array(0);
    let passed = 0;
    while (entry && passed < position) {
      const piece = await tar.read();
      if (!piece) break;
      rest = piece.subarray(position - passed);
      passed += piece.length - rest.length;
    }
    if (entry && passed === position) return rest;
    throw wrongBytes(`${this.#place}: changed during the download`);
  }
}

/**
 * Finds the wanted files among the entries of an archive. They lie at their pinned paths, or all below one common
 * folder, which the first of them tells. Everything else is passed over: links, devices, paths that leave the
 * archive, files of another size, second copies.
 */
class ArchiveMatch {
  readonly #pending: Map<string, PinnedFile>;
  readonly #topFolders: ReadonlySet<string>;
  /** The common folder with its slash, or `''`; unknown until the first wanted file. */
  #root: string | undefined;
  /** Entries at a wanted path that had another size: pinned path → size found. */
  readonly otherSizes = new Map<string, number>();

  constructor(wanted: readonly PinnedFile[]) {
    this.#pending = new Map(wanted.map((file) => [file.path, file]));
    this.#topFolders = new Set(wanted.map(({ path }) => path.slice(0, path.indexOf('/') + 1)));
  }

  /** The files that no entry brought so far. */
  get pending(): readonly PinnedFile[] {
    return [...this.#pending.values()];
  }

  /** The pinned file that `entry` is, if it is one that is still wanted; it is not wanted twice. */
  take(entry: TarEntry): PinnedFile | undefined {
    const path = plainPath(entry);
    if (path === undefined) return undefined;
    // A folder that the pinned paths themselves begin with is not a common one around them.
    const top = path.slice(0, path.indexOf('/') + 1);
    const roots = this.#root !== undefined ? [this.#root] : this.#topFolders.has(top) ? [''] : ['', top];
    for (const root of roots) {
      const file = path.startsWith(root) ? this.#pending.get(path.slice(root.length)) : undefined;
      if (!file) continue;
      if (entry.size !== file.size) {
        this.otherSizes.set(file.path, entry.size);
        return undefined;
      }
      this.#root = root;
      this.#pending.delete(file.path);
      this.otherSizes.delete(file.path);
      return file;
    }
    return undefined;
  }

  /** Whether `entry` is `file`, which was taken before: to find the place again in a second reading. */
  isSame(entry: TarEntry, file: PinnedFile): boolean {
    return plainPath(entry) === `${this.#root ?? ''}${file.path}` && entry.size === file.size;
  }
}

/** An entry's path without a leading `./`; `undefined` for anything but a regular file inside the archive. */
function plainPath({ path, isFile }: TarEntry): string | undefined {
  if (!isFile) return undefined;
  const inside = path.replace(/^(\.\/)+/, '');
  const isPlain = inside.split('/').every((part) => part !== '' && part !== '.' && part !== '..');
  return isPlain ? inside : undefined;
}
