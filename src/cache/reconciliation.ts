import { AppError, messageOf } from '../shared/errors.js';
import type { Log } from '../shared/log.js';
import { acquire, type SourceFailure } from './acquire.js';
import type { FileStatus, Healed, Ledger, Report } from './cache-state.js';
import { asVolumeError } from './disk.js';
import type { Manifest, PinnedFile } from './manifest.js';
import type { Source } from './source.js';
import { readNotes, writeNotes } from './state-file.js';
import type { ContentStore } from './store.js';
import type { VerifiedBytes } from './verified-bytes.js';

/** Troubles of a volume that show only when blobs are read and written. */
const HIDDEN_TROUBLES: ReadonlySet<string | undefined> = new Set(['volume_full', 'volume_unavailable']);

/** What a reconciliation works with. */
export interface ReconciliationParts {
  readonly manifest: Manifest;
  readonly store: ContentStore;
  /** The nearest first. */
  readonly sources: readonly Source[];
  readonly ledger: Ledger;
  readonly log: Log;
  /** Gets the bytes that were verified and are wanted. */
  readonly verified?: VerifiedBytes;
  /** Stops it between two steps, and a download at once; a partial file stays for later. */
  readonly signal: AbortSignal;
}

/**
 * One pass that makes the volume equal to the manifest: prepare → verify → set corrupt blobs aside → fetch →
 * tidy. It writes what it finds into the ledger and never throws.
 */
export class Reconciliation {
  readonly #parts: ReconciliationParts;
  readonly #found = { verified: [] as string[], missing: [] as string[], corrupt: [] as string[] };
  readonly #committed = new Set<string>();
  readonly #fetched: string[] = [];
  readonly #healed: Healed[] = [];
  readonly #failures: SourceFailure[] = [];
  /** Why the volume cannot be written, as far as preparing it told. */
  #unfit: AppError | undefined;
  /** Whether this run met trouble of the volume. */
  #volumeFailed = false;

  constructor(parts: ReconciliationParts) {
    this.#parts = parts;
  }

  /** Runs all steps; `failure` is what ended them early, if anything did. */
  async run(reason: string): Promise<{ readonly report: Report; readonly failure: AppError | undefined }> {
    const startedAt = Date.now();
    let failure: AppError | undefined;
    try {
      await this.#prepare();
      const wanted = await this.#verifyAll();
      await this.#setCorruptAside();
      if (wanted.length > 0) await this.#fetch(wanted);
      await this.#tidy();
      if (!this.#volumeFailed) this.#noteVolume(undefined);
    } catch (error) {
      failure =
        error instanceof AppError ? error : new AppError('internal', messageOf(error), { cause: error });
      if (failure.code.startsWith('volume_')) this.#noteVolume(failure);
    }
    const report: Report = {
      reason,
      startedAt: new Date(startedAt).toISOString(),
      durationMs: Date.now() - startedAt,
      whole: this.#parts.ledger.whole,
      ...this.#found,
      fetched: this.#fetched,
      healed: this.#healed,
      failures: this.#failures,
      error: failure && { code: failure.code, message: failure.message },
    };
    return { report, failure };
  }

  /** A volume that cannot be written may still hold a good model: its trouble is named, and the run goes on. */
  async #prepare(): Promise<void> {
    const { store, manifest, log } = this.#parts;
    try {
      const moved = await store.prepare();
      for (const message of moved) {
        log.warn({ code: 'blob_corrupt' }, message);
        this.#parts.ledger.note('quarantined', message);
      }
      await store.sweep(new Set(manifest.files.map(({ sha256 }) => sha256)));
      // A trouble that this could not find stands until a run is through, lest its name comes and goes.
      if (!HIDDEN_TROUBLES.has(this.#parts.ledger.volumeProblem?.code)) this.#noteVolume(undefined);
    } catch (error) {
      if (!(error instanceof AppError)) throw error;
      this.#unfit = error;
      this.#noteVolume(error);
    }
    const notes = await readNotes(store.layout);
    for (const file of this.#parts.ledger.files.values()) file.source ??= notes.get(file.sha256);
  }

  async #verifyAll(): Promise<PinnedFile[]> {
    const { store, manifest, verified, log } = this.#parts;
    const wanted: PinnedFile[] = [];
    this.#parts.ledger.counters.verifications += 1;
    for (const file of manifest.files) {
      this.#parts.signal.throwIfAborted();
      const status = this.#parts.ledger.file(file);
      const verdict = await store.verify(file, verified?.keeperOf(file));
      const hadIt = status.state === 'verified';
      this.#found[verdict.state].push(file.path);
      status.state = verdict.state;
      status.reason = verdict.state === 'corrupt' ? verdict.reason : undefined;
      if (verdict.state === 'verified') {
        this.#noteHealth(status);
        status.verifiedAt = new Date().toISOString();
        status.bytes = file.size;
        this.#parts.ledger.fingerprints.set(file.sha256, verdict.fingerprint);
        continue;
      }
      wanted.push(file);
      if (verdict.state === 'corrupt' || hadIt) status.ailingSince ??= performance.now();
      status.bytes = 0;
      this.#parts.ledger.fingerprints.delete(file.sha256);
      this.#parts.ledger.note(verdict.state, status.reason ?? 'not on the volume', file.path);
      if (verdict.state === 'corrupt') {
        this.#parts.ledger.counters.corruptions += 1;
        log.warn({ path: file.path, sha256: file.sha256, reason: verdict.reason }, 'blob is corrupt');
      }
    }
    return wanted;
  }

  async #setCorruptAside(): Promise<void> {
    const { store, manifest, log } = this.#parts;
    if (this.#unfit) return;
    const done = new Set<string>();
    for (const file of manifest.files) {
      const { state, reason } = this.#parts.ledger.file(file);
      if (state !== 'corrupt' || done.has(file.sha256)) continue;
      done.add(file.sha256);
      const entry = await store.quarantine(file, reason ?? 'corrupt');
      log.warn({ path: file.path, entry: entry.name, reason: entry.reason }, 'bad blob set aside');
      this.#parts.ledger.note('quarantined', entry.reason, file.path);
    }
  }

  async #fetch(wanted: readonly PinnedFile[]): Promise<void> {
    const { store, sources, manifest, log } = this.#parts;
    if (this.#unfit) throw this.#unfit;
    const before = new Map(wanted.map((file) => [file.path, this.#parts.ledger.file(file).state]));
    for (const file of wanted) {
      this.#parts.ledger.file(file).state = before.get(file.path) === 'corrupt' ? 'repairing' : 'downloading';
    }
    const alike = (file: PinnedFile): PinnedFile[] =>
      manifest.files.filter(({ sha256 }) => sha256 === file.sha256);
    const { counters } = this.#parts.ledger;
    try {
      await acquire(
        store,
        sources,
        wanted,
        {
          progress: (file, bytes, source, received) => {
            this.#parts.ledger.noteBytes(source, received);
            for (const { path } of alike(file)) this.#parts.ledger.file({ ...file, path }).bytes = bytes;
          },
          committed: (file, source) => {
            counters.downloads += 1;
            this.#committed.add(file.sha256);
            this.#noteVolume(undefined);
            for (const { path } of alike(file)) this.#parts.ledger.file({ ...file, path }).source = source;
            log.info({ path: file.path, source, bytes: file.size }, 'blob fetched');
          },
          failed: (failure) => {
            this.#failures.push(failure);
            log.warn({ ...failure }, 'source could not deliver a blob');
            this.#parts.ledger.note('source_failed', `${failure.source}: ${failure.message}`, failure.path);
          },
        },
        this.#parts.signal,
      );
    } finally {
      // Whatever happened, what the status says next comes from the disk.
      for (const file of wanted) await this.#recheck(file, before.get(file.path) === 'corrupt');
    }
  }

  /** Reads a fetched blob back from the disk. */
  async #recheck(file: PinnedFile, wasCorrupt: boolean): Promise<void> {
    const status = this.#parts.ledger.file(file);
    const { store, verified } = this.#parts;
    const verdict = await store.verify(file, verified?.keeperOf(file));
    status.state = verdict.state === 'missing' && wasCorrupt ? 'corrupt' : verdict.state;
    if (verdict.state !== 'verified') {
      status.reason ??= verdict.state === 'corrupt' ? verdict.reason : undefined;
      // It was whole when it was committed: what is bad already is the disk, and fetching again may not help.
      if (verdict.state === 'corrupt' && this.#committed.has(file.sha256)) {
        this.#parts.ledger.noteRelapse();
        this.#parts.ledger.note('corrupt', `bad right after it was written: ${verdict.reason}`, file.path);
      }
      return;
    }
    this.#noteHealth(status);
    status.reason = undefined;
    status.bytes = file.size;
    status.verifiedAt = new Date().toISOString();
    this.#parts.ledger.fingerprints.set(file.sha256, verdict.fingerprint);
    this.#fetched.push(file.path);
    this.#parts.ledger.note(wasCorrupt ? 'repaired' : 'downloaded', `from ${status.source}`, file.path);
    if (wasCorrupt) {
      this.#parts.ledger.noteRepair();
    }
  }

  #noteHealth(status: FileStatus): void {
    if (status.ailingSince === undefined) return;
    this.#healed.push({ path: status.path, afterMs: Math.round(performance.now() - status.ailingSince) });
    status.ailingSince = undefined;
  }

  async #tidy(): Promise<void> {
    const { store, log } = this.#parts;
    if (this.#unfit) return;
    try {
      const missing = [...this.#parts.ledger.files.values()].filter(({ state }) => state !== 'verified');
      const swept = await store.sweep(new Set(missing.map(({ sha256 }) => sha256)));
      if (swept.length > 0) log.info({ swept }, 'leftovers of interrupted writes removed');
      await writeNotes(store.layout, this.#parts.manifest, [...this.#parts.ledger.files.values()]);
    } catch (error) {
      // The blobs are whole; that their notes could not be written must not say otherwise.
      this.#noteVolume(asVolumeError(error, `cannot write to ${store.layout.root}`));
    }
  }

  #noteVolume(error: AppError | undefined): void {
    const { ledger, log } = this.#parts;
    this.#volumeFailed = error !== undefined;
    if (error && error.message !== ledger.volumeProblem?.message) {
      log.error({ code: error.code }, error.message);
      ledger.note('volume', error.message);
    }
    ledger.volumeProblem = error && { code: error.code, message: error.message };
  }
}
