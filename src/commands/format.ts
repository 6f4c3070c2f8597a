import { stripVTControlCharacters, styleText } from 'node:util';
import type { Manifest } from '../cache/manifest.js';
import type { Verdict } from '../cache/store.js';

/** Bytes as people read them: `23.0 MB`, in powers of ten as disks and rates are sold. */
export function formatBytes(bytes: number): string {
  let value = bytes;
  for (const unit of ['bytes', 'kB', 'MB']) {
    if (value < 1_000) return unit === 'bytes' ? `${value} bytes` : `${value.toFixed(1)} ${unit}`;
    value /= 1_000;
  }
  return `${value.toFixed(2)} GB`;
}

/** A span of time as people read it: `0.4 s`, `12 s`, `3 min 5 s`, `2 h 0 min`. */
export function formatDuration(ms: number): string {
  const seconds = ms / 1_000;
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 60) return `${Math.round(seconds)} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min ${Math.floor(seconds % 60)} s`;
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

const TONES = { good: 'green', doubtful: 'yellow', bad: 'red' } as const;

/** Colours a word on a terminal that has colours; NO_COLOR, FORCE_COLOR and TERM are heeded. */
export function tone(kind: keyof typeof TONES, text: string): string {
  return process.stdout.isTTY && process.stdout.hasColors() ? styleText(TONES[kind], text) : text;
}

/** `whole` or `NOT whole`. */
export function wholeText(whole: boolean): string {
  return whole ? tone('good', 'whole') : tone('bad', 'NOT whole');
}

/** Rows of text with their columns aligned; the last column is as long as it likes. */
export function table(rows: readonly (readonly string[])[]): string[] {
  const widths: number[] = [];
  for (const row of rows) {
    for (const [index, cell] of row.entries())
      widths[index] = Math.max(widths[index] ?? 0, seen(cell).length);
  }
  return rows.map((row) =>
    row.map((cell, index) => (index === row.length - 1 ? cell : padded(cell, widths[index] ?? 0))).join('  '),
  );
}

function padded(cell: string, width: number): string {
  return cell + ' '.repeat(Math.max(0, width - seen(cell).length));
}

/** A cell without its colours. */
function seen(cell: string): string {
  return stripVTControlCharacters(cell);
}

/** `1 file`, `3 files`. */
export function count(number: number, noun: string): string {
  return `${number} ${noun}${number === 1 ? '' : 's'}`;
}

/** A model in one line: `Xenova/all-MiniLM-L6-v2@48a5a372879e (q8)`. */
export function modelName({
  repo,
  revision,
  variant,
}: Pick<Manifest, 'repo' | 'revision' | 'variant'>): string {
  return `${repo}@${revision.slice(0, 12)} (${variant})`;
}

/** A model as `--json` shows it. */
export function modelReport({ repo, revision, variant, digest }: Manifest): object {
  return { id: repo, revision, variant, digest };
}

/** Bytes of all pinned files; two paths with equal bytes are one blob. */
export function pinnedBytes({ files }: Pick<Manifest, 'files'>): number {
  const sizes = new Map(files.map(({ sha256, size }) => [sha256, size]));
  return [...sizes.values()].reduce((sum, size) => sum + size, 0);
}

/** The verdict on a file in words. */
export function verdictText(verdict: Verdict): string {
  if (verdict.state === 'corrupt') return `${tone('bad', 'corrupt')}: ${verdict.reason}`;
  return tone(verdict.state === 'verified' ? 'good' : 'bad', verdict.state);
}
