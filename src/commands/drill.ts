import { resolve } from 'node:path';
import { blobPath } from '../cache/layout.js';
import { loadManifest, type Manifest, type PinnedFile } from '../cache/manifest.js';
import { ContentStore } from '../cache/store.js';
import type { Config } from '../config/config.js';
import { AppError } from '../shared/errors.js';
import { CACHE_OPTIONS, type Command, command, type Outcome, SOURCE_OPTIONS, usageFault } from './command.js';
import { EXERCISES, type Exercise } from './drill/exercises.js';
import { openSandbox } from './drill/sandbox.js';
import { fillCache } from './fill.js';
import { count, formatBytes, formatDuration, table } from './format.js';
import { modelName, modelReport, pinnedBytes } from './model-lines.js';
import type { Output } from './output.js';

/** A repair that takes longer than this is no repair that anybody can wait for. */
const DEFAULT_WITHIN_S = 120;

/** `ai-router drill`: lets a copy of the volume rot and proves that it is repaired. */
export const drill: Command = command({
  name: 'drill',
  summary: 'lets a copy of the cache folder rot, and proves that it is found and repaired',
  options: {
    volume: {
      type: 'string',
      value: 'DIR',
      help: 'the cache folder, instead of MODEL_CACHE_DIR',
      env: 'MODEL_CACHE_DIR',
    },
    manifest: CACHE_OPTIONS.manifest,
    variant: CACHE_OPTIONS.variant,
    ...SOURCE_OPTIONS,
    sandbox: {
      type: 'string',
      value: 'DIR',
      help: 'where to put the copy; default: beside the cache folder',
    },
    within: {
      type: 'string',
      value: 'SECONDS',
      help: `the longest a repair may take; default: ${DEFAULT_WITHIN_S}`,
    },
  },
  notes:
    'The original is only read: its digests and dates are compared before and after. The copy is repaired from the\n' +
    'configured sources, as the daemon would do it, and removed in the end. A daemon may run meanwhile.',
  exitStatus: '0 when everything was found and repaired in time and the original is untouched, 1 when not',
  async run({ config, values, output, signal }) {
    const limitMs = Number(values.within ?? DEFAULT_WITHIN_S) * 1_000;
    if (!(limitMs > 0)) throw usageFault('--within takes a number of seconds above 0');
    const manifest = await loadManifest(config.manifestFile);
    const before = await fingerprints(config.cacheDir, manifest, signal);
    const place = values.sandbox === undefined ? undefined : resolve(values.sandbox);
    const sandbox = await openSandbox(config.cacheDir, place, manifest);
    const results: Result[] = [];
    try {
      for (const exercise of EXERCISES) {
        if (signal.aborted) throw new AppError('aborted', 'stopped');
        await sandbox.restore();
        const drilled = { ...config, cacheDir: sandbox.root, requireMount: false };
        results.push(await perform(exercise, { config: drilled, manifest, output, signal, limitMs }));
      }
    } finally {
      await sandbox.close();
    }
    const after = await fingerprints(config.cacheDir, manifest, signal);
    return outcomeOf({ config, manifest, sandbox: sandbox.root, results, untouched: after === before });
  },
});

/** How one exercise went. */
interface Result {
  readonly name: string;
  readonly path: string;
  readonly detected: boolean;
  /** What the verification said of it. */
  readonly finding: string;
  /** `undefined` where there is nothing to set aside. */
  readonly quarantined: boolean | undefined;
  readonly repaired: boolean;
  readonly sources: readonly string[];
  readonly bytesReceived: number;
  readonly durationMs: number;
  readonly ok: boolean;
  /** Why it did not go well. */
  readonly reason: string | undefined;
}

interface Setting {
  readonly config: Config;
  readonly manifest: Manifest;
  readonly output: Output;
  readonly signal: AbortSignal;
  readonly limitMs: number;
}

/** inflict → verify and repair as the daemon does → look at what was found and done → read every byte back */
async function perform(exercise: Exercise, setting: Setting): Promise<Result> {
  const { config, manifest, output, signal, limitMs } = setting;
  const target = largestOf(manifest);
  const store = new ContentStore(config.cacheDir);
  await exercise.inflict(blobPath(store.layout, target.sha256), config.cacheDir);
  const { report, sources, bytesReceived } = await fillCache({
    config,
    manifest,
    output: muted(output),
    signal,
    quiet: true,
  });
  const concerned = exercise.everything ? manifest.files.map(({ path }) => path) : [target.path];
  const detected = concerned.every((path) => report[exercise.expected].includes(path));
  const [entry] = await store.quarantined();
  const quarantined = exercise.expected === 'corrupt' ? entry?.sha256 === target.sha256 : undefined;
  const verdicts = await Promise.all(manifest.files.map((file) => store.verify(file)));
  const repaired = report.whole && verdicts.every(({ state }) => state === 'verified');
  const inTime = report.durationMs <= limitMs;
  const reasons = [
    ...(detected ? [] : ['it was not found']),
    ...(quarantined === false ? ['it was not set aside'] : []),
    ...(repaired ? [] : [report.error?.message ?? 'it was not repaired']),
    ...(inTime ? [] : [`it took longer than ${formatDuration(limitMs)}`]),
  ];
  return {
    name: exercise.name,
    path: exercise.everything ? count(manifest.files.length, 'file') : target.path,
    detected,
    finding: quarantined ? `corrupt: ${entry?.reason ?? ''}` : detected ? exercise.expected : 'not found',
    quarantined,
    repaired,
    sources,
    bytesReceived,
    durationMs: report.durationMs,
    ok: reasons.length === 0,
    reason: reasons.length === 0 ? undefined : reasons.join('; '),
  };
}

/** What is found and mended in a drill is expected; the report has it, and nobody needs to be warned. */
function muted(output: Output): Output {
  const silent = Object.create(output) as Output;
  const nothing = (): void => undefined;
  silent.note = nothing;
  silent.log = () => ({ debug: nothing, info: nothing, warn: nothing, error: nothing });
  return silent;
}

/**
 * What every pinned file looks like, each read whole and its digest compared.
 * @throws AppError `blob_corrupt` where the volume is not whole: there is nothing to drill with
 */
async function fingerprints(volume: string, manifest: Manifest, signal: AbortSignal): Promise<string> {
  const store = new ContentStore(volume);
  const found: string[] = [];
  for (const file of manifest.files) {
    if (signal.aborted) throw new AppError('aborted', 'stopped');
    const verdict = await store.verify(file);
    if (verdict.state !== 'verified') {
      const why = verdict.state === 'corrupt' ? `corrupt: ${verdict.reason}` : verdict.state;
      throw new AppError(
        verdict.state === 'corrupt' ? 'blob_corrupt' : 'blob_missing',
        `${volume} is not whole (${file.path} is ${why}); run "ai-router verify --repair" or "ai-router pull" first`,
      );
    }
    found.push(verdict.fingerprint);
  }
  return found.join('\n');
}

function largestOf({ files }: Manifest): PinnedFile {
  const [largest] = [...files].sort((a, b) => b.size - a.size);
  if (!largest) throw new TypeError('a manifest pins at least one file');
  return largest;
}

interface Drilled {
  readonly config: Config;
  readonly manifest: Manifest;
  readonly sandbox: string;
  readonly results: readonly Result[];
  readonly untouched: boolean;
}

function outcomeOf({ config, manifest, sandbox, results, untouched }: Drilled): Outcome {
  const passed = results.filter(({ ok }) => ok).length;
  const slowest = Math.max(...results.map(({ durationMs }) => durationMs));
  const rows = results.map(({ ok, name, path, finding, quarantined, sources, durationMs }) => [
    ok ? '  ok' : '  NO',
    name,
    path,
    shortened(finding),
    quarantined === undefined ? '-' : quarantined ? 'yes' : 'NO',
    sources.join(', ') || '-',
    formatDuration(durationMs),
  ]);
  return {
    ok: passed === results.length && untouched,
    report: {
      cache_dir: config.cacheDir,
      sandbox,
      model: modelReport(manifest),
      exercises: results.map(({ bytesReceived, durationMs, quarantined, reason, ...rest }) => ({
        ...rest,
        quarantined: quarantined ?? null,
        bytes_received: bytesReceived,
        duration_ms: durationMs,
        reason: reason ?? null,
      })),
      original_untouched: untouched,
    },
    text: [
      `drill on a copy of ${config.cacheDir}: ${modelName(manifest)}, ` +
        `${count(manifest.files.length, 'file')}, ${formatBytes(pinnedBytes(manifest))}`,
      ...table([['  ', 'what happened', 'to', 'found as', 'set aside', 'repaired from', 'in'], ...rows]),
      ...results.flatMap(({ name, reason }) => (reason === undefined ? [] : [`${name}: ${reason}`])),
      `${passed} of ${results.length} faults were found and repaired, the slowest in ${formatDuration(slowest)}`,
      untouched
        ? `${config.cacheDir} is as it was: digests, dates and inodes are the same; the copy is gone`
        : `${config.cacheDir} CHANGED meanwhile: somebody wrote to it, or a repair ran`,
    ],
  };
}

function shortened(finding: string): string {
  return finding
    .replace(/[0-9a-f]{64}/, (digest) => `${digest.slice(0, 8)}…`)
    .replace(/\/\S+\/([0-9a-f]{8})/, '$1')
    .slice(0, 60);
}
