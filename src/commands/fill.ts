import { basename } from 'node:path';
import { isUnderWay, type VerificationReport } from '../api/cache.js';
import type { CacheState } from '../cache/cache-state.js';
import type { Manifest } from '../cache/manifest.js';
import { Reconciler } from '../cache/reconciler.js';
import { ContentStore } from '../cache/store.js';
import type { Config } from '../config/config.js';
import { closeSources, createSources } from '../daemon/sources.js';
import type { Log } from '../shared/log.js';
import { formatBytes, formatDuration, pinnedBytes } from './format.js';
import type { Output } from './output.js';
import { Progress } from './progress.js';

/** The result of filling the cache. */
export interface Filling {
  readonly report: VerificationReport;
  /** Bytes that the sources delivered. */
  readonly bytesReceived: number;
  /** Bytes that an interrupted run had left and that were not fetched again. */
  readonly bytesResumed: number;
  /** Names of the sources that delivered something. */
  readonly sources: readonly string[];
}

/** Options of {@link fillCache}. */
export interface FillOptions {
  readonly config: Config;
  readonly manifest: Manifest;
  readonly output: Output;
  readonly signal: AbortSignal;
  readonly quiet: boolean;
}

/**
 * Makes the cache folder match the manifest, as the daemon does, and shows the progress. Failures are in the
 * report.
 */
export async function fillCache({ config, manifest, output, signal, quiet }: FillOptions): Promise<Filling> {
  const sources = createSources(config, manifest, {
    holdProcess: true,
    onEvent: ({ source, file, waitMs, reason }) =>
      output.note(`${source}: ${file}: ${reason}; again in ${formatDuration(waitMs)}`),
  });
  const store = new ContentStore(config.cacheDir, config.requireMount);
  const log = quiet ? output.log() : withFetched(output);
  const reconciler = new Reconciler({ manifest, store, sources, log });
  const { state } = reconciler;
  const bar = quiet
    ? undefined
    : new Progress(process.stderr, 'bytes', '', (progress) => showDownloads(state, progress));
  const stop = (): void => void reconciler.close();
  signal.addEventListener('abort', stop, { once: true });
  output.beforeNote = () => bar?.clear();
  try {
    const report = await reconciler.request('command');
    const bytesReceived = state.counters.downloaded_bytes;
    const fetched = manifest.files.filter(({ path }) => report.fetched.includes(path));
    const bytesResumed = Math.max(0, pinnedBytes({ files: fetched }) - bytesReceived);
    return { report, bytesReceived, bytesResumed, sources: [...state.bytesBySource.keys()] };
  } finally {
    bar?.end();
    signal.removeEventListener('abort', stop);
    await reconciler.close();
    await closeSources(sources);
  }
}

/** The log of a command, which also says of each file that it is there. */
function withFetched(output: Output): Log {
  return {
    ...output.log(),
    info: ({ path, bytes }: { path?: string; bytes?: number }) => {
      if (bytes !== undefined) output.note(`${path}: ${formatBytes(bytes)} received`);
    },
  };
}

function showDownloads({ files, counters, bytesBySource }: CacheState, progress: Progress): void {
  const wanted = [...files.values()].filter(({ state }) => isUnderWay(state));
  const done = wanted.reduce((sum, { bytes }) => sum + bytes, 0);
  const { path } = wanted.find(({ bytes, size }) => bytes > 0 && bytes < size) ?? {};
  const source = [...bytesBySource.keys()].at(-1);
  const label = path === undefined ? '' : `${basename(path)} from ${source}`;
  progress.reached(done, pinnedBytes({ files: wanted }), label, counters.downloaded_bytes);
}
