import type { EVENT_KINDS, FILE_STATES } from '../api/cache.js';
import type { ErrorCode } from '../shared/errors.js';
import type { SourceFailure } from './acquire.js';
import type { Fingerprint } from './disk.js';
import type { Manifest, PinnedFile } from './manifest.js';

/** See {@link FILE_STATES}. */
export type FileState = (typeof FILE_STATES)[number];

/** One pinned file, as `/cache/status` shows it. */
export interface FileStatus {
  readonly path: string;
  readonly sha256: string;
  readonly size: number;
  state: FileState;
  /** Bytes of a download so far. */
  bytes: number;
  /** When its digest was last found right, ISO 8601. */
  verifiedAt: string | undefined;
  /** Which source its bytes came from, when known. */
  source: string | undefined;
  /** Why it is corrupt or cannot be had. */
  reason: string | undefined;
  /** Since when it is known to be corrupt, or gone although it was there: on the clock of `performance.now()`. */
  ailingSince: number | undefined;
}

/** A file that was corrupt or gone, and is verified again. */
export interface Healed {
  readonly path: string;
  /** Time since that was found, in milliseconds. */
  readonly afterMs: number;
}

/** Something that happened to the cache, for people. */
export interface CacheEvent {
  /** ISO 8601. */
  readonly at: string;
  readonly kind: (typeof EVENT_KINDS)[number];
  readonly path: string | undefined;
  readonly message: string;
}

/** What one reconciliation did. */
export interface Report {
  /** Why it ran: `boot`, `schedule`, `change`, `request`, `retry`. */
  readonly reason: string;
  readonly startedAt: string;
  readonly durationMs: number;
  /** Whether every pinned file was verified at the end. */
  readonly whole: boolean;
  /** Paths, by what was found or done. */
  readonly verified: readonly string[];
  readonly missing: readonly string[];
  readonly corrupt: readonly string[];
  readonly fetched: readonly string[];
  readonly healed: readonly Healed[];
  readonly failures: readonly SourceFailure[];
  readonly error: Problem | undefined;
}

/** A named trouble with its explanation. */
export interface Problem {
  readonly code: ErrorCode;
  readonly message: string;
}

/** Counts since the process started. */
export interface Counters {
  verifications: number;
  corruptions: number;
  repairs: number;
  downloads: number;
  downloadedBytes: number;
}

const EVENTS_KEPT = 100;

/** The reconciler's notebook: what is known of each file and of the volume, counters and recent events. */
export class Ledger {
  readonly files: ReadonlyMap<string, FileStatus>;
  /** What each blob looked like when it was last verified, by digest (hex). */
  readonly fingerprints = new Map<string, Fingerprint>();
  /** When corruption was mended or came back at once lately, milliseconds since 1970. */
  readonly repairTimes: number[] = [];
  /** What is wrong with the volume as such (read-only, full, gone), if anything. */
  volumeProblem: Problem | undefined;
  readonly counters: Counters = {
    verifications: 0,
    corruptions: 0,
    repairs: 0,
    downloads: 0,
    downloadedBytes: 0,
  };
  /** Bytes fetched since the process started, by the source's name. */
  readonly bytesBySource = new Map<string, number>();
  readonly #events: CacheEvent[] = [];

  constructor(manifest: Manifest) {
    this.files = new Map(manifest.files.map((file) => [file.path, fresh(file)]));
  }

  /** The status of a pinned file, to read or to change. */
  file(pinned: PinnedFile): FileStatus {
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

  /** Counts bytes that came from a source. */
  noteBytes(source: string, bytes: number): void {
    this.counters.downloadedBytes += bytes;
    this.bytesBySource.set(source, (this.bytesBySource.get(source) ?? 0) + bytes);
  }

  /** Counts a mended corruption. */
  noteRepair(): void {
    this.counters.repairs += 1;
    this.noteRelapse();
  }

  /** Counts corruption that was there again as soon as it had been mended. */
  noteRelapse(): void {
    this.repairTimes.push(Date.now());
    if (this.repairTimes.length > EVENTS_KEPT) this.repairTimes.shift();
  }

  /** Notes an event. */
  note(kind: CacheEvent['kind'], message: string, path?: string): void {
    this.#events.unshift({ at: new Date().toISOString(), kind, path, message });
    if (this.#events.length > EVENTS_KEPT) this.#events.pop();
  }
}

function fresh({ path, sha256, size }: PinnedFile): FileStatus {
  return {
    path,
    sha256,
    size,
    state: 'unknown',
    bytes: 0,
    verifiedAt: undefined,
    source: undefined,
    reason: undefined,
    ailingSince: undefined,
  };
}
