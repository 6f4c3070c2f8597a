import * as z from 'zod';
import { type BaseUrl, isSameOrigin } from '../../cache/sources/url.js';
import { AppError } from '../../shared/errors.js';
import { type Announced, type Downloader, downloadJson } from './download.js';

const COMMIT = /^[0-9a-f]{40}$/;
/** A listing longer than this many pages is no model. */
const MAX_PAGES = 50;

const revisionSchema = z.looseObject({
  sha: z.string().regex(COMMIT),
  tags: z.array(z.string()).optional(),
  cardData: z.looseObject({ license: z.union([z.string(), z.array(z.string())]).optional() }).nullish(),
});

const treeSchema = z.array(
  z.looseObject({
    type: z.string(),
    path: z.string(),
    size: z.number().optional(),
    /** A large file: `oid` is its sha256, where a small one has git's own sha1 outside. */
    lfs: z.looseObject({ oid: z.string(), size: z.number() }).nullish(),
  }),
);

/** What the hub's API says of a revision. */
export interface HubRevision {
  /** The full commit hash behind a branch or tag. */
  readonly commit: string;
  readonly license: string | undefined;
  /** Path → what is announced of it. */
  readonly files: ReadonlyMap<string, Announced>;
}

/**
 * Asks `/api/models/{repo}/revision/{revision}` for the commit and `/api/models/{repo}/tree/{commit}` for its files.
 * @returns `undefined` when there is no such model or revision, or no such API
 * @throws AppError `source_…`
 */
export async function askHubApi(
  downloader: Omit<Downloader, 'staging' | 'onProgress'>,
  base: BaseUrl,
  repo: string,
  revision: string,
): Promise<HubRevision | undefined> {
  const answer = await downloadJson(
    downloader,
    apiUrl(base, `${repo}/revision/${encodeURIComponent(revision)}`),
    `${repo}@${revision}`,
  );
  if (!answer) return undefined;
  const { sha, tags, cardData } = check(revisionSchema, answer.json, 'revision');
  const stated = cardData?.license ?? tags?.find((tag) => tag.startsWith('license:'))?.slice(8);
  const license = Array.isArray(stated) ? stated.join(' OR ') : stated;
  return { commit: sha, license, files: await listTree(downloader, base, repo, sha) };
}

async function listTree(
  downloader: Omit<Downloader, 'staging' | 'onProgress'>,
  base: BaseUrl,
  repo: string,
  commit: string,
): Promise<ReadonlyMap<string, Announced>> {
  const files = new Map<string, Announced>();
  let url: URL | undefined = apiUrl(base, `${repo}/tree/${commit}`);
  url.searchParams.set('recursive', 'true');
  for (let page = 0; url && page < MAX_PAGES; page += 1) {
    const answer = await downloadJson(downloader, url, `files of ${repo}`);
    if (!answer) throw new AppError('source_not_found', `${repo}: its files cannot be listed`);
    for (const { type, path, size, lfs } of check(treeSchema, answer.json, 'tree')) {
      if (type !== 'file') continue;
      files.set(path, { size: lfs?.size ?? size, sha256: lfs?.oid });
    }
    url = nextPage(answer.link, url);
  }
  return files;
}

/** `<https://…?cursor=…>; rel="next"`. A page elsewhere is none: the token goes with the request. */
function nextPage(link: string | undefined, current: URL): URL | undefined {
  const target = /<([^>]+)>\s*;\s*rel="next"/.exec(link ?? '')?.[1];
  if (target === undefined || !URL.canParse(target, current.href)) return undefined;
  const next = new URL(target, current);
  return isSameOrigin(next, current) ? next : undefined;
}

function apiUrl(base: BaseUrl, path: string): URL {
  const url = new URL(base.url);
  url.search = base.query;
  url.pathname = `${base.url.pathname.replace(/\/$/, '')}/api/models/${path}`;
  return url;
}

function check<S extends z.ZodType>(schema: S, json: unknown, what: string): z.output<S> {
  const result = schema.safeParse(json);
  if (result.success) return result.data;
  throw new AppError('source_wrong_bytes', `the hub's ${what} answer has another shape than it should have`);
}
