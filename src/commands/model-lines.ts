import type { Manifest } from '../cache/manifest.js';
import type { Verdict } from '../cache/store.js';

/** A model in one line: `Xenova/all-MiniLM-L6-v2@48a5a372879e (q8)`. */
export function modelName({ repo, revision, variant }: Manifest): string {
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

/** What was found of a file, in words. */
export function verdictText(verdict: Verdict): string {
  return verdict.state === 'corrupt' ? `corrupt: ${verdict.reason}` : verdict.state;
}
