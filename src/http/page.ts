import type Router from '@koa/router';
import type { Context } from 'koa';
import { AppError } from '../shared/errors.js';

/** One file of the page. */
export interface PageFile {
  /** Media type. */
  readonly type: string;
  readonly body: Buffer;
  readonly gzipped: Buffer;
  /** Weak: the same for both encodings. */
  readonly etag: string;
}

/** What the page's paths ask. */
export interface PagePort {
  /** A file by its plain name. */
  file(name: string): Promise<PageFile | undefined>;
}

/**
 * The page and everything on it comes from here, and text never becomes markup: even what slipped through would
 * find no script that it may run.
 */
const POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "connect-src 'self'",
  "img-src 'self' data:",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
  "require-trusted-types-for 'script'",
  "trusted-types 'none'",
].join('; ');

/** `GET /` (the page) and `GET /page/:name` (its style and scripts). */
export function pageRoutes(router: Router, page: PagePort): void {
  router.get('/', async (context) => {
    context.set('Content-Security-Policy', POLICY);
    context.set('Referrer-Policy', 'no-referrer');
    await send(context, page, 'index.html');
  });
  router.get('/page/:name', (context: Context) => {
    const { name } = context.params as { name?: string };
    return send(context, page, name ?? '');
  });
}

async function send(context: Context, page: PagePort, name: string): Promise<void> {
  const file = await page.file(name);
  if (!file) throw new AppError('not_found', `there is nothing at ${context.path}`);
  context.set('ETag', file.etag);
  // Asked for again each time, and answered with 304: a deploy never mixes an old script with a new one.
  context.set('Cache-Control', 'no-cache');
  context.set('X-Content-Type-Options', 'nosniff');
  context.vary('Accept-Encoding');
  context.status = 200;
  if (context.fresh) {
    context.status = 304;
    return;
  }
  const zipped = context.acceptsEncodings('gzip', 'identity') === 'gzip';
  if (zipped) context.set('Content-Encoding', 'gzip');
  context.body = zipped ? file.gzipped : file.body;
  context.type = file.type;
}
