import type { Report } from '../cache/cache-state.js';
import type { Manifest } from '../cache/manifest.js';
import { Reconciler } from '../cache/reconciler.js';
import { ContentStore } from '../cache/store.js';
import type { Config } from '../config/config.js';
import { closeSources, createSources } from '../daemon/sources.js';
import { formatDuration } from './format.js';
import type { Output } from './output.js';
import { Progress } from './progress.js';
import { watchSource } from './watched-source.js';

/** What a filling of the cache came to. */
export interface Filling {
  readonly report: Report;
  /** Bytes that the sources delivered. */
  readonly bytesReceived: number;
  /** Bytes that an interrupted run had left and that were not fetched again. */
  readonly bytesResumed: number;
  /** Names of the sources that delivered something. */
  readonly sources: readonly string[];
}

/** What it takes. */
export interface FillOptions {
  readonly config: Config;
  readonly manifest: Manifest;
  readonly output: Output;
  readonly signal: AbortSignal;
  readonly quiet: boolean;
}

/**
 * Makes the cache folder equal to the manifest, as the daemon does it, and shows the progress. Troubles are in the
 * report.
 */
export async function fillCache({ config, manifest, output, signal, quiet }: FillOptions): Promise<Filling> {
  let bytesReceived = 0;
  let bytesResumed = 0;
  const delivering = new Set<string>();
  let progress: Progress | undefined;
  const owned = createSources(config, manifest, {
    holdProcess: true,
    onEvent: ({ source, file, waitMs, reason }) =>
      output.note(`${source}: ${file}: ${reason}; again in ${formatDuration(waitMs)}`),
  });
  const sources = owned.map((source) =>
    watchSource(source, {
      began: (file, offset, name) => {
        bytesResumed += offset;
        delivering.add(name);
        progress ??= quiet ? undefined : new Progress(process.stderr, wanted());
        progress?.began(file, offset, name);
      },
      received: (file, bytes) => {
        bytesReceived += bytes;
        progress?.received(file, bytes);
      },
    }),
  );
  const store = new ContentStore(config.cacheDir, config.requireMount);
  const reconciler = new Reconciler({ manifest, store, sources, log: output.log() });
  const wanted = () => manifest.files.filter((file) => reconciler.ledger.file(file).state !== 'verified');
  const stop = (): void => void reconciler.close();
  signal.addEventListener('abort', stop, { once: true });
  output.beforeNote = () => progress?.clear();
  try {
    const report = await reconciler.request('command');
    return { report, bytesReceived, bytesResumed, sources: [...delivering] };
  } finally {
    progress?.end();
    signal.removeEventListener('abort', stop);
    await reconciler.close();
    await closeSources(owned);
  }
}
