import { AppError, type ErrorCode } from '../../shared/errors.js';
import type { PinnedFile } from '../manifest.js';
import { createFileSource, type OpenAt } from './files.js';
import type { ResumableDownload } from './resumable.js';
import { type BaseUrl, hubUrl, parseBaseUrl, plainUrl } from './url.js';
import type { HttpSource, HttpSourceOptions, WireParts } from './wire.js';

/** `hub`: `{url}/{repo}/resolve/{revision}/{path}`. `plain`: `{url}/{path}`. `auto`: whichever answers. */
export type MirrorLayout = 'auto' | 'hub' | 'plain';

/** Where a mirror keeps a model. */
export interface MirrorOptions extends HttpSourceOptions {
  /**
   * The root of the file tree. A query string (of a presigned URL) goes with each request to this origin, and
   * userinfo as Basic authorization; neither goes anywhere else.
   */
  readonly url: string;
  /** `organisation/name`, for the hub's layout. */
  readonly repo: string;
  /** The full commit hash, for the hub's layout. */
  readonly revision: string;
  /** Default: `auto`. */
  readonly layout?: MirrorLayout;
}

/**
 * A file tree on any web server or object store, another instance of this program, or a copy of the hub.
 * @throws AppError `config_invalid`
 */
export function createMirrorSource(options: MirrorOptions, parts: WireParts = {}): HttpSource {
  const base = parseBaseUrl(options.url);
  const locate = locator(base, options);
  return createFileSource({ name: `mirror ${base.url.host}`, base, locate }, options, parts);
}

/**
 * How a server says that this is not the address of the file. Not all say 404: an object store that may not be
 * listed says 403, and an application's server answers everything with its start page.
 */
const NOT_HERE: readonly ErrorCode[] = [
  'source_unauthorized',
  'source_wrong_bytes',
  'source_too_large',
  'source_not_found',
];

function locator(base: BaseUrl, { repo, revision, layout = 'auto' }: MirrorOptions) {
  const urls = {
    hub: (file: PinnedFile) => hubUrl(base, repo, revision, file),
    plain: (file: PinnedFile) => plainUrl(base, file),
  };
  let known = layout === 'auto' ? undefined : layout;

  return async (file: PinnedFile, openAt: OpenAt): Promise<ResumableDownload> => {
    if (known) return openAt(urls[known](file));
    const faults: AppError[] = [];
    for (const candidate of ['hub', 'plain'] as const) {
      try {
        const download = await openAt(urls[candidate](file));
        known = candidate;
        return download;
      } catch (error) {
        if (!(error instanceof AppError) || !NOT_HERE.includes(error.code)) throw error;
        faults.push(error);
      }
    }
    // Of two refusals, the one that says more than "not found".
    faults.sort((a, b) => NOT_HERE.indexOf(a.code) - NOT_HERE.indexOf(b.code));
    throw faults[0] ?? new AppError('source_not_found', `${file.path}: not on this mirror`);
  };
}
