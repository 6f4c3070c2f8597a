import { AppError } from '../shared/errors.js';
import type { Log } from '../shared/log.js';
import { Ledger, type Problem, type Report } from './cache-state.js';
import type { Manifest, PinnedFile } from './manifest.js';
import { Reconciliation } from './reconciliation.js';
import { CureWatch } from './recovery-probe.js';
import type { Source } from './source.js';
import type { ContentStore } from './store.js';
import type { VerifiedBytes } from './verified-bytes.js';

/** Pauses and bounds of the reconciler. */
export const RECONCILER_DEFAULTS = Object.freeze({
  /** First pause before a failed reconciliation is tried again; it doubles from there. */
  retryMinMs: 1_000,
  retryMaxMs: 300_000,
  /** How often a volume in trouble is looked at, whether it is over. */
  cureLookMs: 500,
  /** A volume without room is not tried again sooner than this, unless room is seen on it. */
  fullVolumeRetryMs: 30_000,
  /** Corruption found this often within the window is the disk's fault, and is not fought in a loop. */
  unstableRepairs: 5,
  unstableWindowMs: 600_000,
  unstableHoldOffMs: 60_000,
});

/** Pauses and bounds, as in {@link RECONCILER_DEFAULTS}. */
export type ReconcilerTiming = Readonly<Record<keyof typeof RECONCILER_DEFAULTS, number>>;

/** What the reconciler works with. */
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
  readonly ledger: Ledger;
  readonly #options: ReconcilerOptions;
  readonly #timing: ReconcilerTiming;
  readonly #abort = new AbortController();
  readonly #cure: CureWatch;
  readonly #afterRun = new Set<(report: Report) => void>();
  #running: Promise<Report> | undefined;
  #queued: Promise<Report> | undefined;
  #retry: NodeJS.Timeout | undefined;
  #retryAt: number | undefined;
  #failedRuns = 0;
  #lastReport: Report | undefined;

  constructor(options: ReconcilerOptions) {
    this.#options = options;
    this.#timing = { ...RECONCILER_DEFAULTS, ...options.timing };
    this.ledger = new Ledger(options.manifest);
    this.#cure = new CureWatch(options.store.layout, this.#timing.cureLookMs);
  }

  /** The last finished run. */
  get lastReport(): Report | undefined {
    return this.#lastReport;
  }

  /** What is wrong with the volume as such (read-only, full, gone, going bad again and again), if anything. */
  get volumeProblem(): Problem | undefined {
    return this.ledger.volumeProblem ?? this.#unstable();
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
  onRun(listener: (report: Report) => void): () => void {
    this.#afterRun.add(listener);
    return () => this.#afterRun.delete(listener);
  }

  /**
   * Asks for a full verification, with repair. A request during a run is served by one that starts after it,
   * since the run under way may already have passed what has changed.
   * @throws AppError `draining` after `close`; a run's own troubles are in its report
   */
  request(reason: string): Promise<Report> {
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

  /** Whether the blob of `file` is just as this process left or last verified it. */
  async isAsVerified(file: PinnedFile): Promise<boolean> {
    const fingerprint = this.ledger.fingerprints.get(file.sha256);
    return fingerprint !== undefined && (await this.#options.store.isUntouched(file, fingerprint));
  }

  /** Stops a run (a partial download stays for the next process) and waits for its end. */
  async close(): Promise<void> {
    this.#abort.abort();
    clearTimeout(this.#retry);
    this.#cure.stop();
    await this.#queued?.catch(() => undefined);
    await this.#running?.catch(() => undefined);
  }

  async #run(reason: string): Promise<Report> {
    clearTimeout(this.#retry);
    this.#cure.stop();
    this.#retryAt = undefined;
    const { ledger } = this;
    const { signal } = this.#abort;
    const { report, failure } = await new Reconciliation({ ...this.#options, ledger, signal }).run(reason);
    this.#lastReport = report;
    this.#tell(report, failure);
    if (!signal.aborted) this.#plan(failure);
    for (const listener of this.#afterRun) listener(report);
    return report;
  }

  #tell(report: Report, failure: AppError | undefined): void {
    const { log } = this.#options;
    const summary = { reason: report.reason, whole: report.whole, duration_ms: report.durationMs };
    if (report.whole) log.info({ ...summary, fetched: report.fetched }, 'cache verified');
    const unstable = this.#unstable();
    if (unstable && (report.corrupt.length > 0 || !report.whole)) {
      log.error({ code: unstable.code, hold_off_ms: this.holdOffMs }, unstable.message);
      this.ledger.note('unstable', unstable.message);
    }
    if (failure && !this.#abort.signal.aborted) {
      log.error(
        { ...summary, code: failure.code, err: failure },
        `reconciliation failed: ${failure.message}`,
      );
      this.ledger.note('failed', failure.message);
    }
  }

  /**
   * A failed run is tried again, and so is one that found the volume unfit to be written, or that wrote a blob and
   * read something else back.
   */
  #plan(failure: AppError | undefined): void {
    const problem = failure ?? this.ledger.volumeProblem;
    if (!problem && this.ledger.whole) {
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
    if (problem?.code.startsWith('volume_')) this.#cure.start(problem.code, this.#lackingBytes(), retry);
  }

  /** The name of a volume on which corruption comes back, however often it is mended. */
  #unstable(): Problem | undefined {
    if (this.holdOffMs === 0) return undefined;
    const message = `corruption came back ${this.#recentRepairs()} times: replace this disk`;
    return { code: 'volume_unstable', message };
  }

  #lackingBytes(): number {
    const lacking = [...this.ledger.files.values()].filter(({ state }) => state !== 'verified');
    return lacking.reduce((sum, { size }) => sum + size, 0);
  }

  /** How many corruptions were mended, or came back at once, within the window. */
  #recentRepairs(): number {
    const now = Date.now();
    const since = now - this.#timing.unstableWindowMs;
    return this.ledger.repairTimes.filter((time) => time > since && time <= now).length;
  }
}
