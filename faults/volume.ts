import { createHash } from 'node:crypto';
import { lstat, readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Manifest, PinnedFile } from '../src/cache/manifest.js';

/** What stands on a volume, judged from outside. */
export interface Survey {
  /** Digests (hex) of pinned blobs that are there and whole. */
  readonly whole: ReadonlySet<string>;
  /** Names among the blobs whose bytes are not what the name says. */
  readonly torn: readonly string[];
  /** The longest partial file of each digest, in bytes. */
  readonly partials: ReadonlyMap<string, number>;
  /** Bytes of everything but pinned blobs, vectors and `state.json`. */
  readonly strayBytes: number;
  /** The names of those, below the root. */
  readonly strays: readonly string[];
}

/** Reads all of a volume. */
export async function survey(root: string, pinned: readonly PinnedFile[]): Promise<Survey> {
  const digests = new Set(pinned.map(({ sha256 }) => sha256));
  const whole = new Set<string>();
  const torn: string[] = [];
  const partials = new Map<string, number>();
  const strays: string[] = [];
  let strayBytes = 0;
  for (const path of await filesBelow(root)) {
    const name = path.slice(path.lastIndexOf('/') + 1);
    if (path.startsWith('vectors/') || path === 'state.json') continue;
    if (path.startsWith('blobs/sha256/') && digests.has(name)) {
      const bytes = await readFile(join(root, path)).catch(() => undefined);
      if (!bytes) continue;
      const actual = createHash('sha256').update(bytes).digest('hex');
      if (actual === name) whole.add(name);
      else torn.push(name);
      continue;
    }
    // A process at work may have moved it meanwhile.
    const size = await lstat(join(root, path)).then(
      (stat) => stat.size,
      () => undefined,
    );
    if (size === undefined) continue;
    strays.push(path);
    strayBytes += size;
    const partial = /^ingest\/([0-9a-f]{64})\..*\.part$/.exec(path)?.[1];
    if (partial) partials.set(partial, Math.max(partials.get(partial) ?? 0, size));
  }
  return { whole, torn, partials, strayBytes, strays };
}

/** How many bytes the next boot has to fetch, if it uses all that is there. */
export function bytesToFetch({ whole, partials }: Survey, { files }: Pick<Manifest, 'files'>): number {
  return files
    .filter(({ sha256 }) => !whole.has(sha256))
    .reduce((sum, { sha256, size }) => sum + size - Math.min(size, partials.get(sha256) ?? 0), 0);
}

/** Every file below a folder, relative to it. */
async function filesBelow(root: string): Promise<string[]> {
  const entries = await readdir(root, { recursive: true, withFileTypes: true }).catch(() => []);
  return entries
    .filter((entry) => !entry.isDirectory())
    .map((entry) => join(entry.parentPath, entry.name).slice(root.length + 1));
}
