import { readSmall } from '../cache/disk.js';
import { type Layout, layoutOf } from '../cache/layout.js';
import { loadManifest, type Manifest } from '../cache/manifest.js';
import { planPrune, prune as pruneNow } from '../cache/prune.js';
import { builtInManifest, VARIANTS } from '../config/program-files.js';
import { CACHE_OPTIONS, type Command, command, requireFolder } from './command.js';
import { count, formatBytes, modelName, modelReport, table } from './format.js';

/** `ai-router prune`: removes what no kept manifest names. */
export const prune: Command = command({
  name: 'prune',
  options: {
    ...CACHE_OPTIONS,
    keep: { type: 'string', multiple: true, value: 'FILE', help: 'keep the blobs of this manifest too' },
    'drop-builtin': {
      type: 'boolean',
      help: 'do not keep the built-in manifests that are not the active one',
    },
    'ignore-notes': {
      type: 'boolean',
      help: 'do not keep what the last daemon on this folder verified (its state.json)',
    },
    partials: { type: 'boolean', help: 'also remove partial downloads whose writer is gone' },
    quarantine: { type: 'boolean', help: 'also remove the evidence in quarantine' },
    'dry-run': { type: 'boolean', help: 'only say what would be removed' },
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
    const removed = dryRun ? plan.removable : await pruneNow(layout, plan);
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
