import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { extname, join } from 'node:path';
import { promisify } from 'node:util';
import * as z from 'zod';
import { VIEWER_FOLDER } from '../../config/program-files.js';
import { AppError, errnoOf } from '../../shared/errors.js';
import { type ContractSettings, type Endpoint, openapiDocument } from '../openapi.js';
import { isFresh, type RequestContext, truncate } from '../request.js';

export interface PagePorts {
  readonly page: StaticFiles;
}

/** Directives of a Content-Security-Policy. */
type Policy = Readonly<Record<string, string>>;

/** Answers are data: nothing in them may run, load or be framed. */
const STRICT: Policy = {
  'default-src': "'none'",
  'base-uri': "'none'",
  'form-action': "'none'",
  'frame-ancestors': "'none'",
};

/** Everything of the page comes from here, and text never becomes markup: trusted types forbid it. */
const PAGE_POLICY = policyOf({
  'script-src': "'self'",
  'style-src': "'self'",
  'connect-src': "'self'",
  'img-src': "'self' data:",
  'require-trusted-types-for': "'script'",
  'trusted-types': "'none'",
});

/** The viewer sets styles while it runs and draws with `data:` images. */
const VIEWER_POLICY = policyOf({
  'script-src': "'self'",
  'style-src': "'self' 'unsafe-inline'",
  'img-src': "'self' data:",
  'connect-src': "'self'",
});

const HTML = { 'text/html': { schema: z.string() } };

/** The contract, the page for people, and the contract in a viewer that comes from this program alone. */
export function pageEndpoints<Ports>(
  settings: ContractSettings,
  all: () => readonly Endpoint<Ports>[],
): Endpoint<PagePorts>[] {
  const common = { method: 'GET', access: 'open', tag: 'Contract' } as const;
  let contract: Promise<string> | undefined;
  const viewer = new StaticFiles(VIEWER_FOLDER);
  return [
    {
      ...common,
      path: '/openapi.json',
      id: 'openapi',
      summary: 'This document',
      answers: {
        200: {
          description: 'An OpenAPI 3.1 document',
          content: { 'application/json': { schema: z.looseObject({ openapi: z.string() }) } },
        },
      },
      async handle(context) {
        contract ??= openapiDocument(settings, all()).then(
          (document) => `${JSON.stringify(document, null, 2)}\n`,
        );
        context.type = 'application/json';
        context.body = await contract;
      },
    },
    {
      ...common,
      path: '/',
      id: 'page',
      summary: 'The status page: health, cache, traffic, routes, and a form to try a text',
      answers: { 200: { description: 'The page', content: HTML } },
      handle(context, { page }) {
        context.set('Content-Security-Policy', PAGE_POLICY);
        return sendFile(context, page, 'index.html');
      },
    },
    {
      ...common,
      path: '/page/{name}',
      handle: (context, { page }, { name = '' }) => sendFile(context, page, name),
    },
    {
      ...common,
      path: '/docs',
      id: 'docs',
      summary: 'This document, with a form to try each operation',
      answers: { 200: { description: 'A page', content: HTML } },
      handle(context) {
        // With a slash at the end, the page's relative addresses would point elsewhere.
        if (context.path.endsWith('/')) return context.redirect('../docs');
        context.set('Content-Security-Policy', VIEWER_POLICY);
        return sendFile(context, viewer, 'index.html');
      },
    },
    {
      ...common,
      path: '/docs/{name}',
      handle: (context, _, { name = '' }) => sendFile(context, viewer, name),
    },
  ];
}

/** Returns the strict policy with some directives of a page's own. */
export function policyOf(own: Policy = {}): string {
  return Object.entries({ ...STRICT, ...own })
    .map(([directive, sources]) => `${directive} ${sources}`)
    .join('; ');
}

/** Files come from memory: a stream for each request would hold a descriptor for clients that read nothing. */
async function sendFile(context: RequestContext, files: StaticFiles, name: string): Promise<void> {
  const file = await files.file(name);
  if (!file) throw new AppError('not_found', `there is nothing at ${truncate(context.path)}`);
  // Revalidated each time, and answered with 304: a deploy never mixes an old script with a new one.
  context.set('Cache-Control', 'no-cache');
  context.vary('Accept-Encoding');
  if (isFresh(context, file.etag)) return;
  const zipped = context.acceptsEncodings('gzip', 'identity') === 'gzip';
  if (zipped) context.set('Content-Encoding', 'gzip');
  context.body = zipped ? file.gzipped : file.body;
  context.type = file.type;
}

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
