import type { VerificationReport } from '../api/cache.js';
import { AppError, messageOf } from '../shared/errors.js';
import type { Log } from '../shared/log.js';
import { acquire, type SourceFailure } from './acquire.js';
import { type CacheState, type Healed, readStateFile, writeStateFile } from './cache-state.js';
import { asVolumeError } from './disk.js';
import type { Manifest, PinnedFile } from './manifest.js';
import { BUNDLED, type Source } from './source.js';
import type { ContentStore } from './store.js';

/** Problems of a volume that show only when blobs are read and written. */
const HIDDEN_PROBLEMS: ReadonlySet<string | undefined> = new Set(['volume_full', 'volume_unavailable']);

export interface ReconciliationParts {
  readonly manifest: Manifest;
  readonly store: ContentStore;
  /** The nearest first. */
  readonly sources: readonly Source[];
  readonly state: CacheState;
  readonly log: Log;
  /** Gets the bytes that were verified and are wanted. */
  readonly verified?: VerifiedBytes;
  /** Stops it between two steps, and a download at once; a partial file stays for later. */
  readonly signal: AbortSignal;
}

/**
 * One pass that makes the volume equal to the manifest: prepare → verify → set corrupt blobs aside → fetch → tidy.
 * It never throws: `failure` is the error that ended it early, if one did.
 */
export async function reconcile(
  parts: ReconciliationParts,
  reason: string,
): Promise<{ readonly report: VerificationReport; readonly failure: AppError | undefined }> {
  const startedAt = Date.now();
  let found: Found = { verified: [], missing: [], corrupt: [], newlyCorrupt: [], healed: [], wanted: [] };
  let fetched: Fetched = { fetched: [], healed: [], failures: [], error: undefined };
  let failure: AppError | undefined;
  try {
    // A volume that cannot be written may still hold a good model: its problem is named, and the run goes on.
    const unfit = await prepare(parts);
    found = await verify(parts);
    const aside = unfit ? [] : await setCorruptAside(parts);
    tellCorrupt(parts, found.newlyCorrupt, aside);
    if (found.wanted.length > 0) {
      if (unfit) throw unfit;
      fetched = await fetchWanted(parts, found.wanted);
      // A file may have been put back by hand meanwhile.
      if (fetched.error && !parts.state.whole) throw fetched.error;
    }
    const untidy = unfit ?? (await tidy(parts));
    if (!untidy) setProblem(parts, undefined);
  } catch (error) {
    failure =
      error instanceof AppError ? error : new AppError('internal', messageOf(error), { cause: error });
    if (failure.code.startsWith('volume_')) setProblem(parts, failure);
  }
  const report: VerificationReport = {
    reason,
    started_at: new Date(startedAt).toISOString(),
    duration_ms: Date.now() - startedAt,
    whole: parts.state.whole,
    ...{ verified: found.verified, missing: found.missing, corrupt: found.corrupt },
    fetched: fetched.fetched,
    healed: [...found.healed, ...fetched.healed],
    failures: fetched.failures,
    error: failure ? { code: failure.code, message: failure.message } : null,
  };
  return { report, failure };
}

/** Makes the folders and removes leftovers; returns why the volume cannot be written, if it cannot. */
async function prepare(parts: ReconciliationParts): Promise<AppError | undefined> {
  const { store, manifest, state, log } = parts;
  let unfit: AppError | undefined;
  try {
    for (const message of await store.prepare()) {
      log.warn({ code: 'blob_corrupt' }, message);
      state.note('quarantined', message);
    }
    await store.sweep(new Set(manifest.files.map(({ sha256 }) => sha256)));
    // Keep reporting problems that this cannot detect until a full run completes, so that they do not flap.
    if (!HIDDEN_PROBLEMS.has(state.volumeProblem?.code)) setProblem(parts, undefined);
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    unfit = error;
    setProblem(parts, error);
  }
  const sources = await readStateFile(store.layout);
  for (const file of state.files.values()) file.source ??= sources.get(file.sha256);
  return unfit;
}

interface Found {
  /** Paths, by their blob's state. */
  readonly verified: readonly string[];
  readonly missing: readonly string[];
  readonly corrupt: readonly string[];
  readonly newlyCorrupt: readonly PinnedFile[];
  readonly healed: readonly Healed[];
  readonly wanted: readonly PinnedFile[];
}

/** Reads every blob and compares it with its pin. */
async function verify({ store, manifest, state, verified, signal }: ReconciliationParts): Promise<Found> {
  const paths = { verified: [] as string[], missing: [] as string[], corrupt: [] as string[] };
  const healed: Healed[] = [];
  const newlyCorrupt: PinnedFile[] = [];
  const wanted: PinnedFile[] = [];
  state.counters.verifications += 1;
  for (const file of manifest.files) {
    signal.throwIfAborted();
    const verdict = await store.verify(file, verified?.keeperOf(file));
    if (verdict.state === 'corrupt' && !state.file(file).corrupt) newlyCorrupt.push(file);
    const whole = state.record(file, verdict);
    if (whole) healed.push(whole);
    paths[verdict.state].push(file.path);
    if (verdict.state !== 'verified') wanted.push(file);
  }
  return { ...paths, newlyCorrupt, healed, wanted };
}

/**
 * Moves what is corrupt into quarantine; evidence that is there already is not kept twice.
 * @returns the paths whose evidence is new
 */
async function setCorruptAside({ store, manifest, state, log }: ReconciliationParts): Promise<string[]> {
  const aside: string[] = [];
  const blobs = new Map(manifest.files.map((file) => [file.sha256, file]));
  for (const file of blobs.values()) {
    const { corrupt, reason } = state.file(file);
    if (!corrupt) continue;
    const entry = await store.quarantine(file, reason ?? 'corrupt');
    if (!entry.isNew) continue;
    aside.push(file.path);
    log.warn({ path: file.path, entry: entry.name, reason: entry.reason }, 'corrupt blob quarantined');
    state.note('quarantined', entry.reason, file.path);
  }
  return aside;
}

/** Logs corruption that was not told with the quarantine. */
function tellCorrupt(
  { state, log }: ReconciliationParts,
  found: readonly PinnedFile[],
  told: readonly string[],
): void {
  for (const file of found) {
    const { reason } = state.file(file);
    if (!told.includes(file.path))
      log.warn({ path: file.path, sha256: file.sha256, reason }, 'blob is corrupt');
  }
}

interface Fetched {
  /** Paths whose bytes came from a source. */
  readonly fetched: readonly string[];
  readonly healed: readonly Healed[];
  readonly failures: VerificationReport['failures'];
  readonly error: unknown;
}

/** Fetches what is wanted from the sources, and reads it back from the disk. */
async function fetchWanted(parts: ReconciliationParts, wanted: readonly PinnedFile[]): Promise<Fetched> {
  const { store, sources, manifest, state, verified, log, signal } = parts;
  const statusesOf = ({ sha256 }: PinnedFile) =>
    manifest.files.filter((file) => file.sha256 === sha256).map((file) => state.file(file));
  for (const file of wanted) {
    const status = state.file(file);
    status.state = status.corrupt ? 'repairing' : 'downloading';
  }
  const committed = new Set<string>();
  const failures: VerificationReport['failures'][number][] = [];
  const fetched: string[] = [];
  const healed: Healed[] = [];
  const observer = {
    progress: (file: PinnedFile, bytes: number, source: string, received: number) => {
      state.noteBytes(source, received);
      for (const status of statusesOf(file)) status.bytes = bytes;
    },
    committed: (file: PinnedFile, source: string) => {
      state.counters.downloads += 1;
      committed.add(file.sha256);
      setProblem(parts, undefined);
      const statuses = statusesOf(file);
      for (const status of statuses) status.source = source;
      const isRepair = statuses.some(({ corrupt }) => corrupt);
      const added = source === BUNDLED ? 'blob copied' : 'blob fetched';
      const message = isRepair ? 'corrupt blob replaced' : added;
      log.info({ path: file.path, source, bytes: file.size }, message);
    },
    failed: ({ retryAfterMs: _, ...failure }: SourceFailure) => {
      failures.push(failure);
      state.note('source_failed', `${failure.source}: ${failure.message}`, failure.path);
    },
  };
  let error: unknown;
  try {
    await acquire(store, sources, wanted, observer, signal);
  } catch (failure) {
    error = failure;
  }
  // Where no source delivers, the error has the reason of each.
  const told = error instanceof AppError && error.code === 'sources_exhausted';
  for (const { source, code, message, path } of told ? [] : failures) {
    log.warn({ source, path, code }, `source failed, the next one is tried: ${message}`);
  }
  // Whatever happened, the status comes from the disk from here on.
  for (const file of wanted) {
    const verdict = await store.verify(file, verified?.keeperOf(file));
    const whole = state.record(file, verdict, committed.has(file.sha256));
    if (whole) healed.push(whole);
    if (verdict.state === 'verified' && committed.has(file.sha256)) fetched.push(file.path);
  }
  return { fetched, healed, failures, error };
}

/** Removes leftovers and writes `state.json`; returns why that failed, if it did: the blobs are whole all the same. */
async function tidy(parts: ReconciliationParts): Promise<AppError | undefined> {
  const { store, state, manifest, log } = parts;
  const files = [...state.files.values()];
  try {
    const missing = files.filter(({ state }) => state !== 'verified').map(({ sha256 }) => sha256);
    const swept = await store.sweep(new Set(missing));
    if (swept.length > 0) log.info({ swept }, 'leftovers of interrupted writes removed');
    await writeStateFile(store.layout, manifest, files);
    return undefined;
  } catch (error) {
    const problem = asVolumeError(error, `cannot write to ${store.layout.root}`);
    setProblem(parts, problem);
    return problem;
  }
}

/** A whole cache needs no writing: then a volume that cannot be written is worth a warning, and no error. */
function setProblem({ state, log }: ReconciliationParts, error: AppError | undefined): void {
  if (error && error.message !== state.volumeProblem?.message) {
    const isError = error.code !== 'volume_read_only';
    log[isError ? 'error' : 'warn']({ code: error.code }, error.message);
    state.note('volume', error.message);
  }
  state.volumeProblem = error && { code: error.code, message: error.message };
}

/**
 * Bytes that a verification has read, for the load of the model right after it: reading and hashing a model takes a
 * tenth of a boot, and need not be done twice.
 */
export class VerifiedBytes {
  readonly #wanted: Set<string>;
  readonly #kept = new Map<string, Buffer>();

  /** @param files whose bytes are wanted */
  constructor(files: readonly PinnedFile[]) {
    this.#wanted = new Set(files.map(({ sha256 }) => sha256));
  }

  /** Returns the function that a verification gives a file's bytes to, if they are wanted. */
  keeperOf({ sha256 }: PinnedFile): ((bytes: Buffer) => void) | undefined {
    if (!this.#wanted.has(sha256)) return undefined;
    return (bytes) => {
      if (this.#wanted.has(sha256)) this.#kept.set(sha256, bytes);
    };
  }

  /** A file's verified bytes, if they were read since they were last taken. */
  take({ sha256 }: PinnedFile): Buffer | undefined {
    const bytes = this.#kept.get(sha256);
    this.#kept.delete(sha256);
    return bytes;
  }

  /** From now on nothing is wanted, nor kept. */
  close(): void {
    this.#wanted.clear();
    this.#kept.clear();
  }
}
