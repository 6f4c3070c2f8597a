import type { PinnedFile } from './manifest.js';

/** A file that the volume lacks, and how many of its first bytes an interrupted ingest already holds. */
export interface WantedFile {
  readonly file: PinnedFile;
  /** Bytes already on disk; a source may start there instead of at 0. Not yet verified. */
  readonly offset: number;
}

export interface Delivery {
  readonly file: PinnedFile;
  /** Where `bytes` begin: the wanted offset, or 0 where the source cannot start in the middle. */
  readonly offset: number;
  /**
   * The bytes themselves, in order. Iterating fails with an `AppError` whose code starts with `source_`.
   * Nothing is promised about their truth: the reader compares size and digest.
   */
  readonly bytes: AsyncIterable<Uint8Array>;
}

/** Name of the source that is on this machine: a copy of the model that came with the program. */
export const BUNDLED = 'bundled';

/**
 * Where a model's bytes come from. A source is never trusted: it may deliver wrong bytes, too many, too few,
 * or none. It writes nothing to disk.
 */
export interface Source {
  /** For people: `bundled`, `hub`, `mirror cdn.example.org`. Holds no credentials and no query string. */
  readonly name: string;
  /** How many `deliver` calls may run at once. */
  readonly concurrency: number;
  /**
   * Whether one call asks for all wanted files, as an archive needs that is streamed once. Elsewhere each call
   * asks for one, so that the failure of one file does not hide the others.
   */
  readonly atOnce?: true;
  /**
   * Delivers the wanted files one after the other, each iterated to its end (or given up) before the next.
   * A file that it lacks is simply not delivered by an archive; elsewhere it is an error.
   * @throws AppError with a `source_…` code, when no (further) file can be had here
   */
  deliver(wanted: readonly WantedFile[], signal: AbortSignal): AsyncIterable<Delivery>;
}
