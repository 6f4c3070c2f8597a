import type { VerificationReport } from '../api/cache.js';
import type { Manifest, PinnedFile } from '../cache/manifest.js';
import { Reconciler } from '../cache/reconciler.js';
import type { Delivery, Source } from '../cache/source.js';
import { ContentStore } from '../cache/store.js';
import type { Config } from '../config/config.js';
import { closeSources, createSources } from '../daemon/sources.js';
import { formatDuration } from './format.js';
import type { Output } from './output.js';
import { DownloadProgress } from './progress.js';

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
  let bytesReceived = 0;
  let bytesResumed = 0;
  const delivering = new Set<string>();
  let progress: DownloadProgress | undefined;
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
        progress ??= quiet ? undefined : new DownloadProgress(process.stderr, wanted());
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
  const wanted = () => manifest.files.filter((file) => reconciler.state.file(file).state !== 'verified');
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

/** Receives the progress of a source. */
interface DeliveryWatcher {
  began(file: PinnedFile, offset: number, source: string): void;
  received(file: PinnedFile, bytes: number, source: string): void;
}

/** Wraps a source so that its deliveries are counted. */
function watchSource(source: Source, watcher: DeliveryWatcher): Source {
  async function* deliver(...[wanted, signal]: Parameters<Source['deliver']>): AsyncGenerator<Delivery> {
    for await (const delivery of source.deliver(wanted, signal)) {
      watcher.began(delivery.file, delivery.offset, source.name);
      yield { ...delivery, bytes: counted(delivery) };
    }
  }
  async function* counted({ file, bytes }: Delivery): AsyncGenerator<Uint8Array> {
    for await (const piece of bytes) {
      watcher.received(file, piece.length, source.name);
      yield piece;
    }
  }
  return { ...source, deliver };
}
