import { link, rename } from 'node:fs/promises';
import { join } from 'node:path';
import * as z from 'zod';
import { errnoOf } from '../shared/errors.js';
import { checkFolder, namesIn, readSmall, removeFrom, statOf, syncDirectory, writeAtomic } from './disk.js';
import { blobPath, foldersOf, type Layout, parseQuarantineName, quarantinePath } from './layout.js';
import type { PinnedFile } from './manifest.js';

/** Evidence beyond these bounds is removed, the oldest first. */
export const QUARANTINE_LIMITS = Object.freeze({ entries: 8, bytes: 256 * 2 ** 20 });

/** Shown to people: nothing in it may be long, or control a terminal. */
const words = z
  .string()
  .max(1_000)
  .regex(/^\P{Cc}*$/u)
  .optional()
  .catch(undefined);
const noteSchema = z.object({ path: words, reason: words });

/** A bad entry that was set aside. */
export interface QuarantineEntry {
  /** Its name in the `quarantine` folder. */
  readonly name: string;
  /** The model's path that it stood for, when known. */
  readonly path: string | undefined;
  readonly sha256: string;
  readonly reason: string;
  /** When it was found, ISO 8601. */
  readonly at: string;
  readonly bytes: number;
  /** Tells whether a bad blob that could not be replaced yet is already here under its second name. */
  readonly inode: bigint;
}

/**
 * Sets the bad entry of a blob aside, with the reason beside it. A bad file keeps its place (it gets a second
 * name) until a good one is renamed over it, so that a reader never finds the name gone; anything else than a
 * file has to give way at once.
 */
export async function setAside(
  layout: Layout,
  file: PinnedFile,
  reason: string,
): Promise<QuarantineEntry & { readonly isNew: boolean }> {
  for (const folder of foldersOf(layout)) await checkFolder(folder);
  const from = blobPath(layout, file.sha256);
  const stat = await statOf(from);
  const known = (await listQuarantine(layout)).find(({ inode }) => inode === stat?.ino);
  if (known) return { ...known, isNew: false };
  const when = await freeMoment(layout, file.sha256);
  const to = quarantinePath(layout, file.sha256, when);
  if (stat?.isFile()) {
    try {
      await link(from, to);
    } catch (error) {
      // A file system without hard links, or one that forbids them here.
      if (errnoOf(error) === 'ENOSPC') throw error;
      await rename(from, to);
    }
  } else {
    await rename(from, to);
  }
  const entry = { path: file.path, reason, at: new Date(when).toISOString() };
  await writeAtomic(`${to}.json`, `${JSON.stringify(entry)}\n`, layout.ingest);
  await syncDirectory(layout.quarantine);
  await prune(layout);
  return {
    ...entry,
    name: `${file.sha256}.${when}`,
    sha256: file.sha256,
    bytes: Number(stat?.size ?? 0),
    inode: stat?.ino ?? 0n,
    isNew: true,
  };
}

/** The newest entries in quarantine, the newest first. */
export async function listQuarantine(
  layout: Layout,
  limit = Number.POSITIVE_INFINITY,
): Promise<QuarantineEntry[]> {
  const entries: QuarantineEntry[] = [];
  const newest = (await namesIn(layout.quarantine))
    .filter((name) => parseQuarantineName(name))
    .sort((a, b) => (parseQuarantineName(b)?.when ?? 0) - (parseQuarantineName(a)?.when ?? 0))
    .slice(0, limit);
  for (const name of newest) {
    const parsed = parseQuarantineName(name);
    const stat = parsed && (await statOf(join(layout.quarantine, name)));
    if (!stat) continue;
    const note = parseNote(await readSmall(join(layout.quarantine, `${name}.json`)));
    entries.push({
      name,
      sha256: parsed.sha256,
      path: note.path,
      reason: note.reason ?? 'unknown (its note is missing)',
      at: new Date(parsed.when).toISOString(),
      bytes: Number(stat.size),
      inode: stat.ino,
    });
  }
  return entries;
}

/** The names in quarantine that are our own: entries and their notes. Everything else there is left alone. */
export async function quarantineNames(layout: Layout): Promise<string[]> {
  return (await namesIn(layout.quarantine)).filter((name) =>
    parseQuarantineName(name.replace(/\.json$/, '')),
  );
}

/** Removes all evidence, to make room for what is needed. */
export async function emptyQuarantine(layout: Layout): Promise<void> {
  for (const name of await quarantineNames(layout)) await removeFrom(layout.quarantine, name);
}

/** Bytes that emptying the quarantine would free: a bad blob that still has its place takes no room of its own. */
export async function quarantinedBytes(layout: Layout): Promise<number> {
  let bytes = 0;
  for (const name of await quarantineNames(layout)) {
    const stat = await statOf(join(layout.quarantine, name));
    if (stat?.isFile() && stat.nlink === 1n) bytes += Number(stat.size);
  }
  return bytes;
}

/** Removes the oldest entries beyond {@link QUARANTINE_LIMITS}, and notes without an entry. */
async function prune(layout: Layout): Promise<void> {
  let kept = 0;
  let bytes = 0;
  for (const entry of await listQuarantine(layout)) {
    kept += 1;
    bytes += entry.bytes;
    if (kept <= QUARANTINE_LIMITS.entries && bytes <= QUARANTINE_LIMITS.bytes) continue;
    await removeFrom(layout.quarantine, entry.name);
    await removeFrom(layout.quarantine, `${entry.name}.json`);
  }
  const names = new Set(await namesIn(layout.quarantine));
  for (const name of names) {
    const entry = name.replace(/\.json$/, '');
    if (entry !== name && parseQuarantineName(entry) && !names.has(entry))
      await removeFrom(layout.quarantine, name);
  }
}

/** A millisecond whose name is not taken: two faults may be found in one. */
async function freeMoment(layout: Layout, sha256: string): Promise<number> {
  let when = Date.now();
  while (await statOf(quarantinePath(layout, sha256, when))) when += 1;
  return when;
}

function parseNote(bytes: Buffer | undefined): { path: string | undefined; reason: string | undefined } {
  try {
    const note = noteSchema.parse(JSON.parse(bytes?.toString('utf8') ?? ''));
    return { path: note.path, reason: note.reason };
  } catch {
    // The note comes from the volume and may be damaged or forged as well.
    return { path: undefined, reason: undefined };
  }
}
