import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdir, mkdtemp, open, readdir, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join, relative, resolve, sep } from 'node:path';
import * as z from 'zod';
import { writeAt } from '../../cache/disk.js';
import { Download } from '../../cache/sources/download.js';
import { statusFault } from '../../cache/sources/faults.js';
import { HttpClient } from '../../cache/sources/http-client.js';
import { Attempts, WIRE_DEFAULTS, type WireLimits } from '../../cache/sources/retry.js';
import { type BaseUrl, hubUrl, parseBaseUrl, plainUrl, redactUrl } from '../../cache/sources/url.js';
import { AppError, type ErrorCode, errnoOf, messageOf } from '../../shared/errors.js';
import { usageFault } from '../command.js';

/** A file that an origin gave, hashed on its way. */
export interface OriginFile {
  readonly path: string;
  readonly size: number;
  /** Computed here, never believed. */
  readonly sha256: string;
  /** Where its bytes are on this machine. */
  readonly location: string;
}

/** Origin of the files of a model that is not pinned yet. */
export interface PinOrigin {
  /** For people. */
  readonly name: string;
  /** The full commit hash. */
  readonly revision: string;
  /** As the origin states it. */
  readonly license: string | undefined;
  /** Every path it has, where it can say so. */
  readonly paths: readonly string[] | undefined;
  /**
   * Takes a file; `undefined` when the origin has no such file.
   * @throws AppError `source_…`
   */
  take(path: string): Promise<OriginFile | undefined>;
  close(): Promise<void>;
}

/**
 * A folder with the files of a model at their paths, such as a clone or a snapshot of the hub's own cache. Links
 * are followed: the user who names the folder vouches for it.
 * @throws AppError `source_not_found`
 */
export async function openFolderOrigin(folder: string, revision: string): Promise<PinOrigin> {
  const root = resolve(folder);
  return {
    name: root,
    revision,
    license: undefined,
    paths: await pathsBelow(root),
    take: (path) => take(root, path),
    close: async () => undefined,
  };
}

async function pathsBelow(root: string): Promise<string[]> {
  try {
    const entries = await readdir(root, { recursive: true, withFileTypes: true });
    return entries
      .filter((entry) => !entry.isDirectory())
      .map((entry) => relative(root, join(entry.parentPath, entry.name)).split(sep).join('/'));
  } catch (cause) {
    throw new AppError('source_not_found', `cannot list ${root}: ${messageOf(cause)}`, { cause });
  }
}

async function take(root: string, path: string): Promise<OriginFile | undefined> {
  const location = join(root, path);
  const hash = createHash('sha256');
  let size = 0;
  try {
    if (!(await stat(location)).isFile()) {
      throw new AppError('source_wrong_bytes', `${path} is not a file in ${root}`);
    }
    for await (const piece of createReadStream(location, { highWaterMark: 1 << 20 })) {
      hash.update(piece);
      size += piece.length;
    }
  } catch (cause) {
    if (cause instanceof AppError) throw cause;
    if (errnoOf(cause) === 'ENOENT' || errnoOf(cause) === 'ENOTDIR') return undefined;
    throw new AppError('source_unreachable', `cannot read ${path} in ${root}: ${messageOf(cause)}`, {
      cause,
    });
  }
  return { path, size, sha256: hash.digest('hex'), location };
}

/** Where a model is on the network. */
export interface HttpOriginOptions {
  readonly url: string;
  readonly token?: string | undefined;
  readonly repo: string;
  /** A commit hash; a branch or tag where the server has the hub's API. */
  readonly revision: string;
  readonly signal: AbortSignal;
  /** Whether the hub's API must answer; a mirror may be without it. */
  readonly needsApi: boolean;
  readonly onProgress: Downloader['onProgress'];
}

/** How a server without the hub's API, or without a file at this address, may answer besides 404. */
const NOT_HERE: readonly ErrorCode[] = ['source_wrong_bytes', 'source_unauthorized', 'source_refused'];

/**
 * The hub, or a mirror. Where the hub's API answers, it resolves branches and lists files; a plain mirror is
 * asked for each file by its usual name.
 * @throws AppError `source_…`, `config_invalid` for a branch that cannot be resolved
 */
export async function openHttpOrigin(options: HttpOriginOptions): Promise<PinOrigin> {
  const { url, token, repo, revision, signal, needsApi, onProgress } = options;
  const base = parseBaseUrl(url, token);
  const limits = { ...WIRE_DEFAULTS, holdProcess: true };
  const client = new HttpClient(base, limits);
  const name = redactUrl(base.url);
  const asking = askHubApi({ client, limits, signal, source: name }, base, repo, revision);
  const known = await (needsApi ? asking : lenient(asking));
  const commit = known?.commit ?? revision;
  if (!COMMIT.test(commit)) {
    await client.close();
    throw usageFault(
      `${name} knows no ${repo}@${revision}, or cannot resolve it: give the full commit hash (40 hexadecimal digits)`,
    );
  }
  const staging = await mkdtemp(join(tmpdir(), 'ai-router-pin-'));
  const downloader: Downloader = { client, limits, signal, staging, source: name, onProgress };
  return {
    name,
    revision: commit,
    license: known?.license,
    paths: known && [...known.files.keys()],
    take: takeFrom(downloader, base, repo, commit, known),
    close: async () => {
      await client.close();
      await rm(staging, { recursive: true, force: true });
    },
  };
}

/** Returns the result of `action`, or `undefined` where a mirror says in its own way that there is nothing. */
async function lenient<T>(action: Promise<T | undefined>): Promise<T | undefined> {
  try {
    return await action;
  } catch (error) {
    if (error instanceof AppError && NOT_HERE.includes(error.code)) return undefined;
    throw error;
  }
}

function takeFrom(
  downloader: Downloader,
  base: BaseUrl,
  repo: string,
  commit: string,
  known: HubRevision | undefined,
): (path: string) => Promise<OriginFile | undefined> {
  return async (path) => {
    const announced = known?.files.get(path);
    if (known && !announced) return undefined;
    const file = { path, size: 0, sha256: '' };
    const hub = download(downloader, hubUrl(base, repo, commit, file), path, announced ?? {});
    if (known) return hub;
    return (await lenient(hub)) ?? download(downloader, plainUrl(base, file), path, {});
  };
}

const COMMIT = /^[0-9a-f]{40}$/;
const MAX_JSON_BYTES = 32 * 2 ** 20;

const revisionSchema = z.looseObject({
  sha: z.string().regex(COMMIT),
  tags: z.array(z.string()).optional(),
  cardData: z.looseObject({ license: z.union([z.string(), z.array(z.string())]).optional() }).nullish(),
  siblings: z.array(
    z.looseObject({
      rfilename: z.string(),
      size: z.number().nullish(),
      /** Of a large file. */
      lfs: z.looseObject({ sha256: z.string(), size: z.number() }).nullish(),
    }),
  ),
});

/** The hub's description of a revision. */
interface HubRevision {
  /** The full commit hash behind a branch or tag. */
  readonly commit: string;
  readonly license: string | undefined;
  /** Path → what is announced of it. */
  readonly files: ReadonlyMap<string, Announced>;
}

/**
 * Asks `/api/models/{repo}/revision/{revision}` for the commit and its files.
 * @returns `undefined` when there is no such model or revision, or no such API
 * @throws AppError `source_…`
 */
async function askHubApi(
  downloader: Omit<Downloader, 'staging' | 'onProgress'>,
  base: BaseUrl,
  repo: string,
  revision: string,
): Promise<HubRevision | undefined> {
  const url = new URL(base.url);
  url.search = base.query;
  url.searchParams.set('blobs', 'true');
  url.pathname = `${url.pathname.replace(/\/$/, '')}/api/models/${repo}/revision/${encodeURIComponent(revision)}`;
  const json = await downloadJson(downloader, url, `${repo}@${revision}`);
  if (json === undefined) return undefined;
  const { success, data } = revisionSchema.safeParse(json);
  if (!success) throw new AppError('source_wrong_bytes', 'the hub answered in another shape than it should');
  const { sha, tags, cardData, siblings } = data;
  const stated = cardData?.license ?? tags?.find((tag) => tag.startsWith('license:'))?.slice(8);
  const files = siblings.map(({ rfilename, size, lfs }): [string, Announced] => [
    rfilename,
    { size: lfs?.size ?? size ?? undefined, sha256: lfs?.sha256 },
  ]);
  return {
    commit: sha,
    license: Array.isArray(stated) ? stated.join(' OR ') : stated,
    files: new Map(files),
  };
}

/** Dependencies of an unpinned download. */
export interface Downloader {
  readonly client: HttpClient;
  readonly limits: WireLimits;
  readonly signal: AbortSignal;
  /** Where the files go. */
  readonly staging: string;
  readonly source: string;
  /** Told how much of a file is there, and of how much, where the server says that. */
  readonly onProgress: (path: string, bytes: number, total: number | undefined) => void;
}

/** Facts about a file that are known before its download, if any. */
export interface Announced {
  readonly size?: number | undefined;
  readonly sha256?: string | undefined;
}

/**
 * Downloads a file whose digest is not known yet, hashes it, and compares it with what was announced of it.
 * A broken download goes on where it stopped.
 * @returns `undefined` when the server has no such file
 * @throws AppError `source_…`, `aborted`
 */
export async function download(
  downloader: Downloader,
  url: URL,
  path: string,
  announced: Announced,
): Promise<OriginFile | undefined> {
  const { client, limits, signal, source } = downloader;
  const retry = { source, limits, signal, onEvent: undefined };
  const file = { path, size: announced.size };
  let body: Download;
  try {
    body = await Download.open({ client, url, file, offset: 0, retry });
  } catch (error) {
    if (error instanceof AppError && error.code === 'source_not_found') return undefined;
    throw error;
  }
  try {
    return await save(downloader, body, path, announced);
  } finally {
    body.close();
  }
}

/**
 * Asks for a JSON document of at most {@link MAX_JSON_BYTES}.
 * @returns `undefined` when there is none
 * @throws AppError `source_…`, `aborted`
 */
async function downloadJson(
  { client, limits, signal, source }: Omit<Downloader, 'staging' | 'onProgress'>,
  url: URL,
  label: string,
): Promise<unknown> {
  const attempts = new Attempts({ source, file: label, limits, signal, onEvent: undefined });
  return attempts.run(async () => {
    const answer = await client.get({ url, label, signal, deadline: attempts.deadline });
    try {
      if (answer.status === 404) return undefined;
      if (answer.status !== 200) throw statusFault(answer.status, answer.headers, answer.place);
      const text = (await answer.body.all(MAX_JSON_BYTES)).toString('utf8');
      return parse(text, answer.place);
    } finally {
      answer.body.close();
    }
  });
}

async function save(
  { staging, source, onProgress }: Downloader,
  body: Download,
  path: string,
  announced: Announced,
): Promise<OriginFile> {
  const location = join(staging, path);
  await mkdir(dirname(location), { recursive: true });
  const file = await open(location, 'w');
  const hash = createHash('sha256');
  let size = 0;
  try {
    for await (const piece of body) {
      hash.update(piece);
      await writeAt(file, piece, size);
      size += piece.length;
      onProgress(path, size, body.size);
    }
  } finally {
    await file.close();
  }
  const sha256 = hash.digest('hex');
  if (announced.sha256 !== undefined && sha256 !== announced.sha256) {
    const message = `${path} from ${source}: sha256 is ${sha256}, announced ${announced.sha256}`;
    throw new AppError('source_wrong_bytes', message);
  }
  return { path, size, sha256, location };
}

function parse(text: string, place: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new AppError('source_wrong_bytes', `${place}: not JSON`, { cause });
  }
}
