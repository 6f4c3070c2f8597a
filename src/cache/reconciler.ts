import type { CacheProblem, VerificationReport } from '../api/cache.js';
import { AppError } from '../shared/errors.js';
import type { Log } from '../shared/log.js';
import { CacheState } from './cache-state.js';
import type { Manifest, PinnedFile } from './manifest.js';
import { reconcile, type VerifiedBytes } from './reconciliation.js';
import type { Source } from './source.js';
import type { ContentStore } from './store.js';
import { probeRecovery } from './volume.js';

export const RECONCILER_DEFAULTS = Object.freeze({
  /** First pause before a failed reconciliation is tried again; it doubles from there. */
  retryMinMs: 1_000,
  retryMaxMs: 300_000,
  /** How often a volume in trouble is looked at. */
  probeMs: 500,
  /** A volume without room is not tried again sooner than this, unless room is seen on it. */
  fullVolumeRetryMs: 30_000,
  /** Corruption found this often within the window is the disk's fault, and is not fought in a loop. */
  unstableRepairs: 5,
  unstableWindowMs: 600_000,
  unstableHoldOffMs: 60_000,
});

/** Pauses and bounds, as in {@link RECONCILER_DEFAULTS}. */
export type ReconcilerTiming = Readonly<Record<keyof typeof RECONCILER_DEFAULTS, number>>;

/** Parts and settings of the reconciler. */
export interface ReconcilerOptions {
  readonly manifest: Manifest;
  readonly store: ContentStore;
  /** The nearest first. */
  readonly sources: readonly Source[];
  readonly log: Log;
  /** Gets the bytes that were verified and are wanted. */
  readonly verified?: VerifiedBytes;
  readonly timing?: Partial<ReconcilerTiming>;
}

/**
 * Keeps the volume equal to the manifest: verify → quarantine → ingest. One run at a time in this process, and
 * at most one more waiting, however many ask; other processes on the volume do no harm. A run that fails is
 * tried again by itself, with growing pauses.
 */
export class Reconciler {
  readonly state: CacheState;
  readonly #options: ReconcilerOptions;
  readonly #timing: ReconcilerTiming;
  readonly #abort = new AbortController();
  readonly #warned = new Set<string>();
  readonly #afterRun = new Set<(report: VerificationReport) => void>();
  #running: Promise<VerificationReport> | undefined;
  #queued: Promise<VerificationReport> | undefined;
  #retry: NodeJS.Timeout | undefined;
  #stopProbe = (): void => undefined;
  #retryAt: number | undefined;
  #failedRuns = 0;
  #lastReport: VerificationReport | undefined;

  constructor(options: ReconcilerOptions) {
    this.#options = options;
    this.#timing = { ...RECONCILER_DEFAULTS, ...options.timing };
    this.state = new CacheState(options.manifest);
  }

  /** The last finished run. */
  get lastReport(): VerificationReport | undefined {
    return this.#lastReport;
  }

  /**
   * The problem of the volume as such (read-only, full, gone, unstable), if there is one. A whole cache
   * that cannot be written serves as well as any: images with a baked model are like that.
   */
  get volumeProblem(): CacheProblem | undefined {
    return (this.#isReadOnlyAndWhole ? undefined : this.state.volumeProblem) ?? this.#unstable();
  }

  /** Whether a run is under way. */
  get busy(): boolean {
    return this.#running !== undefined;
  }

  /** When a failed run is tried again, milliseconds since 1970. */
  get retryAt(): number | undefined {
    return this.#retryAt;
  }

  /** How long an early verification had better wait, in milliseconds: more than 0 while a disk keeps rotting. */
  get holdOffMs(): number {
    return this.#recentRepairs() >= this.#timing.unstableRepairs ? this.#timing.unstableHoldOffMs : 0;
  }

  /**
   * Calls `listener` after each run.
   * @returns a function that ends this
   */
  onRun(listener: (report: VerificationReport) => void): () => void {
    this.#afterRun.add(listener);
    return () => this.#afterRun.delete(listener);
  }

  /**
   * Asks for a full verification, with repair. A request during a run is served by one that starts after it,
   * since the run under way may already have passed what has changed.
   * @throws AppError `draining` after `close`; a run's own troubles are in its report
   */
  request(reason: string): Promise<VerificationReport> {
    if (this.#abort.signal.aborted) {
      return Promise.reject(new AppError('draining', 'the daemon is shutting down'));
    }
    if (!this.#running) {
      this.#running = this.#run(reason).finally(() => {
        this.#running = undefined;
      });
      return this.#running;
    }
    this.#queued ??= this.#running.then(() => {
      this.#queued = undefined;
      return this.request(reason);
    });
    return this.#queued;
  }

  /** Whether the blob of `file` is just as this process left or last read it, whole or corrupt. */
  async isAsRead(file: PinnedFile): Promise<boolean> {
    const fingerprint = this.state.fingerprints.get(file.sha256);
    return fingerprint !== undefined && (await this.#options.store.isUntouched(file, fingerprint));
  }

  /** Stops a run (a partial download stays for the next process) and waits for its end. */
  async close(): Promise<void> {
    this.#abort.abort();
    clearTimeout(this.#retry);
    this.#stopProbe();
    await this.#queued?.catch(() => undefined);
    await this.#running?.catch(() => undefined);
  }

  get #isReadOnlyAndWhole(): boolean {
    return this.state.volumeProblem?.code === 'volume_read_only' && this.state.whole;
  }

  async #run(reason: string): Promise<VerificationReport> {
    clearTimeout(this.#retry);
    this.#stopProbe();
    this.#retryAt = undefined;
    const { state } = this;
    const { signal } = this.#abort;
    const { report, failure } = await reconcile({ ...this.#options, state, signal }, reason);
    this.#lastReport = report;
    if (!signal.aborted) this.#scheduleRetry(failure);
    this.#logReport(report, failure);
    if (report.whole) state.forgetFailures();
    for (const listener of this.#afterRun) listener(report);
    return report;
  }

  #logReport(report: VerificationReport, failure: AppError | undefined): void {
    const { log, store } = this.#options;
    for (const warning of store.warnings) {
      if (!this.#warned.has(warning)) log.warn({}, warning);
      this.#warned.add(warning);
    }
    const summary = { reason: report.reason, whole: report.whole, duration_ms: report.duration_ms };
    if (report.whole) log.info({ ...summary, fetched: report.fetched }, 'cache verified');
    const unstable = this.#unstable();
    if (unstable && (report.corrupt.length > 0 || !report.whole)) {
      log.error({ code: unstable.code, hold_off_ms: this.holdOffMs }, unstable.message);
      this.state.note('unstable', unstable.message);
    }
    if (!failure || this.#abort.signal.aborted) return;
    const waitMs = this.#retryAt === undefined ? undefined : Math.max(0, this.#retryAt - Date.now());
    const details = {
      ...{ ...summary, code: failure.code },
      ...(waitMs !== undefined && { retry_in_s: Math.round(waitMs / 100) / 10 }),
      // An expected state needs no stack.
      ...(failure.code === 'internal' && { err: failure }),
    };
    // A cause that stays is logged in full once; each attempt after that has a short line.
    if (this.state.isNews(`logged ${failure.message}`)) {
      log.error(details, `cache is not whole: ${failure.message}`);
    } else log.warn(details, 'cache is still not whole');
    this.state.note('failed', failure.message);
  }

  /**
   * A failed run is tried again, and so is one that found the volume unfit to be written, or that wrote a blob and
   * read something else back.
   */
  #scheduleRetry(failure: AppError | undefined): void {
    const problem = failure ?? (this.#isReadOnlyAndWhole ? undefined : this.state.volumeProblem);
    if (!problem && this.state.whole) {
      this.#failedRuns = 0;
      return;
    }
    const { retryMinMs, retryMaxMs, fullVolumeRetryMs } = this.#timing;
    const backoff = Math.min(retryMaxMs, retryMinMs * 2 ** Math.min(this.#failedRuns, 20));
    // Jitter spreads a fleet that lost its source at one moment; half of the pause is a floor.
    const jittered = backoff / 2 + (Math.random() * backoff) / 2;
    const floor = problem?.code === 'volume_full' ? fullVolumeRetryMs : (failure?.retryAfterMs ?? 0);
    const waitMs = Math.max(jittered, floor, problem ? 0 : this.holdOffMs);
    this.#failedRuns += 1;
    this.#retryAt = Date.now() + waitMs;
    const retry = (): void => void this.request('retry').catch(() => undefined);
    this.#retry = setTimeout(retry, waitMs);
    this.#retry.unref();
    if (!problem?.code.startsWith('volume_')) return;
    const { layout } = this.#options.store;
    const trouble = { code: problem.code, bytes: this.#lackingBytes() };
    this.#stopProbe = probeRecovery(layout, this.#timing.probeMs, trouble, retry);
  }

  /** The problem of a volume on which corruption comes back, however often it is repaired. */
  #unstable(): CacheProblem | undefined {
    if (this.holdOffMs === 0) return undefined;
    const message = `corruption came back ${this.#recentRepairs()} times: replace this disk`;
    return { code: 'volume_unstable', message };
  }

  #lackingBytes(): number {
    const lacking = [...this.state.files.values()].filter(({ state }) => state !== 'verified');
    return lacking.reduce((sum, { size }) => sum + size, 0);
  }

  /** How many corruptions were mended, or came back at once, within the window. */
  #recentRepairs(): number {
    const now = Date.now();
    const since = now - this.#timing.unstableWindowMs;
    return this.state.repairTimes.filter((time) => time > since && time <= now).length;
  }
}
