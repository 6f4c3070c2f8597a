import { loadManifest } from '../cache/manifest.js';
import { readConfig } from '../config/config.js';
import { checkMachine, machineLimits, workerBound } from '../config/machine-limits.js';
import { POOL_DEFAULTS, WorkerPool } from '../inference/pool.js';
import { createLogger, type ProcessLogger } from '../telemetry/logger.js';
import { createService } from './service.js';

/** Exit codes of a daemon; 2 (wrong settings) is what an error before `start` becomes. */
const EXIT = { stopped: 0, failed: 1 } as const;

/** No worker counts as hanging sooner, however little time requests have: a busy machine is no dead worker. */
const LEAST_HANG_MS = 1_000;

/** The daemon as the process sees it. */
export interface Daemon {
  /** Listens and begins to fill the volume. */
  start(): Promise<void>;
  /** Shuts down in good order and ends the process with 0; asked again, ends it at once. */
  stop(signal: NodeJS.Signals): void;
}

/**
 * Makes a daemon out of the environment.
 * @throws AppError `config_invalid`, `manifest_invalid`, `routes_invalid`: nothing listens yet
 */
export async function startDaemon(
  env: NodeJS.ProcessEnv,
  version: string,
  exit: (code: number) => never,
): Promise<Daemon> {
  const config = readConfig(env);
  const limits = machineLimits(config.variant);
  checkMachine(limits);
  const logger = await createLogger(config);
  const { log } = logger;
  guard(logger, exit);
  const { cores, cpuQuota, memoryLimit, memoryFits } = limits;
  const bound = workerBound(limits, config.workers);
  log.info(
    { workers: config.workers, bound, cores, cpu_quota: cpuQuota, memory_limit_bytes: memoryLimit },
    'workers bounded',
  );
  if (config.workers > memoryFits) {
    log.warn(
      { workers: config.workers, fit: memoryFits, memory_limit_bytes: memoryLimit },
      'more workers than the memory limit carries: lower INFERENCE_WORKERS or raise the limit',
    );
  }
  const pool = new WorkerPool({
    workers: config.workers,
    maxQueue: config.maxQueue,
    // Who cannot be answered in time is told at once.
    maxQueueMs: Math.min(config.maxQueueMs, config.requestTimeoutMs),
    // Early enough, as a rule, that a text whose worker hangs is answered by another one in time.
    hangTimeoutMs: Math.min(
      POOL_DEFAULTS.hangTimeoutMs,
      Math.max(LEAST_HANG_MS, Math.ceil(config.requestTimeoutMs / 3)),
    ),
    log,
  });
  const manifest = await loadManifest(config.manifestFile);
  const service = await createService(config, manifest, log, version, pool);
  let stopping = false;

  const end = (code: number): never => {
    logger.flush();
    return exit(code);
  };
  const stop = (signal: NodeJS.Signals): void => {
    if (stopping) {
      log.warn({ signal }, 'second signal: ending at once');
      end(signal === 'SIGINT' ? 130 : 143);
    }
    stopping = true;
    log.info({ signal, drain_ms: config.drainMs }, 'shutting down');
    service.close().then(
      () => {
        log.info({}, 'stopped');
        end(EXIT.stopped);
      },
      (error: unknown) => {
        log.error({ err: error }, 'shutdown failed');
        end(EXIT.failed);
      },
    );
  };
  return { start: () => service.start(), stop };
}

/** What nobody foresaw is logged and ends the process: a daemon in an unknown state serves nobody. */
function guard(logger: ProcessLogger, exit: (code: number) => never): void {
  const fatal = (error: unknown, kind: string): void => {
    logger.log.fatal({ err: error }, kind);
    logger.flush();
    exit(EXIT.failed);
  };
  process.on('uncaughtException', (error) => fatal(error, 'uncaught exception'));
  process.on('unhandledRejection', (reason) => fatal(reason, 'unhandled rejection'));
  // Node would write them to stderr in words of its own, beside a log that programs read. What a package still uses of
  // an old Node is its maintainers' affair.
  process.removeAllListeners('warning');
  process.on('warning', ({ name, message }) => {
    const { log } = logger;
    if (name === 'DeprecationWarning') log.debug({ name, message }, 'deprecated');
    else log.warn({ name, message }, 'warning of Node');
  });
  // A reader of our output that went away is no reason to stop serving.
  for (const stream of [process.stdout, process.stderr]) stream.on('error', () => undefined);
}
