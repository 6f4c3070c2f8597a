import { join } from 'node:path';
import { asVolumeError, checkFolder, namesIn, removeFrom, statOf } from './disk.js';
import { isHeld } from './ingest.js';
import { blobPath, foldersOf, type Layout, parseIngestName } from './layout.js';
import { emptyQuarantine, quarantineNames } from './quarantine.js';

/** Entries to be removed besides blobs. */
export interface PruneOptions {
  /** Partial files of writers that are gone, of kept blobs as well. */
  readonly partials?: boolean;
  /** The evidence of corruption. */
  readonly quarantine?: boolean;
}

/** One entry that may go. */
export interface Prunable {
  readonly kind: 'blob' | 'partial' | 'quarantine';
  /** Its name in the folder of its kind. */
  readonly name: string;
  readonly bytes: number;
}

/** Entries that may go, and those that stay. */
export interface PrunePlan {
  readonly removable: readonly Prunable[];
  /** Digests (hex) of blobs that a kept manifest names. */
  readonly kept: readonly string[];
  /** Names among the blobs that are no digest: files of others, left alone. */
  readonly strangers: readonly string[];
}

/**
 * Finds what no kept manifest names. It only looks; a blob or a partial that another process is just writing is
 * not among what may go.
 * @param keep digests (hex) that stay
 * @throws AppError `volume_unavailable`
 */
export async function planPrune(
  layout: Layout,
  keep: ReadonlySet<string>,
  { partials = false, quarantine = false }: PruneOptions = {},
): Promise<PrunePlan> {
  const removable: Prunable[] = [];
  const kept: string[] = [];
  const strangers: string[] = [];
  for (const name of (await namesIn(layout.blobs)).sort()) {
    if (!/^[0-9a-f]{64}$/.test(name)) strangers.push(name);
    else if (keep.has(name)) kept.push(name);
    else removable.push({ kind: 'blob', name, bytes: await bytesOf(blobPath(layout, name)) });
  }
  if (partials) {
    for (const name of await namesIn(layout.ingest)) {
      const parsed = parseIngestName(name);
      const path = join(layout.ingest, name);
      if (!parsed || (await isHeld(path, parsed.owner))) continue;
      removable.push({ kind: 'partial', name, bytes: await bytesOf(path) });
    }
  }
  if (quarantine) {
    for (const name of await quarantineNames(layout)) {
      removable.push({ kind: 'quarantine', name, bytes: await bytesOf(join(layout.quarantine, name)) });
    }
  }
  return { removable, kept, strangers };
}

/**
 * Removes what a plan allows. A file that a daemon has open stays readable for it until it is closed.
 * @returns what was removed; with a failure in the middle, everything before it is gone
 * @throws AppError `volume_…`
 */
export async function prune(layout: Layout, { removable }: PrunePlan): Promise<readonly Prunable[]> {
  const removed: Prunable[] = [];
  try {
    for (const folder of foldersOf(layout)) await checkFolder(folder);
    for (const entry of removable) {
      if (entry.kind === 'partial' && !(await isStillFree(layout, entry.name))) continue;
      if (entry.kind !== 'quarantine') {
        await removeFrom(entry.kind === 'blob' ? layout.blobs : layout.ingest, entry.name);
      }
      removed.push(entry);
    }
    if (removable.some(({ kind }) => kind === 'quarantine')) await emptyQuarantine(layout);
  } catch (error) {
    throw asVolumeError(error, `cannot remove from ${layout.root}`);
  }
  return removed;
}

/** Between the plan and its execution a daemon may have taken the partial over. */
async function isStillFree(layout: Layout, name: string): Promise<boolean> {
  const parsed = parseIngestName(name);
  return parsed !== undefined && !(await isHeld(join(layout.ingest, name), parsed.owner));
}

/** Bytes that go with an entry; a bad blob in quarantine may be a second name of one that stays. */
async function bytesOf(path: string): Promise<number> {
  const stat = await statOf(path);
  return stat?.isFile() && stat.nlink === 1n ? Number(stat.size) : 0;
}
