import { basename } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Phase } from '../api/health.js';
import { fetchIntoMemory } from '../cache/acquire.js';
import type { Report } from '../cache/cache-state.js';
import type { Manifest } from '../cache/manifest.js';
import { BlobOpener } from '../cache/open-blob.js';
import { Reconciler } from '../cache/reconciler.js';
import { VerifiedBytes } from '../cache/reconciliation.js';
import { ContentStore } from '../cache/store.js';
import { Triggers } from '../cache/triggers.js';
import type { Config } from '../config/config.js';
import { PAGE_FOLDER } from '../config/program-files.js';
import { createApp } from '../http/app.js';
import { type HttpServer, listen } from '../http/server.js';
import { StaticFiles } from '../http/static-files.js';
import { EmbeddingCache } from '../inference/embedding-cache.js';
import type { WorkerPool } from '../inference/pool.js';
import type { ModelBytes } from '../inference/protocol.js';
import { Linter } from '../lint/linter.js';
import type { ServeRoutes } from '../routes/catalogue.js';
import { RouteCatalogue } from '../routes/catalogue.js';
import { RouteFile } from '../routes/file.js';
import { RouteVersions } from '../routes/versions.js';
import { requireScorable } from '../scoring/head/head-scoring.js';
import type { Encoder } from '../scoring/scorer.js';
import { AppError, messageOf } from '../shared/errors.js';
import type { Log } from '../shared/log.js';
import type { Metrics } from '../telemetry/metrics.js';
import { startTracing, type Tracing } from '../telemetry/tracing.js';
import { contractSettings } from './contract-settings.js';
import { createClassifier } from './create-classifier.js';
import { embeddingModelOf } from './embedding-model.js';
import { modelFiles, readModel } from './read-model.js';
import { cacheStatusOf, healthOf, type Parts, reportBody, type State } from './report.js';
import { formerModels, routeCaches } from './route-caches.js';
import { closeSources, createSources } from './sources.js';

/** Pauses between attempts to load a whole model that did not load, in milliseconds. */
const LOAD_RETRY_MS = { min: 1_000, max: 60_000 } as const;

/** A daemon: listens at once, becomes ready when the model is. */
export interface Service {
  /** Listens, then fills the volume and loads the model in the background. */
  start(): Promise<void>;
  /** Where it listens, once started. */
  readonly url: string | undefined;
  /** Drains and ends everything; nothing is half-published, and a partial download is kept. */
  close(): Promise<void>;
}

/**
 * Puts a daemon together around a pool, which it closes in the end. Nothing listens and nothing is written yet.
 * @throws AppError `routes_invalid`, `config_invalid`
 */
export async function createService(
  config: Config,
  manifest: Manifest,
  log: Log,
  version: string,
  pool: WorkerPool,
): Promise<Service> {
  const daemon = new Daemon(config, manifest, log, version, pool);
  await daemon.checkRoutes();
  return daemon;
}

class Daemon implements Service {
  readonly #parts: Parts;
  readonly #log: Log;
  readonly #sources: ReturnType<typeof createSources>;
  readonly #startedAt = performance.now();
  readonly #stop = new AbortController();
  readonly #verified: VerifiedBytes;
  #phase: Phase = 'verifying';
  #loadError: AppError | undefined;
  #warming: { done: number; total: number } | undefined;
  readonly #blobs: BlobOpener;
  #encoder: Encoder | undefined;
  /** Rejects where the model of the encoder turns out not to be the one of the manifest. */
  #proven: Promise<void> | undefined;
  #embeddings: EmbeddingCache | undefined;
  #metrics: Metrics | undefined;
  #tracing: Tracing | undefined;
  #server: HttpServer | undefined;
  #boot: Promise<void> | undefined;

  constructor(config: Config, manifest: Manifest, log: Log, version: string, pool: WorkerPool) {
    this.#log = log;
    const store = new ContentStore(config.cacheDir, config.requireMount);
    this.#sources = createSources(config, manifest, {
      onEvent: (event) => log.warn({ ...event }, 'source: trying again'),
    });
    this.#verified = new VerifiedBytes(modelFiles(manifest));
    const reconciler = new Reconciler({
      manifest,
      store,
      sources: this.#sources,
      verified: this.#verified,
      log,
    });
    const { layout } = store;
    this.#blobs = new BlobOpener(layout);
    const classifier = createClassifier({
      method: config.classifyMethod,
      onReport: ({ cacheFault, ...report }) => {
        if (cacheFault) log.warn({ reason: cacheFault }, 'trained heads could not be read or kept');
        log.info(report, 'routes scored by');
      },
    });
    const catalogue = new RouteCatalogue({
      versions: new RouteVersions(layout),
      serve: (...args) => this.#serveRoutes(...args),
      log,
    });
    this.#parts = {
      config,
      version,
      manifest,
      store,
      reconciler,
      triggers: new Triggers({ manifest, layout, reconciler, cron: config.verifyCron, log }),
      pool,
      classifier,
      catalogue,
      routeFile: new RouteFile({
        path: config.routesFile,
        log,
        apply: (set, { signal }) => catalogue.follow(set, { signal }),
      }),
    };
  }

  get url(): string | undefined {
    return this.#server?.url;
  }

  /**
   * Finds a broken route file before anything listens.
   * @throws AppError `routes_invalid`
   */
  async checkRoutes(): Promise<void> {
    const { routeFile, config } = this.#parts;
    try {
      requireScorable(await routeFile.check(), config.classifyMethod);
    } catch (cause) {
      // Whoever mistyped a path needs all of it, and the setting's name.
      const issues = cause instanceof AppError ? cause.issues : [];
      const message = `ROUTES_FILE ${config.routesFile}: ${messageOf(cause)}`;
      throw new AppError('routes_invalid', message, { cause, issues });
    }
  }

  async start(): Promise<void> {
    const { config, version, manifest, store, reconciler, classifier, catalogue, pool } = this.#parts;
    // Loaded only now, while the workers start: it takes 50 ms that nobody should wait for.
    const { createMetrics } = await import('../telemetry/metrics.js');
    this.#tracing = await startTracing(config, version, this.#log);
    const report = () => healthOf(this.#parts, this.#state());
    const metrics = createMetrics({
      parts: this.#parts,
      embeddingCache: () => this.#embeddings?.status,
      health: report,
    });
    this.#metrics = metrics;
    const app = createApp({
      classifier,
      embeddings: {
        model: embeddingModelOf(manifest),
        embed: (texts, each, options) => classifier.embed(texts, each, options),
      },
      queue: pool,
      limits: config,
      contract: contractSettings(config, manifest, version),
      maxHeaders: config.maxHeaders,
      maxQueue: config.maxQueue,
      workers: config.workers,
      version,
      tracing: this.#tracing,
      requestTimeoutMs: config.requestTimeoutMs,
      apiKeys: config.apiKeys,
      adminKeys: config.adminKeys,
      rateLimit: config.rateLimit,
      corsOrigins: config.corsOrigins,
      allowedHosts: config.allowedHosts,
      trustedProxy: config.trustedProxy,
      log: this.#log,
      models: config.serveModel ? { manifest, open: (file) => this.#blobs.open(file) } : undefined,
      metrics,
      health: {
        report,
        draining: () => this.#phase === 'draining',
      },
      routes: catalogue,
      routesFile: basename(config.routesFile),
      lint: new Linter(() => classifier.active),
      page: new StaticFiles(PAGE_FOLDER),
      cache: {
        status: () => cacheStatusOf(this.#parts),
        verify: async () => reportBody(await reconciler.request('request')),
      },
    });
    try {
      this.#server = await listen(app, config.port, config.host, config, { metrics, log: this.#log });
    } catch (error) {
      await this.close();
      throw error;
    }
    const { repo, revision, variant, digest } = manifest;
    this.#log.info({ url: this.#server.url, version, pid: process.pid }, 'listening');
    this.#log.info(
      { repo, revision, variant, digest, volume: store.layout.root, workers: config.workers },
      'serving this model',
    );
    this.#boot = this.#run().catch((error: unknown) => {
      if (!this.#stop.signal.aborted) this.#log.error({ err: error }, 'boot failed');
    });
  }

  async close(): Promise<void> {
    const { config, triggers, reconciler, catalogue, routeFile, classifier, pool } = this.#parts;
    const until = performance.now() + config.drainMs;
    const left = (): number => Math.max(0, until - performance.now());
    this.#phase = 'draining';
    this.#stop.abort();
    catalogue.close();
    await Promise.all([
      // A pool that serves nothing yet has nothing to finish; ending it frees what waits for it: the boot, and the
      // routes, which are not served before their model has proved itself.
      pool.status().ready ? undefined : pool.close(0),
      triggers.close(),
      routeFile.close(),
      reconciler.close(),
    ]);
    await this.#server?.close(left());
    await Promise.all([pool.close(left()), this.#tracing?.close(left())]);
    classifier.close();
    await this.#boot;
    await closeSources(this.#sources);
  }

  /** Embeds a set and lets it serve, unless the very same one does already. */
  async #serveRoutes(...[set, { signal, commit }]: Parameters<ServeRoutes>): Promise<void> {
    const { classifier } = this.#parts;
    const encoder = this.#encoder;
    const { active } = classifier;
    if (encoder && active?.encoder === encoder && active.set.digest === set.digest) {
      await commit?.();
      return;
    }
    const { cacheFault, ...counts } = await classifier.load(set, {
      signal,
      ...(encoder && { encoder }),
      commit: async () => {
        // Vectors from the volume may be there before the model is: nothing is served without it.
        await this.#proven;
        await commit?.();
      },
      onProgress: (done, total) => {
        this.#warming = { done, total };
      },
    });
    if (cacheFault) this.#log.warn({ reason: cacheFault }, 'vectors of utterances could not be kept');
    this.#log.info(counts, 'routes embedded');
  }

  #state(): State {
    const downloading = [...this.#parts.reconciler.state.files.values()].some(
      ({ state }) => state === 'downloading' || state === 'repairing',
    );
    return {
      phase: this.#phase === 'verifying' && downloading ? 'downloading' : this.#phase,
      loadError: this.#loadError,
      warming: this.#warming,
      uptimeMs: performance.now() - this.#startedAt,
    };
  }

  /** verify and fill the volume → load and prove the model → embed the routes → ready */
  async #run(): Promise<void> {
    for (let attempt = 0; !this.#stop.signal.aborted; attempt += 1) {
      await this.#whole();
      try {
        await this.#load();
        return;
      } catch (error) {
        if (this.#stop.signal.aborted) return;
        this.#loadError = error instanceof AppError ? error : new AppError('internal', messageOf(error));
        // The bytes are the pinned ones: fetching them again would give the same model.
        const hopeless = ['model_unloadable', 'canary_mismatch'].includes(this.#loadError.code);
        this.#phase = hopeless ? 'failed' : 'verifying';
        this.#log.error(
          { err: error, code: this.#loadError.code },
          `model not loaded: ${this.#loadError.message}`,
        );
        if (hopeless) return;
        await this.#pause(Math.min(LOAD_RETRY_MS.max, LOAD_RETRY_MS.min * 2 ** Math.min(attempt, 10)));
      }
    }
  }

  /**
   * Resolves when every pinned file is verified; the reconciler tries until then. Where the setting says so, an
   * unusable volume is not waited for.
   */
  async #whole(): Promise<void> {
    const { reconciler, config } = this.#parts;
    const enough = ({ whole, error }: Report): boolean =>
      whole || (config.withoutVolume === 'memory' && error?.code.startsWith('volume_') === true);
    if (enough(await reconciler.request('boot'))) return;
    await new Promise<void>((resolve, reject) => {
      const done = reconciler.onRun((report) => {
        if (!enough(report)) return;
        done();
        resolve();
      });
      this.#stop.signal.addEventListener('abort', () => reject(this.#stop.signal.reason), { once: true });
    });
  }

  async #load(): Promise<void> {
    const { pool, manifest, store, routeFile, config } = this.#parts;
    this.#phase = 'loading';
    const { repo: id, revision, variant, digest } = manifest;
    const model = await this.#read();
    const proven = pool.load(model);
    this.#proven = proven;
    void proven.then(
      () => {
        if (this.#phase === 'loading') this.#phase = 'warming';
      },
      () => undefined,
    );
    this.#embeddings = new EmbeddingCache(pool, config.embeddingCacheBytes, (embedding) =>
      this.#metrics?.embedded(embedding),
    );
    const former = await formerModels(store.layout, manifest);
    if (former.length > 0) {
      this.#log.warn(
        { digest, former },
        'model digest changed: vectors differ from those of former boots; embed again what you stored, or set ' +
          'MODEL_VARIANT=q8-dynamic for the vectors of versions before 0.2',
      );
    }
    const caches = routeCaches(store.layout, manifest);
    this.#encoder = { embedder: this.#embeddings, ...caches, model: { id, revision, variant, digest } };
    // Texts of routes wait for the model by themselves; a rejection of either is thrown once both have ended.
    const ends = await Promise.allSettled([proven, routeFile.start({ signal: this.#stop.signal })]);
    for (const end of ends) if (end.status === 'rejected') throw end.reason;
    if (this.#stop.signal.aborted) return;
    this.#verified.close();
    this.#loadError = undefined;
    this.#phase = 'ready';
    this.#log.info({ boot_ms: Math.round(performance.now() - this.#startedAt) }, 'ready');
  }

  /** The verified bytes: from the volume, or, while that is unusable and may be done without, from a source. */
  async #read(): Promise<ModelBytes> {
    const { manifest, store, reconciler } = this.#parts;
    if (reconciler.state.whole)
      return readModel(manifest, async (file) => this.#verified.take(file) ?? store.read(file));
    this.#log.warn({ code: reconciler.volumeProblem?.code }, 'the volume is unusable: serving from memory');
    const gathered = await fetchIntoMemory(this.#sources, modelFiles(manifest), this.#stop.signal);
    return readModel(manifest, async ({ path }) => gathered.get(path) ?? Buffer.alloc(0));
  }

  async #pause(ms: number): Promise<void> {
    await sleep(ms, undefined, { signal: this.#stop.signal }).catch(() => undefined);
  }
}
