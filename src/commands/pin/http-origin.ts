import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { HttpClient } from '../../cache/sources/http-client.js';
import { WIRE_DEFAULTS } from '../../cache/sources/retry.js';
import { type BaseUrl, hubUrl, parseBaseUrl, plainUrl, redactUrl } from '../../cache/sources/url.js';
import { AppError, type ErrorCode } from '../../shared/errors.js';
import { usageFault } from '../command.js';
import { type Downloader, download } from './download.js';
import { askHubApi, type HubRevision } from './hub-api.js';
import type { OriginFile, PinOrigin } from './origin.js';

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
 * @throws AppError `source_…`, `config_invalid` for a branch that nobody can resolve
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
  if (!/^[0-9a-f]{40}$/.test(commit)) {
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

/** What `action` gives, or `undefined` where a mirror says in its own way that there is nothing. */
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
