import { createHash } from 'node:crypto';
import { type FileHandle, mkdir, open } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { Download } from '../../cache/sources/download.js';
import { statusFault } from '../../cache/sources/faults.js';
import type { HttpClient } from '../../cache/sources/http-client.js';
import { Attempts, type WireLimits } from '../../cache/sources/retry.js';
import { AppError } from '../../shared/errors.js';
import type { OriginFile } from './origins.js';

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
  const retry = { source, limits, signal, random: Math.random, onEvent: undefined };
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
 * Asks for a JSON document of at most `maxBytes`.
 * @returns `undefined` when there is none
 * @throws AppError `source_…`, `aborted`
 */
export async function downloadJson(
  { client, limits, signal, source }: Omit<Downloader, 'staging' | 'onProgress'>,
  url: URL,
  label: string,
  maxBytes = 32 * 2 ** 20,
): Promise<unknown> {
  const attempts = new Attempts({
    source,
    file: label,
    limits,
    signal,
    random: Math.random,
    onEvent: undefined,
  });
  return attempts.run(async () => {
    const answer = await client.get({ url, label, signal, deadline: attempts.deadline });
    try {
      if (answer.status === 404) return undefined;
      if (answer.status !== 200) throw statusFault(answer.status, answer.headers, answer.place);
      const text = (await answer.body.all(maxBytes)).toString('utf8');
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
      await writeAll(file, piece);
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

async function writeAll(file: FileHandle, bytes: Uint8Array): Promise<void> {
  for (let written = 0; written < bytes.length; ) {
    written += (await file.write(bytes, written)).bytesWritten;
  }
}

function parse(text: string, place: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new AppError('source_wrong_bytes', `${place}: not JSON`, { cause });
  }
}
