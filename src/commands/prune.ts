import { join } from 'node:path';
import { asVolumeError, checkFolder, namesIn, readSmall, removeFrom, statOf } from '../cache/disk.js';
import { isHeld } from '../cache/ingest.js';
import { blobPath, foldersOf, type Layout, layoutOf, parseIngestName } from '../cache/layout.js';
import { loadManifest, type Manifest } from '../cache/manifest.js';
import { emptyQuarantine, quarantineNames } from '../cache/quarantine.js';
import { builtInManifest, VARIANTS } from '../config/program-files.js';
import { CACHE_OPTIONS, type Command, command, requireFolder } from './command.js';
import { count, formatBytes, modelName, modelReport, table } from './format.js';

/** `ai-router prune`: removes what no kept manifest names. */
export const prune: Command = command({
  name: 'prune',
  options: {
    ...CACHE_OPTIONS,
    keep: { multiple: true, value: 'FILE', help: 'keep the blobs of this manifest too' },
    'drop-builtin': { help: 'do not keep the built-in manifests that are not the active one' },
    'ignore-notes': { help: 'do not keep what the last daemon on this folder verified (its state.json)' },
    partials: { help: 'also remove partial downloads whose writer is gone' },
    quarantine: { help: 'also remove the evidence in quarantine' },
    'dry-run': { help: 'only say what would be removed' },
  },
  notes:
    'Kept: the active manifest (MODEL_MANIFEST or MODEL_VARIANT), the built-in ones, each --keep, and what the last\n' +
    'daemon on this folder used. A daemon may run meanwhile. A rollback to a model that was pruned fetches it again.',
  exitStatus: '0 when done (also when there was nothing to do), 1 when the folder cannot be read or written',
  async run({ config, values }) {
    await requireFolder(config.cacheDir);
    const layout = layoutOf(config.cacheDir);
    const manifests = await keptManifests(
      config.manifestFile,
      values['drop-builtin'] ?? false,
      values.keep ?? [],
    );
    const keep = new Set([...manifests.values()].flatMap(({ files }) => files.map(({ sha256 }) => sha256)));
    const noted = values['ignore-notes'] ? new Set<string>() : await notedDigests(layout);
    const plan = await planPrune(layout, new Set([...keep, ...noted]), {
      partials: values.partials ?? false,
      quarantine: values.quarantine ?? false,
    });
    const dryRun = values['dry-run'] ?? false;
    const removed = dryRun ? plan.removable : await removePlanned(layout, plan);
    const bytes = removed.reduce((sum, entry) => sum + entry.bytes, 0);
    const onlyNoted = plan.kept.filter((digest) => !keep.has(digest));
    return {
      ok: true,
      report: {
        cache_dir: config.cacheDir,
        dry_run: dryRun,
        kept_manifests: [...manifests].map(([file, manifest]) => ({ file, ...modelReport(manifest) })),
        kept_blobs: plan.kept,
        kept_by_notes: onlyNoted,
        removed,
        bytes_freed: bytes,
        strangers: plan.strangers,
      },
      text: [
        ...[...manifests.values()].map((manifest) => `keeps ${modelName(manifest)}`),
        ...(onlyNoted.length > 0
          ? [`keeps ${count(onlyNoted.length, 'blob')} that the last daemon used (--ignore-notes drops them)`]
          : []),
        ...table(removed.map((entry) => [entry.kind, entry.name, formatBytes(entry.bytes)])),
        ...plan.strangers.map((name) => `${name}: not ours, left alone`),
        `${dryRun ? 'would remove' : 'removed'} ${count(removed.length, 'file')}, ${formatBytes(bytes)}`,
      ],
    };
  },
});

/** Manifests whose blobs stay, by their file. */
async function keptManifests(
  active: string,
  dropBuiltIn: boolean,
  further: readonly string[],
): Promise<ReadonlyMap<string, Manifest>> {
  const kept = new Map([[active, await loadManifest(active)]]);
  for (const file of dropBuiltIn ? [] : VARIANTS.map(builtInManifest)) {
    if (!kept.has(file)) kept.set(file, await loadManifest(file));
  }
  for (const file of further) if (!kept.has(file)) kept.set(file, await loadManifest(file));
  return kept;
}

/** Digests in the notes of the last process on this folder. Whatever is left of broken notes counts, too. */
async function notedDigests(layout: Layout): Promise<ReadonlySet<string>> {
  const notes = (await readSmall(layout.state))?.toString('utf8') ?? '';
  return new Set([...notes.matchAll(/"sha256":\s*"([0-9a-f]{64})"/g)].map(([, digest]) => digest ?? ''));
}

/** Entries to be removed besides blobs. */
interface PruneOptions {
  /** Partial files of writers that are gone, of kept blobs as well. */
  readonly partials?: boolean;
  /** The evidence of corruption. */
  readonly quarantine?: boolean;
}

/** One entry that may go. */
interface Prunable {
  readonly kind: 'blob' | 'partial' | 'quarantine';
  /** Its name in the folder of its kind. */
  readonly name: string;
  readonly bytes: number;
}

/** Entries that may go, and those that stay. */
interface PrunePlan {
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
export async function removePlanned(layout: Layout, { removable }: PrunePlan): Promise<readonly Prunable[]> {
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
