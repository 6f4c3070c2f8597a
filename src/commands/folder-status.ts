import { join, resolve } from 'node:path';
import { namesIn, statOf } from '../cache/disk.js';
import { blobPath, type Layout, parseIngestName } from '../cache/layout.js';
import { loadManifest } from '../cache/manifest.js';
import { ownerState } from '../cache/owner.js';
import { readNotes } from '../cache/state-file.js';
import { ContentStore } from '../cache/store.js';
import type { Outcome } from './command.js';
import { count, formatBytes, table } from './format.js';
import { modelName, modelReport, verdictText } from './model-lines.js';

/** What a cache folder holds; reads every pinned byte and writes nothing. */
export async function folderStatus(
  folder: string,
  manifestFile: string,
  signal: AbortSignal,
): Promise<Outcome> {
  const root = resolve(folder);
  const manifest = await loadManifest(manifestFile);
  const store = new ContentStore(root);
  const [facts, notes, partials, others] = await Promise.all([
    store.facts(),
    readNotes(store.layout),
    partialsIn(store.layout),
    otherBlobs(store.layout, new Set(manifest.files.map(({ sha256 }) => sha256))),
  ]);
  const quarantine = await store.quarantined();
  const files = [];
  for (const { path, size, sha256 } of manifest.files) {
    signal.throwIfAborted();
    const verdict = await store.verify({ path, size, sha256 });
    files.push({ path, size, sha256, verdict, source: notes.get(sha256) });
  }
  const whole = files.every(({ verdict }) => verdict.state === 'verified');
  const otherBytes = others.reduce((sum, { bytes }) => sum + bytes, 0);
  const free = facts.freeBytes === undefined ? 'unknown' : formatBytes(facts.freeBytes);
  return {
    ok: whole,
    report: {
      volume: {
        path: root,
        mount: facts.mount,
        writable: facts.writable,
        free_bytes: facts.freeBytes ?? null,
        total_bytes: facts.totalBytes ?? null,
      },
      model: modelReport(manifest),
      whole,
      files: files.map(({ path, size, sha256, verdict, source }) => ({
        path,
        size,
        sha256,
        state: verdict.state,
        reason: verdict.state === 'corrupt' ? verdict.reason : null,
        source: source ?? null,
      })),
      partials,
      other_blobs: others,
      quarantine: quarantine.map(({ name, path, reason, at, bytes }) => ({
        name,
        path: path ?? null,
        reason,
        at,
        bytes,
      })),
    },
    text: [
      `${root}: ${whole ? 'whole' : 'NOT whole'}: ${modelName(manifest)}`,
      `${facts.mount ? 'a mount' : 'not a mount'}, ${facts.writable ? 'writable' : 'not writable'}, ${free} free`,
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
  /** Whether the process that writes it is there: `alive`, `dead`, or `unknown` in another container. */
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
