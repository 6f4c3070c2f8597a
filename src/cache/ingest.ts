import { createHash, type Hash } from 'node:crypto';
import { chmod, type FileHandle, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { AppError, errnoOf } from '../shared/errors.js';
import {
  asVolumeError,
  checkFolder,
  hashInto,
  namesIn,
  openWritable,
  publish,
  remove,
  statOf,
  writeAt,
} from './disk.js';
import { blobPath, foldersOf, type Layout, parseIngestName, partialPath } from './layout.js';
import type { PinnedFile } from './manifest.js';
import { OWNER, ownerState } from './owner.js';
import { digestFault, tooLargeFault, truncatedFault } from './sources/faults.js';

/**
 * How long a partial file of an owner that cannot be asked (another host or container) must have rested before
 * it is taken over. It only delays: two writers of one blob both succeed, or the digest refuses.
 */
export const LEASE_MS = 10_000;

/** Partial files that this process is writing at the moment, by path. */
const open = new Set<string>();
let sequence = 0;

/** Whether the partial file at `path` may belong to a writer that is still at work. */
export async function isHeld(path: string, owner: string): Promise<boolean> {
  const state = ownerState(owner);
  if (state === 'self') return open.has(path);
  if (state === 'unknown') return (await restingMs(path)) < LEASE_MS;
  return state === 'alive';
}

/**
 * The life of one write: open (new, or resumed from what a dead writer left) → write … → commit, or close
 * (which keeps the partial for the next attempt), or discard. Nothing is visible as a blob before commit.
 */
export class IngestWriter {
  readonly #layout: Layout;
  readonly #pinned: PinnedFile;
  readonly #path: string;
  readonly #file: FileHandle;
  readonly #warn: (message: string) => void;
  #hash: Hash = createHash('sha256');
  #offset = 0;

  private constructor(
    layout: Layout,
    pinned: PinnedFile,
    path: string,
    file: FileHandle,
    warn: (message: string) => void,
  ) {
    this.#layout = layout;
    this.#pinned = pinned;
    this.#path = path;
    this.#file = file;
    this.#warn = warn;
  }

  /**
   * Opens a writer, taking over the longest partial file whose writer is gone.
   * @throws AppError `volume_…`
   */
  static async open(
    layout: Layout,
    pinned: PinnedFile,
    signal: AbortSignal,
    warn: (message: string) => void = () => undefined,
  ): Promise<IngestWriter> {
    const path = partialPath(layout, pinned.sha256, `${OWNER}-${sequence++}`);
    open.add(path);
    try {
      await checkFolder(layout.ingest);
      const adopted = await adopt(layout, pinned, path, signal);
      const file = await openWritable(path, !adopted);
      const writer = new IngestWriter(layout, pinned, path, file, warn);
      try {
        await writer.#resume();
      } catch (error) {
        await file.close();
        throw error;
      }
      return writer;
    } catch (error) {
      open.delete(path);
      throw asVolumeError(error, `cannot write ${path}`);
    }
  }

  /** Bytes on disk so far, not yet verified. */
  get offset(): number {
    return this.#offset;
  }

  /** Starts again at byte 0. */
  async restart(): Promise<void> {
    await this.#onDisk(() => this.#file.truncate(0));
    this.#hash = createHash('sha256');
    this.#offset = 0;
  }

  /**
   * Appends bytes.
   * @throws AppError `source_too_large` beyond the pinned size, `volume_…`
   */
  async write(bytes: Uint8Array): Promise<void> {
    if (this.#offset + bytes.length > this.#pinned.size) {
      throw tooLargeFault(this.#pinned.path, this.#pinned.size);
    }
    await this.#onDisk(() => writeAt(this.#file, bytes, this.#offset));
    this.#hash.update(bytes);
    this.#offset += bytes.length;
  }

  /**
   * Publishes the blob: data to disk, then size and digest, then read-only, rename, folder to disk. A short
   * file is kept as a partial; a wrong one is removed.
   * @throws AppError `source_truncated`, `source_wrong_bytes`, `volume_…`
   */
  async commit(): Promise<void> {
    const { path, size, sha256 } = this.#pinned;
    try {
      await this.#onDisk(() => this.#file.sync());
    } catch (error) {
      // A kernel that failed to write pages may forget them and call the next sync a success.
      await this.discard().catch(() => undefined);
      throw error;
    }
    if (this.#offset < size) throw truncatedFault(path, this.#offset, size);
    const actual = this.#hash.digest('hex');
    if (actual !== sha256) {
      await this.discard();
      throw digestFault(path, actual, sha256);
    }
    await this.#onDisk(async () => {
      await this.#protect();
      await this.#file.close();
      for (const folder of foldersOf(this.#layout)) await checkFolder(folder);
      await publish(this.#path, blobPath(this.#layout, sha256));
    });
    open.delete(this.#path);
  }

  /** Ends the write and keeps what is there for a later attempt. */
  async close(): Promise<void> {
    open.delete(this.#path);
    await this.#file.close().catch(() => undefined);
  }

  /** Ends the write and removes what is there. */
  async discard(): Promise<void> {
    await this.close();
    await remove(this.#path);
  }

  /** Takes away write permission, where the file system knows of such a thing: nothing else depends on it. */
  async #protect(): Promise<void> {
    try {
      await chmod(this.#path, 0o444);
    } catch (error) {
      if (!['EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS', 'EINVAL'].includes(errnoOf(error) ?? '')) throw error;
      this.#warn('the volume refuses chmod: blobs stay writable there, and are verified all the same');
    }
  }

  async #resume(): Promise<void> {
    const { size } = await this.#file.stat();
    if (size > this.#pinned.size) return this.restart();
    this.#offset = await hashInto(this.#hash, this.#file, 0, size);
  }

  async #onDisk(action: () => Promise<void>): Promise<void> {
    try {
      await action();
    } catch (error) {
      throw asVolumeError(error, `cannot write ${this.#pinned.path}`);
    }
  }
}

/** Renames the longest abandoned partial of `pinned` to `path`; a rename has exactly one winner. */
async function adopt(
  layout: Layout,
  pinned: PinnedFile,
  path: string,
  signal: AbortSignal,
): Promise<boolean> {
  const abandoned: { path: string; size: number }[] = [];
  for (const name of await namesIn(layout.ingest)) {
    const parsed = parseIngestName(name);
    if (parsed?.kind !== 'part' || parsed.subject !== pinned.sha256) continue;
    const candidate = join(layout.ingest, name);
    const stat = await statOf(candidate);
    if (!stat?.isFile() || !(await becomesFree(candidate, parsed.owner, signal))) continue;
    abandoned.push({ path: candidate, size: Number(stat.size) });
  }
  abandoned.sort((a, b) => b.size - a.size);
  let taken = false;
  for (const candidate of abandoned) {
    try {
      // One candidate is enough; the others have no use.
      if (taken) await remove(candidate.path);
      else await rename(candidate.path, path);
      taken = true;
    } catch {
      // Another process was faster.
    }
  }
  return taken;
}

/** Waits for the rest of the lease of an owner that cannot be asked; a file that grows meanwhile is not free. */
async function becomesFree(path: string, owner: string, signal: AbortSignal): Promise<boolean> {
  if (ownerState(owner) !== 'unknown') return !(await isHeld(path, owner));
  let resting = await restingMs(path);
  while (resting < LEASE_MS) {
    await sleep(Math.min(250, LEASE_MS - resting), undefined, { signal }).catch(() => undefined);
    if (signal.aborted) throw new AppError('aborted', 'stopped while waiting for a partial file');
    const next = await restingMs(path);
    if (next < resting) return false;
    resting = next;
  }
  return true;
}

/** Milliseconds since the last write; a time in the future (a clock that was set back) counts as long ago. */
async function restingMs(path: string): Promise<number> {
  const stat = await statOf(path);
  if (!stat) return Number.POSITIVE_INFINITY;
  const age = Date.now() - Number(stat.mtimeMs);
  return age < 0 ? Number.POSITIVE_INFINITY : age;
}
