import type { PinnedFile } from '../manifest.js';
import type { Delivery, WantedFile } from '../source.js';
import { HttpClient } from './http-client.js';
import { ResumableDownload } from './resumable.js';
import type { BaseUrl } from './url.js';
import { type HttpSource, type HttpSourceOptions, WIRE_DEFAULTS, type WireParts } from './wire.js';

/** Begins a download of the wanted file from a URL. */
export type OpenAt = (url: URL) => Promise<ResumableDownload>;

/** A source in which each pinned file has an address of its own. */
export interface FileSourceSetup {
  readonly name: string;
  readonly base: BaseUrl;
  /** Begins the download of `file` at the address, or at the first fitting one of several addresses. */
  readonly locate: (file: PinnedFile, openAt: OpenAt) => Promise<ResumableDownload>;
}

/** Makes such a source: one resumable download per file. */
export function createFileSource(
  { name, base, locate }: FileSourceSetup,
  options: HttpSourceOptions,
  parts: WireParts,
): HttpSource {
  const limits = { ...WIRE_DEFAULTS, ...options.limits };
  const client = new HttpClient(base.url, base.authorization, limits, parts);
  const { onEvent } = options;
  const random = parts.random ?? Math.random;

  async function* deliver(wanted: readonly WantedFile[], signal: AbortSignal): AsyncGenerator<Delivery> {
    const retry = { source: name, limits, signal, random, onEvent };
    for (const { file, offset } of wanted) {
      const openAt: OpenAt = (url) => ResumableDownload.open({ client, url, file, offset, retry });
      const download = await locate(file, openAt);
      try {
        yield { file, offset: download.offset, bytes: download };
      } finally {
        download.close();
      }
    }
  }
  return { name, concurrency: limits.concurrency, deliver, close: () => client.close() };
}
