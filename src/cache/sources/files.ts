import { AppError, type ErrorCode } from '../../shared/errors.js';
import type { PinnedFile } from '../manifest.js';
import type { Delivery, WantedFile } from '../source.js';
import { Download } from './download.js';
import { checkLinked } from './faults.js';
import { HttpClient } from './http-client.js';
import { type HttpSource, type HttpSourceOptions, WIRE_DEFAULTS, type WireParts } from './retry.js';
import { type BaseUrl, hubUrl, parseBaseUrl, plainUrl } from './url.js';

export interface HubOptions extends HttpSourceOptions {
  /** `https://huggingface.co`, or a server that answers like it. */
  readonly endpoint: string;
  /** An access token, for private and gated models. It is sent to the endpoint's own host only. */
  readonly token?: string | undefined;
  /** `organisation/name`. */
  readonly repo: string;
  /** The full commit hash. */
  readonly revision: string;
}

/**
 * The hub, which answers `{endpoint}/{repo}/resolve/{revision}/{path}` itself or with a redirect to a content
 * network. The size and sha256 that it announces are compared with the pins before the download.
 * @throws AppError `config_invalid`
 */
export function createHubSource(options: HubOptions, parts: WireParts = {}): HttpSource {
  const base = parseBaseUrl(options.endpoint, options.token);
  const { repo, revision } = options;
  const locate: Locate = (file, openAt) => openAt(hubUrl(base, repo, revision, file));
  return createFileSource('hub', base, locate, options, parts);
}

/** `hub`: `{url}/{repo}/resolve/{revision}/{path}`. `plain`: `{url}/{path}`. `auto`: whichever answers. */
export type MirrorLayout = 'auto' | 'hub' | 'plain';

/** Where a mirror keeps a model. */
export interface MirrorOptions extends HttpSourceOptions {
  /**
   * The root of the file tree. A query string (of a presigned URL) goes with each request to this origin, and
   * userinfo as Basic authorization; neither goes anywhere else.
   */
  readonly url: string;
  /** A Bearer token for its own origin; userinfo in the URL takes its place. */
  readonly token?: string | undefined;
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
  const base = parseBaseUrl(options.url, options.token);
  return createFileSource(`mirror ${base.url.host}`, base, mirrorLocator(base, options), options, parts);
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

function mirrorLocator(base: BaseUrl, { repo, revision, layout = 'auto' }: MirrorOptions): Locate {
  const urls = {
    hub: (file: PinnedFile) => hubUrl(base, repo, revision, file),
    plain: (file: PinnedFile) => plainUrl(base, file),
  };
  let known = layout === 'auto' ? undefined : layout;
  return async (file, openAt) => {
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

/** Begins the download of `file` at its address, or at the first fitting one of several addresses. */
type Locate = (file: PinnedFile, openAt: (url: URL) => Promise<Download>) => Promise<Download>;

/** A source in which each pinned file has an address of its own: one resumable download per file. */
function createFileSource(
  name: string,
  base: BaseUrl,
  locate: Locate,
  { limits: bounds, onEvent }: HttpSourceOptions,
  parts: WireParts,
): HttpSource {
  const limits = { ...WIRE_DEFAULTS, ...bounds };
  const client = new HttpClient(base, limits, parts);

  async function* deliver(wanted: readonly WantedFile[], signal: AbortSignal): AsyncGenerator<Delivery> {
    const retry = { source: name, limits, signal, onEvent };
    for (const { file, offset } of wanted) {
      const download = await locate(file, (url) =>
        Download.open({
          ...{ client, url, file, offset, retry },
          inspect: (headers, place) => checkLinked(headers, file, place),
        }),
      );
      try {
        yield { file, offset: download.offset, bytes: download };
      } finally {
        download.close();
      }
    }
  }
  return { name, concurrency: limits.concurrency, deliver, close: () => client.close() };
}
