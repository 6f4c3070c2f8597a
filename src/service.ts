import { setTimeout as sleep } from 'node:timers/promises';
import { gather } from './cache/gather.js';
import { fileOf, loadManifest, type Manifest, type PinnedFile } from './cache/manifest.js';
import { ContentStore } from './cache/store.js';
import { Classifier } from './classify/classifier.js';
import type { Encoder } from './classify/encoder.js';
import { MAX_ROUTE_FILE_BYTES, RouteFile } from './classify/route-file.js';
import { parseRouteSet } from './classify/routes.js';
import { readTextFile } from './classify/text-file.js';
import type { Config } from './config.js';
import { AppError, messageOf } from './errors.js';
import { createApp } from './http/app.js';
import { type HttpServer, listen } from './http/server.js';
import type { Log } from './log.js';
import type { ModelBytes } from './model/model-bytes.js';
import { createPool } from './model/pool.js';
import { defaultPoolSettings } from './model/pool-settings.js';
import { cacheStatusOf, healthOf, type Parts, type Phase, reportBody, type State } from './report.js';
import { createSources } from './sources.js';
import { Reconciler } from './upkeep/reconciler.js';
import type { Report } from './upkeep/status.js';
import { Triggers } from './upkeep/triggers.js';
import { utteranceCache } from './utterance-cache.js';

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
 * Puts a daemon together. Nothing listens and nothing is written yet.
 * @throws AppError `manifest_invalid`, `routes_invalid`, `config_invalid`
 */
export async function createService(config: Config, log: Log, version: string): Promise<Service> {
  const manifest = await loadManifest(config.manifestFile);
  // A broken route file is found before anything listens; the file is read again when the model is there.
  const routes = await readTextFile(config.routesFile, MAX_ROUTE_FILE_BYTES).catch((cause: unknown) => {
    // Whoever mistyped a path needs all of it, and the setting's name.
    throw new AppError('routes_invalid', `ROUTES_FILE ${config.routesFile}: ${messageOf(cause)}`, { cause });
  });
  parseRouteSet(routes.text, { origin: config.routesFile });
  return new Daemon(config, manifest, log, version);
}

class Daemon implements Service {
  readonly #parts: Parts;
  readonly #log: Log;
  readonly #sources: ReturnType<typeof createSources>;
  readonly #startedAt = performance.now();
  readonly #stop = new AbortController();
  #phase: Phase = 'verifying';
  #loadError: AppError | undefined;
  #warming: { done: number; total: number } | undefined;
  #encoder: Encoder | undefined;
  #server: HttpServer | undefined;
  #boot: Promise<void> | undefined;

  constructor(config: Config, manifest: Manifest, log: Log, version: string) {
    this.#log = log;
    const store = new ContentStore(config.cacheDir, config.requireMount);
    this.#sources = createSources(config, manifest, {
      onEvent: (event) => log.warn({ ...event }, 'source: trying again'),
    });
    const reconciler = new Reconciler({ manifest, store, sources: this.#sources, log });
    const { layout } = store;
    const classifier = new Classifier();
    this.#parts = {
      config,
      version,
      manifest,
      store,
      reconciler,
      triggers: new Triggers({ manifest, layout, reconciler, cron: config.verifyCron, log }),
      pool: createPool({
        workers: config.workers,
        maxQueue: config.maxQueue,
        // Early enough that a text whose worker hangs is answered by another one in time.
        hangTimeoutMs: Math.min(defaultPoolSettings().hangTimeoutMs, Math.ceil(config.requestTimeoutMs / 3)),
        log,
      }),
      classifier,
      routeFile: new RouteFile({
        path: config.routesFile,
        log,
        apply: async (set, { signal }) => {
          const report = await classifier.load(set, {
            signal,
            ...(this.#encoder && { encoder: this.#encoder }),
            onProgress: (done, total) => {
              this.#warming = { done, total };
            },
          });
          const { cacheFault, ...counts } = report;
          if (cacheFault) log.warn({ reason: cacheFault }, 'vectors of utterances could not be kept');
          log.info(counts, 'routes embedded');
        },
      }),
    };
  }

  get url(): string | undefined {
    return this.#server?.url;
  }

  async start(): Promise<void> {
    const { config, version, manifest, store, reconciler, classifier } = this.#parts;
    const app = createApp({
      classifier,
      limits: config,
      requestTimeoutMs: config.requestTimeoutMs,
      adminKeys: config.adminKeys,
      log: this.#log,
      health: {
        report: () => healthOf(this.#parts, this.#state()),
        draining: () => this.#phase === 'draining',
      },
      cache: {
        status: () => cacheStatusOf(this.#parts),
        verify: async () => reportBody(await reconciler.request('request')),
      },
    });
    try {
      this.#server = await listen(app, config.port, config.host);
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
    const { config, triggers, reconciler, routeFile, classifier, pool } = this.#parts;
    const until = performance.now() + config.drainMs;
    const left = (): number => Math.max(0, until - performance.now());
    this.#phase = 'draining';
    this.#stop.abort();
    await Promise.all([triggers.close(), routeFile.close(), reconciler.close()]);
    // A pool that serves nothing yet has nothing to finish; ending it frees a boot that waits for it.
    if (!pool.status().ready) await pool.close(0);
    await this.#server?.close(left());
    await pool.close(left());
    classifier.close();
    await this.#boot;
    for (const source of this.#sources) await source.close?.();
  }

  #state(): State {
    const downloading = [...this.#parts.reconciler.ledger.files.values()].some(
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
    const { pool, manifest, store, routeFile } = this.#parts;
    this.#phase = 'loading';
    const { repo: id, revision, variant, digest } = manifest;
    await pool.load(await this.#read(), async (embedder) => {
      this.#phase = 'warming';
      const cache = utteranceCache(store.layout, manifest);
      this.#encoder = { embedder, cache, model: { id, revision, variant, digest } };
      await routeFile.start({ signal: this.#stop.signal });
    });
    if (this.#stop.signal.aborted) return;
    this.#loadError = undefined;
    this.#phase = 'ready';
    this.#log.info({ boot_ms: Math.round(performance.now() - this.#startedAt) }, 'ready');
  }

  /** The verified bytes: from the volume, or, while that is unusable and may be done without, from a source. */
  async #read(): Promise<ModelBytes> {
    const { manifest, store, reconciler } = this.#parts;
    const { embedding: spec, canary } = manifest;
    const pinned = [spec.model, spec.tokenizer, spec.tokenizer_config].map((path) => fileOf(manifest, path));
    let read = (file: PinnedFile): Promise<Buffer> => store.read(file);
    if (!reconciler.ledger.whole) {
      this.#log.warn({ code: reconciler.volumeProblem?.code }, 'the volume is unusable: serving from memory');
      const gathered = await gather(this.#sources, pinned, this.#stop.signal);
      read = async ({ path }) => gathered.get(path) ?? Buffer.alloc(0);
    }
    const [model, tokenizer, tokenizerConfig] = await Promise.all(pinned.map(read));
    if (!model || !tokenizer || !tokenizerConfig)
      throw new AppError('internal', 'a pinned file has no bytes');
    return { spec, canary, model, tokenizer, tokenizerConfig };
  }

  async #pause(ms: number): Promise<void> {
    await sleep(ms, undefined, { signal: this.#stop.signal }).catch(() => undefined);
  }
}
