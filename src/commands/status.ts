import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import type { CacheStatus } from '../../packages/client/src/index.js';
import { isUnderWay } from '../api/cache.js';
import { readStateFile } from '../cache/cache-state.js';
import { namesIn, statOf } from '../cache/disk.js';
import { blobPath, type Layout, parseIngestName } from '../cache/layout.js';
import { loadManifest } from '../cache/manifest.js';
import { ownerState } from '../cache/owner.js';
import { ContentStore } from '../cache/store.js';
import { AppError } from '../shared/errors.js';
import {
  CACHE_OPTIONS,
  type Command,
  command,
  type Outcome,
  requireFolder,
  seconds,
  usageFault,
} from './command.js';
import { connectDaemon, type Daemon } from './daemon-client.js';
import {
  count,
  formatBytes,
  formatDuration,
  modelName,
  modelReport,
  table,
  tone,
  verdictText,
  wholeText,
} from './format.js';
import { examine, examinedReport } from './verify.js';

/** Recent events of a daemon that are printed; `--json` has all. */
const EVENTS_SHOWN = 5;

/** `ai-router status`: the contents of a cache folder, or the status of a running daemon. */
export const status: Command = command({
  name: 'status',
  operands: '[DIR|URL]',
  operandCount: [0, 1],
  options: {
    ...CACHE_OPTIONS,
    timeout: { value: 'SECONDS', help: 'time for a daemon to answer; default 5' },
  },
  notes:
    'With a folder (default: the cache folder of the settings) everything is read and nothing written. With an\n' +
    'http:// or https:// URL, prints the /cache/status of the daemon there; put one of its keys into AI_ROUTER_KEY\n' +
    'if it needs one.',
  exitStatus: '0 when the cache is whole, 1 when not, or when the daemon does not answer',
  async run({ positionals: [target], config, values, env, signal }): Promise<Outcome> {
    if (target !== undefined && /^https?:\/\//i.test(target)) {
      const timeoutMs = seconds('timeout', values.timeout, 5);
      return daemonStatus(connectDaemon(target, { timeoutMs, key: env.AI_ROUTER_KEY, retries: 0 }), signal);
    }
    if (target !== undefined && !existsSync(target)) {
      const url = /^[\w.-]+:\d+/.test(target) ? `; did you mean http://${target}?` : '';
      throw usageFault(`there is no folder ${target}${url}`);
    }
    await requireFolder(target ?? config.cacheDir);
    return folderStatus(target ?? config.cacheDir, config.manifestFile, signal);
  },
});

/** Describes the cache of a running daemon. */
async function daemonStatus({ name, call }: Daemon, signal: AbortSignal): Promise<Outcome> {
  const status = await call((client) => client.cacheStatus({ signal }));
  if (!Array.isArray(status.files) || typeof status.whole !== 'boolean') {
    throw new AppError('source_wrong_bytes', `${name}: no ai-router answers there`);
  }
  const { volume, manifest, whole, files, verification, events }: CacheStatus = status;
  return {
    ok: whole,
    report: { url: name, ...status },
    text: [
      `${name}: ${wholeText(whole)}: ${modelName({ ...manifest, repo: manifest.id })}`,
      `${volume.path}: ${volumeText(volume)}`,
      ...table(
        files.map(({ path, size, state, bytes, source, reason }) => [
          `  ${path}`,
          isUnderWay(state) ? `${formatBytes(bytes)} of ${formatBytes(size)}` : formatBytes(size),
          [
            tone(state === 'verified' ? 'good' : 'bad', state),
            reason === null ? '' : `: ${reason}`,
            source === null ? '' : ` (from ${source})`,
          ].join(''),
        ]),
      ),
      verification.running
        ? 'a verification is running'
        : verification.next === null
          ? 'next verification: not scheduled'
          : `next verification: in ${formatDuration(Math.max(0, Date.parse(verification.next) - Date.now()))}`,
      ...table(
        events
          .slice(0, EVENTS_SHOWN)
          .map(({ at, kind, path, message }) => [
            `  ${formatDuration(Math.max(0, Date.now() - Date.parse(at)))} ago`,
            `${kind}: ${path ? `${path}: ` : ''}${message}`,
          ]),
      ),
    ],
  };
}

function volumeText({ mount, writable, free_bytes }: Omit<CacheStatus['volume'], 'problem'>): string {
  const free = free_bytes === null ? 'unknown' : formatBytes(free_bytes);
  return `${mount ? 'a mount' : 'not a mount'}, ${writable ? 'writable' : 'not writable'}, ${free} free`;
}

/** Describes a cache folder; reads every pinned byte and writes nothing. */
async function folderStatus(folder: string, manifestFile: string, signal: AbortSignal): Promise<Outcome> {
  const root = resolve(folder);
  const manifest = await loadManifest(manifestFile);
  const store = new ContentStore(root);
  const [facts, notes, partials, others] = await Promise.all([
    store.facts(),
    readStateFile(store.layout),
    partialsIn(store.layout),
    otherBlobs(store.layout, new Set(manifest.files.map(({ sha256 }) => sha256))),
  ]);
  const quarantine = await store.quarantined();
  const files = (await examine(store, manifest, signal)).map((file) => ({
    ...file,
    source: notes.get(file.sha256),
  }));
  const whole = files.every(({ verdict }) => verdict.state === 'verified');
  const otherBytes = others.reduce((sum, { bytes }) => sum + bytes, 0);
  return {
    ok: whole,
    report: {
      volume: facts,
      model: modelReport(manifest),
      whole,
      files: files.map((file) => ({ ...examinedReport(file), source: file.source ?? null })),
      partials,
      other_blobs: others,
      quarantine,
    },
    text: [
      `${root}: ${wholeText(whole)}: ${modelName(manifest)}`,
      volumeText(facts),
      ...table(
        files.map(({ path, size, verdict, source }) => [
          `  ${path}`,
          formatBytes(size),
          `${verdictText(verdict)}${source === undefined ? '' : ` (from ${source})`}`,
        ]),
      ),
      ...partials.map(
        ({ sha256, bytes, writer }) =>
          `  partial ${sha256.slice(0, 12)}…: ${formatBytes(bytes)}, writer ${writer}`,
      ),
      ...(others.length > 0
        ? [`  ${count(others.length, 'blob')} of other models: ${formatBytes(otherBytes)}`]
        : []),
      ...quarantine.map(
        ({ at, path, reason }) => `  in quarantine since ${at}: ${path ?? 'unknown'}: ${reason}`,
      ),
    ],
  };
}

interface PartialFile {
  readonly sha256: string;
  readonly bytes: number;
  /** The state of the process that writes it: `alive`, `dead`, or `unknown` in another container. */
  readonly writer: string;
}

async function partialsIn(layout: Layout): Promise<PartialFile[]> {
  const found: PartialFile[] = [];
  for (const name of await namesIn(layout.ingest)) {
    const parsed = parseIngestName(name);
    if (parsed?.kind !== 'part') continue;
    const stat = await statOf(join(layout.ingest, name));
    if (!stat) continue;
    found.push({ sha256: parsed.subject, bytes: Number(stat.size), writer: ownerState(parsed.owner) });
  }
  return found;
}

async function otherBlobs(
  layout: Layout,
  pinned: ReadonlySet<string>,
): Promise<{ sha256: string; bytes: number }[]> {
  const found = [];
  for (const sha256 of await namesIn(layout.blobs)) {
    if (pinned.has(sha256)) continue;
    const stat = await statOf(blobPath(layout, sha256));
    found.push({ sha256, bytes: Number(stat?.size ?? 0) });
  }
  return found;
}
