import type { Manifest } from '../cache/manifest.js';
import { BlobOpener } from '../cache/open-blob.js';
import { Reconciler } from '../cache/reconciler.js';
import { VerifiedBytes } from '../cache/reconciliation.js';
import { ContentStore } from '../cache/store.js';
import { Triggers } from '../cache/triggers.js';
import type { Config } from '../config/config.js';
import { POOL_DEFAULTS, WorkerPool } from '../inference/pool.js';
import { RouteCatalogue, type ServeRoutes } from '../routes/catalogue.js';
import { RouteFile } from '../routes/file.js';
import { RouteLeader } from '../routes/leader.js';
import type { RouteSet } from '../routes/set.js';
import { RouteVersions } from '../routes/versions.js';
import type { Classifier } from '../scoring/classifier.js';
import type { Log } from '../shared/log.js';
import { Fallback } from './fallback.js';
import { KeyRing } from './keys.js';
import { createClassifier, modelFiles } from './model.js';
import { createSources, type OwnedSource } from './sources.js';

/** Minimum time before a worker counts as hanging, in milliseconds: a busy machine is no dead worker. */
const MIN_HANG_MS = 1_000;

export interface Parts {
  readonly config: Config;
  readonly version: string;
  readonly log: Log;
  readonly manifest: Manifest;
  readonly store: ContentStore;
  readonly sources: readonly OwnedSource[];
  /** The bytes of the model that the first verification has read. */
  readonly verified: VerifiedBytes;
  readonly reconciler: Reconciler;
  readonly triggers: Triggers;
  readonly blobs: BlobOpener;
  readonly keys: KeyRing;
  readonly pool: WorkerPool;
  readonly classifier: Classifier;
  readonly catalogue: RouteCatalogue;
  readonly routeFile: RouteFile | RouteLeader;
  readonly fallback: Fallback | undefined;
}

/** Inputs of {@link createParts}. */
export interface PartsInput extends Pick<Parts, 'config' | 'version' | 'log' | 'manifest'> {
  /** Embeds a route set and lets it serve. */
  readonly serve: ServeRoutes;
  /** See `PoolSettings`. */
  readonly onUnusable?: (reason: string) => void;
  /** Default: one for these settings. */
  readonly pool?: WorkerPool | undefined;
}

/** Makes the parts of a daemon. Nothing listens and nothing is written yet. */
export function createParts({
  config,
  version,
  log,
  manifest,
  serve,
  onUnusable = () => undefined,
  pool = createPool(config, log, onUnusable),
}: PartsInput): Parts {
  const store = new ContentStore(config.cacheDir, config.requireMount);
  const { layout } = store;
  const sources = createSources(config, manifest, {
    // The first failure in a row is news. Of a source that cannot be reached the run's failure says it once, with the time
    // of the next attempt.
    onEvent: ({ kind: _, waitMs, ...event }) =>
      log[event.attempt === 1 && event.code !== 'source_unreachable' ? 'warn' : 'debug'](
        { ...event, wait_ms: waitMs },
        'source retry scheduled',
      ),
  });
  const verified = new VerifiedBytes(modelFiles(manifest));
  const reconciler = new Reconciler({ manifest, store, sources, verified, log });
  const { routesUrl: url, routesUrlToken: token, routesPollMs: pollMs } = config;
  const apply = (set: RouteSet, { signal }: { readonly signal: AbortSignal }): Promise<void> =>
    catalogue.follow(set, { signal });
  const routeFile =
    url === undefined
      ? new RouteFile({ path: config.routesFile, log, apply })
      : new RouteLeader({ url, token, pollMs, layout, log, apply });
  const leader = routeFile instanceof RouteLeader ? routeFile.address : undefined;
  const catalogue = new RouteCatalogue({ versions: new RouteVersions(layout), serve, leader, log });
  return {
    config,
    version,
    log,
    manifest,
    store,
    sources,
    verified,
    reconciler,
    triggers: new Triggers({ manifest, layout, reconciler, cron: config.verifyCron, log }),
    blobs: new BlobOpener(layout),
    keys: new KeyRing(config, log),
    pool,
    classifier: createClassifier({
      method: config.classifyMethod,
      onReport: ({ cacheFault, trainMs, ...report }) => {
        if (cacheFault) log.warn({ reason: cacheFault }, 'head cache unavailable');
        log.info({ ...report, ...(report.trained && { train_ms: trainMs }) }, 'scorer ready');
      },
    }),
    catalogue,
    routeFile,
    fallback: config.fallbackUrl === undefined ? undefined : new Fallback(config.fallbackUrl, config, log),
  };
}

function createPool(config: Config, log: Log, onUnusable: (reason: string) => void): WorkerPool {
  return new WorkerPool({
    onUnusable,
    workers: config.workers,
    maxQueue: config.maxQueue,
    // A request that cannot be answered in time is rejected at once.
    maxQueueMs: Math.min(config.maxQueueMs, config.requestTimeoutMs),
    // Early enough that another worker can answer the text of a hanging one in time.
    hangTimeoutMs: Math.min(
      POOL_DEFAULTS.hangTimeoutMs,
      Math.max(MIN_HANG_MS, Math.ceil(config.requestTimeoutMs / 3)),
    ),
    log,
  });
}
