import { acquire, type SourceFailure } from '../cache/acquire.js';
import type { Fingerprint } from '../cache/disk.js';
import type { Manifest, PinnedFile } from '../cache/manifest.js';
import type { Source } from '../cache/source.js';
import type { ContentStore } from '../cache/store.js';
import { AppError, messageOf } from '../errors.js';
import type { Log } from '../log.js';
import { readNotes, writeNotes } from './notes.js';
import { Ledger, type Problem, type Report } from './status.js';

/** Pauses and bounds of the reconciler. */
export const RECONCILER_DEFAULTS = Object.freeze({
  /** First pause before a failed reconciliation is tried again; it doubles from there. */
  retryMinMs: 1_000,
  retryMaxMs: 300_000,
  /** A volume without room is not tried again sooner than this. */
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
  readonly #fingerprints = new Map<string, Fingerprint>();
  readonly #afterRun = new Set<(report: Report) => void>();
  #running: Promise<Report> | undefined;
  #queued: Promise<Report> | undefined;
  #retry: NodeJS.Timeout | undefined;
  #retryAt: number | undefined;
  #failedRuns = 0;
  #repairTimes: number[] = [];
  #lastReport: Report | undefined;
  #volumeProblem: Problem | undefined;

  constructor(options: ReconcilerOptions) {
    this.#options = options;
    this.#timing = { ...RECONCILER_DEFAULTS, ...options.timing };
    this.ledger = new Ledger(options.manifest);
  }

  /** The last finished run. */
  get lastReport(): Report | undefined {
    return this.#lastReport;
  }

  /** What is wrong with the volume as such (read-only, full, gone), if anything. */
  get volumeProblem(): Problem | undefined {
    return this.#volumeProblem;
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
    return this.#recentRepairs().length >= this.#timing.unstableRepairs ? this.#timing.unstableHoldOffMs : 0;
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
    const fingerprint = this.#fingerprints.get(file.sha256);
    return fingerprint !== undefined && (await this.#options.store.isUntouched(file, fingerprint));
  }

  /** Stops a run (a partial download stays for the next process) and waits for its end. */
  async close(): Promise<void> {
    this.#abort.abort();
    clearTimeout(this.#retry);
    await this.#queued?.catch(() => undefined);
    await this.#running?.catch(() => undefined);
  }

  async #run(reason: string): Promise<Report> {
    clearTimeout(this.#retry);
    this.#retryAt = undefined;
    const startedAt = Date.now();
    const found = { verified: [] as string[], missing: [] as string[], corrupt: [] as string[] };
    const fetched: string[] = [];
    const failures: SourceFailure[] = [];
    let failure: AppError | undefined;
    try {
      await this.#prepare();
      const wanted = await this.#verifyAll(found);
      await this.#setCorruptAside();
      if (wanted.length > 0) await this.#fetch(wanted, fetched, failures);
      await this.#tidy();
    } catch (error) {
      failure =
        error instanceof AppError ? error : new AppError('internal', messageOf(error), { cause: error });
    }
    const report: Report = {
      reason,
      startedAt: new Date(startedAt).toISOString(),
      durationMs: Date.now() - startedAt,
      whole: this.ledger.whole,
      ...found,
      fetched,
      failures,
      error: failure && { code: failure.code, message: failure.message },
    };
    this.#finish(report, failure);
    return report;
  }

  /** A volume that cannot be written may still hold a good model: its trouble is named, and the run goes on. */
  async #prepare(): Promise<void> {
    const { store, manifest, log } = this.#options;
    try {
      const moved = await store.prepare();
      for (const message of moved) {
        log.warn({ code: 'blob_corrupt' }, message);
        this.ledger.note('quarantined', message);
      }
      await store.sweep(new Set(manifest.files.map(({ sha256 }) => sha256)));
      this.#noteVolume(undefined);
    } catch (error) {
      if (!(error instanceof AppError)) throw error;
      this.#noteVolume(error);
    }
    const notes = await readNotes(store.layout);
    for (const file of this.ledger.files.values()) file.source ??= notes.get(file.sha256);
  }

  async #verifyAll(found: {
    verified: string[];
    missing: string[];
    corrupt: string[];
  }): Promise<PinnedFile[]> {
    const { store, manifest, log } = this.#options;
    const wanted: PinnedFile[] = [];
    this.ledger.counters.verifications += 1;
    for (const file of manifest.files) {
      this.#abort.signal.throwIfAborted();
      const status = this.ledger.file(file);
      const verdict = await store.verify(file);
      found[verdict.state].push(file.path);
      status.state = verdict.state;
      status.reason = verdict.state === 'corrupt' ? verdict.reason : undefined;
      if (verdict.state === 'verified') {
        status.verifiedAt = new Date().toISOString();
        status.bytes = file.size;
        this.#fingerprints.set(file.sha256, verdict.fingerprint);
        continue;
      }
      wanted.push(file);
      status.bytes = 0;
      this.#fingerprints.delete(file.sha256);
      this.ledger.note(verdict.state, status.reason ?? 'not on the volume', file.path);
      if (verdict.state === 'corrupt') {
        this.ledger.counters.corruptions += 1;
        log.warn({ path: file.path, sha256: file.sha256, reason: verdict.reason }, 'blob is corrupt');
      }
    }
    return wanted;
  }

  async #setCorruptAside(): Promise<void> {
    const { store, manifest, log } = this.#options;
    if (this.#volumeProblem) return;
    const done = new Set<string>();
    for (const file of manifest.files) {
      const { state, reason } = this.ledger.file(file);
      if (state !== 'corrupt' || done.has(file.sha256)) continue;
      done.add(file.sha256);
      const entry = await store.quarantine(file, reason ?? 'corrupt');
      log.warn({ path: file.path, entry: entry.name, reason: entry.reason }, 'bad blob set aside');
      this.ledger.note('quarantined', entry.reason, file.path);
    }
  }

  async #fetch(wanted: PinnedFile[], fetched: string[], failures: SourceFailure[]): Promise<void> {
    const { store, sources, manifest, log } = this.#options;
    if (this.#volumeProblem) throw new AppError(this.#volumeProblem.code, this.#volumeProblem.message);
    const before = new Map(wanted.map((file) => [file.path, this.ledger.file(file).state]));
    for (const file of wanted) {
      this.ledger.file(file).state = before.get(file.path) === 'corrupt' ? 'repairing' : 'downloading';
    }
    const alike = (file: PinnedFile): PinnedFile[] =>
      manifest.files.filter(({ sha256 }) => sha256 === file.sha256);
    const { counters } = this.ledger;
    const received = new Map<string, number>();
    try {
      await acquire(
        store,
        sources,
        wanted,
        {
          progress: (file, bytes) => {
            counters.downloadedBytes += Math.max(0, bytes - (received.get(file.sha256) ?? 0));
            received.set(file.sha256, bytes);
            for (const { path } of alike(file)) this.ledger.file({ ...file, path }).bytes = bytes;
          },
          committed: (file, source) => {
            counters.downloads += 1;
            for (const { path } of alike(file)) this.ledger.file({ ...file, path }).source = source;
            log.info({ path: file.path, source, bytes: file.size }, 'blob fetched');
          },
          failed: (failure) => {
            failures.push(failure);
            log.warn({ ...failure }, 'source could not deliver a blob');
            this.ledger.note('source_failed', `${failure.source}: ${failure.message}`, failure.path);
          },
        },
        this.#abort.signal,
      );
    } finally {
      // Whatever happened, what the status says next comes from the disk.
      for (const file of wanted) await this.#recheck(file, before.get(file.path) === 'corrupt', fetched);
    }
  }

  /** Reads a fetched blob back from the disk. */
  async #recheck(file: PinnedFile, wasCorrupt: boolean, fetched: string[]): Promise<void> {
    const status = this.ledger.file(file);
    const verdict = await this.#options.store.verify(file);
    status.state = verdict.state === 'missing' && wasCorrupt ? 'corrupt' : verdict.state;
    if (verdict.state !== 'verified') {
      status.reason ??= verdict.state === 'corrupt' ? verdict.reason : undefined;
      return;
    }
    status.reason = undefined;
    status.bytes = file.size;
    status.verifiedAt = new Date().toISOString();
    this.#fingerprints.set(file.sha256, verdict.fingerprint);
    fetched.push(file.path);
    this.ledger.note(wasCorrupt ? 'repaired' : 'downloaded', `from ${status.source}`, file.path);
    if (wasCorrupt) {
      this.ledger.counters.repairs += 1;
      this.#repairTimes.push(Date.now());
    }
  }

  async #tidy(): Promise<void> {
    const { store, log } = this.#options;
    if (this.#volumeProblem) return;
    try {
      const missing = [...this.ledger.files.values()].filter(({ state }) => state !== 'verified');
      const swept = await store.sweep(new Set(missing.map(({ sha256 }) => sha256)));
      if (swept.length > 0) log.info({ swept }, 'leftovers of interrupted writes removed');
      await writeNotes(store.layout, this.#options.manifest, [...this.ledger.files.values()]);
    } catch (error) {
      // The blobs are whole; that their notes could not be written must not say otherwise.
      this.#noteVolume(
        error instanceof AppError ? error : new AppError('volume_unavailable', messageOf(error)),
      );
    }
  }

  #noteVolume(error: AppError | undefined): void {
    if (error && error.message !== this.#volumeProblem?.message) {
      this.#options.log.error({ code: error.code }, error.message);
      this.ledger.note('volume', error.message);
    }
    this.#volumeProblem = error && { code: error.code, message: error.message };
  }

  #finish(report: Report, failure: AppError | undefined): void {
    const { log } = this.#options;
    this.#lastReport = report;
    const summary = { reason: report.reason, whole: report.whole, duration_ms: report.durationMs };
    if (report.whole) log.info({ ...summary, fetched: report.fetched }, 'cache verified');
    if (this.holdOffMs > 0) {
      const message = `corruption came back ${this.#recentRepairs().length} times: replace this disk`;
      log.error({ holdOffMs: this.holdOffMs }, message);
      this.ledger.note('unstable', message);
    }
    if (failure && !this.#abort.signal.aborted) {
      if (failure.code.startsWith('volume_')) this.#noteVolume(failure);
      log.error(
        { ...summary, code: failure.code, err: failure },
        `reconciliation failed: ${failure.message}`,
      );
      this.ledger.note('failed', failure.message);
      this.#scheduleRetry(failure);
    } else if (this.#volumeProblem && !this.#abort.signal.aborted) {
      this.#scheduleRetry(new AppError(this.#volumeProblem.code, this.#volumeProblem.message));
    } else {
      this.#failedRuns = 0;
    }
    for (const listener of this.#afterRun) listener(report);
  }

  #scheduleRetry(failure: AppError): void {
    const { retryMinMs, retryMaxMs, fullVolumeRetryMs } = this.#timing;
    const backoff = Math.min(retryMaxMs, retryMinMs * 2 ** Math.min(this.#failedRuns, 20));
    // Full jitter spreads a fleet that lost its source at one moment; half of it keeps a floor.
    const jittered = backoff / 2 + (Math.random() * backoff) / 2;
    const floor = failure.code === 'volume_full' ? fullVolumeRetryMs : (failure.retryAfterMs ?? 0);
    const waitMs = Math.max(jittered, floor);
    this.#failedRuns += 1;
    this.#retryAt = Date.now() + waitMs;
    this.#retry = setTimeout(() => void this.request('retry').catch(() => undefined), waitMs);
    this.#retry.unref();
  }

  #recentRepairs(): number[] {
    const since = Date.now() - this.#timing.unstableWindowMs;
    this.#repairTimes = this.#repairTimes.filter((time) => time > since && time <= Date.now());
    return this.#repairTimes;
  }
}
