import * as z from 'zod';
import type { CacheEvent, CacheProblem, CacheStatus, FILE_STATES, VerificationReport } from '../api/cache.js';
import { type Fingerprint, readSmall, writeAtomic } from './disk.js';
import type { Layout } from './layout.js';
import type { Manifest, PinnedFile } from './manifest.js';
import { BUNDLED } from './source.js';
import type { Verdict } from './store.js';

/** See {@link FILE_STATES}. */
export type FileState = (typeof FILE_STATES)[number];

/** One pinned file, as `/cache/status` shows it. */
export interface FileStatus extends PinnedFile {
  state: FileState;
  /** Bytes of a download so far. */
  bytes: number;
  /** When its digest was last found right, ISO 8601. */
  verifiedAt: string | undefined;
  /** Which source its bytes came from, when known. */
  source: string | undefined;
  /** Why it is corrupt. */
  reason: string | undefined;
  /** Since when it is known to be corrupt, or gone although it was there: on the clock of `performance.now()`. */
  unhealthySince: number | undefined;
  /** Whether it was found corrupt and not yet whole again: however often it is looked at, that is one corruption. */
  corrupt: boolean;
}

/** A file that was corrupt or gone, and is verified again, with the time since that was found. */
export type Healed = VerificationReport['healed'][number];

/** Counts since the process started. */
type Counters = { -readonly [Name in keyof CacheStatus['counters']]: number };

const EVENTS_KEPT = 100;
/** Events that say the same again at each attempt. */
const REPEATED: readonly CacheEvent['kind'][] = ['failed', 'source_failed', 'unstable'];

/** Everything that is known of each file and of the volume, with counters and recent events. */
export class CacheState {
  readonly files: ReadonlyMap<string, FileStatus>;
  /** Fingerprint of each blob when it was last read, whole or corrupt, by digest (hex). */
  readonly fingerprints = new Map<string, Fingerprint>();
  /** When corruption was repaired or came back at once lately, milliseconds since 1970. */
  readonly repairTimes: number[] = [];
  /** The problem of the volume as such (read-only, full, gone), if there is one. */
  volumeProblem: CacheProblem | undefined;
  readonly counters: Counters = {
    verifications: 0,
    corruptions: 0,
    repairs: 0,
    downloads: 0,
    downloaded_bytes: 0,
  };
  /** Bytes fetched since the process started, by the source's name. */
  readonly bytesBySource = new Map<string, number>();
  /** Warnings and failures that were told already. */
  readonly #told = new Set<string>();
  readonly #events: CacheEvent[] = [];

  constructor(manifest: Manifest) {
    const unknown = { state: 'unknown' as const, bytes: 0, verifiedAt: undefined, source: undefined };
    const healthy = { reason: undefined, unhealthySince: undefined, corrupt: false };
    this.files = new Map(manifest.files.map((file) => [file.path, { ...file, ...unknown, ...healthy }]));
  }

  /** The status of a pinned file, to read or to change. */
  file(pinned: Pick<PinnedFile, 'path'>): FileStatus {
    const status = this.files.get(pinned.path);
    if (!status) throw new TypeError(`${pinned.path} is not pinned`);
    return status;
  }

  /** Whether every file is verified. */
  get whole(): boolean {
    return [...this.files.values()].every(({ state }) => state === 'verified');
  }

  /** Recent events, the newest first. */
  get events(): readonly CacheEvent[] {
    return this.#events;
  }

  /**
   * Records what a look at a blob found; `fetched` says that it was written just before, from a source.
   * @returns how long it was corrupt or gone, if it is whole again
   */
  record(file: PinnedFile, verdict: Verdict, fetched = false): Healed | undefined {
    const status = this.file(file);
    const wasThere = status.state === 'verified';
    if (verdict.state === 'verified') return this.#recordWhole(status, verdict.fingerprint, fetched);
    this.fingerprints.delete(file.sha256);
    status.bytes = 0;
    if (verdict.state === 'corrupt') {
      if (verdict.fingerprint) this.fingerprints.set(file.sha256, verdict.fingerprint);
      if (!status.corrupt) {
        this.counters.corruptions += 1;
        this.note('corrupt', verdict.reason, file.path);
      }
      if (fetched) {
        // It was whole when it was committed: the disk itself is bad, and fetching again may not help.
        this.#noteRepairTime();
        this.note('corrupt', `bad right after it was written: ${verdict.reason}`, file.path);
      }
      status.corrupt = true;
      status.reason = verdict.reason;
    } else if (wasThere) {
      this.note('missing', 'not on the volume any more', file.path);
    }
    if (status.corrupt || wasThere) status.unhealthySince ??= performance.now();
    status.state = status.corrupt ? 'corrupt' : 'missing';
    return undefined;
  }

  /** Counts bytes that came from a source. */
  noteBytes(source: string, bytes: number): void {
    this.counters.downloaded_bytes += bytes;
    this.bytesBySource.set(source, (this.bytesBySource.get(source) ?? 0) + bytes);
  }

  /** Notes an event; failures that go on are noted once. */
  note(kind: CacheEvent['kind'], message: string, path?: string): void {
    if (REPEATED.includes(kind) && !this.isNews(`${kind} ${message}`)) return;
    this.#events.unshift({ at: new Date().toISOString(), kind, path, message });
    if (this.#events.length > EVENTS_KEPT) this.#events.pop();
  }

  /** Whether this was not told since the cache was last whole. */
  isNews(text: string): boolean {
    const isNews = !this.#told.has(text);
    this.#told.add(text);
    return isNews;
  }

  /** Failures after this are news again. */
  forgetFailures(): void {
    this.#told.clear();
  }

  #recordWhole(status: FileStatus, fingerprint: Fingerprint, fetched: boolean): Healed | undefined {
    const { path, unhealthySince } = status;
    const from = fetched ? `from ${status.source}` : 'whole again';
    if (status.corrupt) {
      this.counters.repairs += 1;
      if (fetched) this.#noteRepairTime();
    }
    if (unhealthySince !== undefined) this.note('repaired', from, path);
    else if (fetched) this.note(status.source === BUNDLED ? 'copied' : 'downloaded', from, path);
    this.fingerprints.set(status.sha256, fingerprint);
    Object.assign(status, {
      ...{ state: 'verified', bytes: status.size, verifiedAt: new Date().toISOString() },
      ...{ reason: undefined, unhealthySince: undefined, corrupt: false },
    });
    return unhealthySince === undefined
      ? undefined
      : { path, after_ms: Math.round(performance.now() - unhealthySince) };
  }

  #noteRepairTime(): void {
    this.repairTimes.push(Date.now());
    if (this.repairTimes.length > EVENTS_KEPT) this.repairTimes.shift();
  }
}

const stateFileSchema = z.object({
  schema: z.literal(1),
  files: z
    .array(
      z.object({
        sha256: z.string().regex(/^[0-9a-f]{64}$/),
        source: z
          .string()
          .max(200)
          .regex(/^\P{Cc}+$/u)
          .optional(),
      }),
    )
    .max(10_000),
});

/**
 * Writes `state.json`: what was verified, when, and from which source it came. It is information for people
 * and for the next process's status page; nothing is ever decided by it.
 */
export async function writeStateFile(
  layout: Layout,
  { repo, revision, variant }: Manifest,
  files: readonly FileStatus[],
): Promise<void> {
  const state = {
    schema: 1,
    model: { repo, revision, variant },
    files: files.map(({ path, sha256, state, verifiedAt, source }) => ({
      ...{ path, sha256, state, source },
      verified_at: verifiedAt,
    })),
  };
  await writeAtomic(layout.state, `${JSON.stringify(state, null, 2)}\n`, layout.ingest);
}

/** Which source each digest (hex) came from, as far as `state.json` can be read and tells. */
export async function readStateFile(layout: Layout): Promise<ReadonlyMap<string, string>> {
  const bytes = await readSmall(layout.state);
  try {
    const { files } = stateFileSchema.parse(JSON.parse(bytes?.toString('utf8') ?? ''));
    return new Map(files.flatMap(({ sha256, source }) => (source ? [[sha256, source]] : [])));
  } catch {
    return new Map();
  }
}
