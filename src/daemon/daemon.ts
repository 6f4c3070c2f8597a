import { basename } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { VerificationReport } from '../api/cache.js';
import type { Phase } from '../api/health.js';
import { fetchIntoMemory } from '../cache/acquire.js';
import { loadManifest } from '../cache/manifest.js';
import { isSchedule } from '../cache/triggers.js';
import { isMountPoint } from '../cache/volume.js';
import { type Config, readConfig } from '../config/config.js';
import { checkMachine, fitWorkers, type MachineLimits, machineLimits } from '../config/machine-limits.js';
import { PAGE_FOLDER } from '../config/program-files.js';
import { retiredIn } from '../config/settings.js';
import { createApp } from '../http/app.js';
import { StaticFiles } from '../http/endpoints/pages.js';
import { type HttpServer, listen } from '../http/server.js';
import { EmbeddingCache } from '../inference/embedder.js';
import type { ModelBytes } from '../inference/protocol.js';
import type { TokenView } from '../inference/token-view.js';
import { Linter } from '../lint/lint.js';
import type { ServeRoutes } from '../routes/catalogue.js';
import { ROUTES_FILE_IS_MOUNT } from '../routes/file.js';
import { RouteLeader } from '../routes/leader.js';
import { requireScorable } from '../scoring/head/head-scoring.js';
import type { Encoder } from '../scoring/scorer.js';
import { AppError, messageOf } from '../shared/errors.js';
import type { Log } from '../shared/log.js';
import { createLogger, type ProcessLogger } from '../telemetry/logger.js';
import { createMetrics, type Metrics } from '../telemetry/metrics.js';
import { startTracing, type Tracing } from '../telemetry/tracing.js';
import { type BootState, cacheStatusOf, healthOf, phaseOf } from './health.js';
import {
  contractSettings,
  embeddingModelOf,
  formerModels,
  modelFiles,
  readModel,
  routeCaches,
} from './model.js';
import { createParts, type Parts, type PartsInput } from './parts.js';
import { closeSources } from './sources.js';

/** Exit codes of a daemon; an error before it listens (wrong settings) becomes 2. */
const EXIT = { stopped: 0, failed: 1, unusable: 2 } as const;

/** Pauses between attempts to load the model, in milliseconds. */
const LOAD_RETRY_MS = { min: 1_000, max: 60_000 } as const;

/**
 * Runs a daemon: config → parts → listen → reconcile → load → ready. Resolves when it listens; the rest goes on in the
 * background, while `/health` and `/metrics` already answer.
 * @returns the handler of signals: the first one shuts down in good order, a second one ends the process at once
 * @throws AppError `config_invalid`, `manifest_invalid`, `routes_invalid`: nothing listens yet
 */
export async function runDaemon(
  env: NodeJS.ProcessEnv,
  version: string,
  exit: (code: number) => never,
  onSignalReady: (handler: (signal: NodeJS.Signals) => void) => void,
): Promise<void> {
  const wanted = readConfig(env);
  if (!isSchedule(wanted.verifyCron)) {
    throw new AppError('config_invalid', `VERIFY_CRON is no valid cron expression: "${wanted.verifyCron}"`);
  }
  const limits = machineLimits(wanted.variant);
  checkMachine(limits);
  const config: Config = { ...wanted, workers: fitWorkers(limits, wanted.workers).workers };
  const logger = await createLogger(config);
  const { log } = logger;
  logProcessEvents(logger, exit);
  for (const { name, successor } of retiredIn(env))
    log.warn({ setting: name, successor }, 'retired setting ignored');
  logWorkers(wanted.workers, limits, log);
  const manifest = await loadManifest(config.manifestFile);
  const end = (code: number): never => {
    logger.flush();
    return exit(code);
  };
  const onUnusable = (reason: string): never => {
    log.fatal({ code: 'config_invalid', reason }, 'native runtime does not load');
    return end(EXIT.unusable);
  };
  const daemon = new Daemon({ config, version, log, manifest, onUnusable });
  await daemon.checkRoutes();
  if (await isMountPoint(config.routesFile)) log.warn({ path: config.routesFile }, ROUTES_FILE_IS_MOUNT);

  let stopping = false;
  onSignalReady((signal) => {
    if (stopping) {
      log.warn({ signal }, 'second signal received, exiting');
      end(signal === 'SIGINT' ? 130 : 143);
    }
    stopping = true;
    log.info({ signal, delay_ms: config.shutdownDelayMs, drain_ms: config.drainMs }, 'shutting down');
    daemon.close().then(
      () => {
        log.info({}, 'stopped');
        end(EXIT.stopped);
      },
      (error: unknown) => {
        log.error({ err: error }, 'shutdown failed');
        end(EXIT.failed);
      },
    );
  });
  await daemon.start();
}

function logWorkers(wanted: number, limits: MachineLimits, log: Log): void {
  const { cores, cpuQuota, memoryLimit } = limits;
  const { workers, bound } = fitWorkers(limits, wanted);
  log.info(
    { workers, limited_by: bound, cores, cpu_quota: cpuQuota, memory_limit_bytes: memoryLimit },
    'number of workers chosen',
  );
  if (workers < wanted) {
    log.warn(
      { wanted, workers, memory_limit_bytes: memoryLimit },
      'INFERENCE_WORKERS lowered to what the memory limit carries',
    );
  }
}

/** Logs what ends the process unexpectedly, and the warnings of Node.js as lines of the log. */
function logProcessEvents(logger: ProcessLogger, exit: (code: number) => never): void {
  const fatal = (error: unknown, kind: string): void => {
    logger.log.fatal({ err: error }, kind);
    logger.flush();
    exit(EXIT.failed);
  };
  process.on('uncaughtException', (error) => fatal(error, 'uncaught exception'));
  process.on('unhandledRejection', (reason) => fatal(reason, 'unhandled rejection'));
  // Node.js would write them to stderr in a format of its own.
  process.removeAllListeners('warning');
  process.on('warning', ({ name, message }) => {
    const { log } = logger;
    if (name === 'DeprecationWarning') log.debug({ name, message }, 'deprecated API used');
    else log.warn({ name, message }, 'Node.js warning');
  });
  // The daemon goes on when the reader of its output is gone.
  for (const stream of [process.stdout, process.stderr]) stream.on('error', () => undefined);
}

/** A daemon: listens at once, becomes ready when the model is. */
export class Daemon {
  readonly #parts: Parts;
  readonly #startedAt = performance.now();
  readonly #stop = new AbortController();
  readonly #health = { report: () => healthOf(this.#parts, this.#state()), draining: false };
  #phase: Phase = 'verifying';
  #loadError: AppError | undefined;
  #warming: { done: number; total: number } | undefined;
  #encoder: Encoder | undefined;
  /** Rejects if the model of the encoder is not that of the manifest. */
  #proven: Promise<void> | undefined;
  #embeddings: EmbeddingCache | undefined;
  #tokenView: Promise<TokenView> | undefined;
  #metrics: Metrics | undefined;
  #tracing: Tracing | undefined;
  #server: HttpServer | undefined;
  #boot: Promise<void> | undefined;

  /** Makes the parts. Nothing listens and nothing is written yet. */
  constructor(input: Omit<PartsInput, 'serve'>) {
    this.#parts = createParts({ ...input, serve: (...args) => this.#serveRoutes(...args) });
  }

  /** The address that it listens on, once started. */
  get url(): string | undefined {
    return this.#server?.url;
  }

  /**
   * Finds an invalid routes file before anything listens.
   * @throws AppError `routes_invalid`
   */
  async checkRoutes(): Promise<void> {
    const { routeFile, config } = this.#parts;
    // A leader is asked once this daemon listens.
    if (routeFile instanceof RouteLeader) return;
    try {
      requireScorable(await routeFile.check(), config.classifyMethod);
    } catch (cause) {
      // The reader needs the whole path and the name of the setting.
      const issues = cause instanceof AppError ? cause.issues : [];
      const reason = messageOf(cause).replace(`${basename(config.routesFile)}: `, '');
      const message = `ROUTES_FILE ${config.routesFile}: ${reason}`;
      throw new AppError('routes_invalid', message, { cause, issues });
    }
  }

  /** Listens, then fills the volume and loads the model in the background. */
  async start(): Promise<void> {
    const { config, log, manifest, store } = this.#parts;
    this.#tracing = await startTracing(config, this.#parts.version, log);
    this.#metrics = this.#createMetrics();
    try {
      this.#server = await listen(this.#createApp(this.#metrics), config.port, config.host, config, {
        metrics: this.#metrics,
        log,
      });
    } catch (error) {
      await this.close();
      throw error;
    }
    const { repo, revision, variant, digest } = manifest;
    const { url } = this.#server;
    log.info({ url, version: this.#parts.version, pid: process.pid }, 'listening');
    const { root: volume } = store.layout;
    log.info({ repo, revision, variant, digest, volume, workers: config.workers }, 'model selected');
    this.#boot = this.#run().catch((error: unknown) => {
      if (!this.#stop.signal.aborted) log.error({ err: error }, 'boot failed');
    });
  }

  /**
   * Stops saying that it is ready, goes on answering for `SHUTDOWN_DELAY_MS`, then drains and ends everything; nothing is
   * half-published, and a partial download is kept.
   */
  async close(): Promise<void> {
    const { config, sources, triggers, reconciler, catalogue, routeFile, classifier, pool } = this.#parts;
    const served = this.#phase === 'ready';
    this.#phase = 'draining';
    this.#health.draining = true;
    if (served) await sleep(config.shutdownDelayMs);
    const until = performance.now() + config.drainMs;
    const left = (): number => Math.max(0, until - performance.now());
    this.#stop.abort();
    this.#parts.keys.close();
    catalogue.close();
    await Promise.all([
      // A pool without a ready worker has nothing to finish; the boot and the routes wait for it.
      pool.status().ready ? undefined : pool.close(0),
      triggers.close(),
      routeFile.close(),
      reconciler.close(),
    ]);
    await this.#server?.close(left());
    await Promise.all([pool.close(left()), this.#tracing?.close(left())]);
    classifier.close();
    await this.#parts.fallback?.close();
    await this.#boot;
    await closeSources(sources);
  }

  #createMetrics(): Metrics {
    const { version, manifest, classifier, reconciler, routeFile, store, pool } = this.#parts;
    return createMetrics({
      version,
      model: manifest,
      routes: () => classifier.active?.set,
      routesAge: () => (routeFile instanceof RouteLeader ? routeFile.ageSeconds : undefined),
      health: this.#health.report,
      cache: reconciler,
      volume: store,
      pool,
      embeddingCache: () => this.#embeddings?.status,
    });
  }

  #createApp(metrics: Metrics): ReturnType<typeof createApp> {
    const {
      config,
      version,
      log,
      manifest,
      blobs,
      keys,
      classifier,
      catalogue,
      routeFile,
      pool,
      reconciler,
    } = this.#parts;
    return createApp({
      ...config,
      keys,
      limits: config,
      contract: contractSettings(config, manifest, version),
      version,
      log,
      metrics,
      tracing: this.#tracing,
      classifier,
      embeddings: {
        model: embeddingModelOf(manifest),
        embed: (texts, each, options) => classifier.embed(texts, each, options),
      },
      tokenView: async () => {
        this.#tokenView ??= this.#makeTokenView();
        return this.#tokenView;
      },
      queue: pool,
      fallback: this.#parts.fallback,
      models: config.serveModel ? { manifest, open: (file) => blobs.open(file) } : undefined,
      health: this.#health,
      routes: catalogue,
      routesFile: config.routesUrl === undefined ? basename(config.routesFile) : routeFile.status().file,
      defaultThreshold: () => classifier.active?.defaultThreshold,
      lint: new Linter(() => classifier.active),
      page: new StaticFiles(PAGE_FOLDER),
      cache: {
        status: () => cacheStatusOf(this.#parts),
        verify: () => reconciler.request('request'),
      },
    });
  }

  /** The tokenizer's library is loaded only now: boot does without. */
  async #makeTokenView(): Promise<TokenView> {
    const { tokenizerBytes } = this.#parts.pool;
    if (!tokenizerBytes) {
      this.#tokenView = undefined;
      throw new AppError('not_ready', 'no model is loaded yet', { retryable: true });
    }
    const { createTokenView } = await import('../inference/token-view.js');
    return createTokenView(tokenizerBytes);
  }

  /** Embeds a set and lets it serve, unless the very same one does already. */
  async #serveRoutes(...[set, { signal, commit }]: Parameters<ServeRoutes>): Promise<void> {
    const { classifier, log } = this.#parts;
    const encoder = this.#encoder;
    if (encoder && classifier.active?.encoder === encoder && classifier.active.set.digest === set.digest) {
      await commit?.();
      return;
    }
    const { cacheFault, durationMs, empty, ...counts } = await classifier.load(set, {
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
    if (cacheFault) log.warn({ reason: cacheFault }, 'vector cache not written');
    if (empty.length > 0) log.warn({ utterances: empty.length }, 'utterances without any token: remove them');
    log.info({ ...counts, duration_ms: Math.round(durationMs) }, 'routes embedded');
  }

  #state(): BootState {
    return {
      phase: phaseOf(this.#parts, this.#phase, this.#warming),
      loadError: this.#loadError,
      warming: this.#warming,
      uptimeMs: performance.now() - this.#startedAt,
    };
  }

  /** Boots: verify and fill the volume → load and prove the model → embed the routes → ready. */
  async #run(): Promise<void> {
    const { log } = this.#parts;
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
        log.error({ err: error, code: this.#loadError.code }, 'model load failed');
        if (hopeless) return;
        await this.#pause(Math.min(LOAD_RETRY_MS.max, LOAD_RETRY_MS.min * 2 ** Math.min(attempt, 10)));
      }
    }
  }

  /**
   * Resolves when every pinned file is verified; the reconciler tries until then. WITHOUT_VOLUME=memory does not wait
   * for an unusable volume.
   */
  async #whole(): Promise<void> {
    const { reconciler, config } = this.#parts;
    const enough = ({ whole, error }: VerificationReport): boolean =>
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

  /** Loads the model, embeds the routes with it, and becomes ready. */
  async #load(): Promise<void> {
    const { pool, manifest, store, routeFile, config, log, verified } = this.#parts;
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
    this.#embeddings = new EmbeddingCache(pool, config.embeddingCacheBytes, this.#metrics?.embedded);
    const former = await formerModels(store.layout, manifest);
    if (former.length > 0) {
      log.warn(
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
    verified.close();
    this.#loadError = undefined;
    this.#phase = 'ready';
    const bootMs = Math.round(performance.now() - this.#startedAt);
    const routes = this.#parts.classifier.active?.set.routes.length ?? 0;
    log.info({ url: this.url, boot_ms: bootMs, routes }, 'ready');
  }

  /** The verified bytes: from the volume, or from a source while the volume is unusable. */
  async #read(): Promise<ModelBytes> {
    const { manifest, store, reconciler, verified, sources, log } = this.#parts;
    if (reconciler.state.whole)
      return readModel(manifest, async (file) => verified.take(file) ?? store.read(file));
    log.warn({ code: reconciler.volumeProblem?.code }, 'volume unusable, serving from memory');
    const fetched = await fetchIntoMemory(sources, modelFiles(manifest), this.#stop.signal);
    return readModel(manifest, async ({ path }) => fetched.get(path) ?? Buffer.alloc(0));
  }

  async #pause(ms: number): Promise<void> {
    await sleep(ms, undefined, { signal: this.#stop.signal }).catch(() => undefined);
  }
}
