import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { extname, join } from 'node:path';
import { promisify } from 'node:util';
import { errnoOf } from '../shared/errors.js';

/** One file of a page. */
interface PageFile {
  /** Media type. */
  readonly type: string;
  readonly body: Buffer;
  readonly gzipped: Buffer;
  /** Weak: the same for both encodings. */
  readonly etag: string;
}

/** Media types of what a page is made of; nothing else is given out. */
const TYPES: Readonly<Record<string, string>> = {
  '.html': 'text/html; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.svg': 'image/svg+xml',
};

/** The files of one folder, each read when it is first asked for and then kept: a boot pays nothing for them. */
export class StaticFiles {
  readonly #folder: string;
  readonly #files = new Map<string, Promise<PageFile | undefined>>();

  constructor(folder: string) {
    this.#folder = folder;
  }

  /** @returns `undefined` when there is no such file in the folder itself, or it is of no known type */
  async file(name: string): Promise<PageFile | undefined> {
    const type = TYPES[extname(name)];
    // Plain names only: nothing leads out of the folder, and no client fills the memory with names.
    if (type === undefined || !/^[a-z-]+\.[a-z]+$/.test(name)) return undefined;
    const known = this.#files.get(name);
    if (known !== undefined) return known;
    const reading = this.#read(name, type);
    this.#files.set(name, reading);
    const file = await reading.catch(() => undefined);
    if (!file) this.#files.delete(name);
    return reading;
  }

  async #read(name: string, type: string): Promise<PageFile | undefined> {
    try {
      const body = await readFile(join(this.#folder, name));
      const { gzip } = await import('node:zlib');
      const digest = createHash('sha256').update(body).digest('base64url').slice(0, 22);
      return { type, body, gzipped: await promisify(gzip)(body, { level: 9 }), etag: `W/"${digest}"` };
    } catch (error) {
      if (errnoOf(error) === 'ENOENT') return undefined;
      throw error;
    }
  }
}
