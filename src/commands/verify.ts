import { loadManifest, type Manifest, type PinnedFile } from '../cache/manifest.js';
import { ContentStore, type Verdict } from '../cache/store.js';
import { CACHE_OPTIONS, type Command, command, requireFolder, SOURCE_OPTIONS } from './command.js';
import { fillCache } from './fill.js';
import { formatBytes, modelName, modelReport, table, verdictText, wholeText } from './format.js';

/** `ai-router verify`: reads every pinned byte and says whether it is right. */
export const verify: Command = command({
  name: 'verify',
  options: {
    ...CACHE_OPTIONS,
    ...SOURCE_OPTIONS,
    repair: { help: 'set bad files aside and fetch them again' },
    quiet: { help: 'no progress on stderr while repairing' },
  },
  notes: 'Without --repair nothing is written, not even a folder made.',
  exitStatus: '0 when the cache is whole (with --repair: when it is whole now), 1 when not',
  async run({ config, values, output, signal }) {
    const manifest = await loadManifest(config.manifestFile);
    const repair = values.repair
      ? await fillCache({ config, manifest, output, signal, quiet: values.quiet ?? false })
      : undefined;
    if (!repair) await requireFolder(config.cacheDir);
    const store = new ContentStore(config.cacheDir);
    const verdicts = await examine(store, manifest, signal);
    const whole = verdicts.every(({ verdict }) => verdict.state === 'verified');
    const rows = verdicts.map(({ path, size, verdict }) => [path, formatBytes(size), verdictText(verdict)]);
    const repaired = repair?.report.fetched ?? [];
    return {
      ok: whole,
      report: {
        cache_dir: config.cacheDir,
        model: modelReport(manifest),
        whole,
        files: verdicts.map(examinedReport),
        ...(repair && { repaired, error: repair.report.error }),
      },
      text: [
        ...table(rows),
        `${config.cacheDir}: ${wholeText(whole)}: ${modelName(manifest)}`,
        ...(repaired.length > 0 ? [`fetched again: ${repaired.join(', ')}`] : []),
      ],
    };
  },
});

/** A pinned file with what its bytes on the volume are. */
export interface Examined extends PinnedFile {
  readonly verdict: Verdict;
}

/** Reads every pinned byte. */
export async function examine(
  store: ContentStore,
  { files }: Pick<Manifest, 'files'>,
  signal: AbortSignal,
): Promise<Examined[]> {
  const examined: Examined[] = [];
  for (const file of files) {
    signal.throwIfAborted();
    examined.push({ ...file, verdict: await store.verify(file) });
  }
  return examined;
}

/** A file as `--json` shows it. */
export function examinedReport({ path, size, sha256, verdict }: Examined): object {
  const { state } = verdict;
  return { path, size, sha256, state, reason: state === 'corrupt' ? verdict.reason : null };
}
