import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  appendFile,
  chmod,
  copyFile,
  lstat,
  mkdir,
  open,
  readdir,
  readFile,
  rename,
  rm,
  stat,
  symlink,
  truncate,
  utimes,
  writeFile,
} from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { Manifest, PinnedFile } from '../../src/cache/manifest.js';

/** One way in which a blob goes bad. */
export type Rot = readonly [kind: string, spoil: (blob: string) => Promise<unknown>];

/** Overwrites bytes in place. */
async function overwrite(blob: string, at: number, change: (old: Buffer) => Buffer): Promise<void> {
  await chmod(blob, 0o644);
  const file = await open(blob, 'r+');
  try {
    const old = Buffer.alloc(1);
    await file.read(old, 0, 1, at);
    await file.write(change(old), 0, undefined, at);
  } finally {
    await file.close();
  }
}

/** Changes one bit in place. */
export function flipBit(blob: string, at: number): Promise<void> {
  return overwrite(blob, at, (old) => Buffer.from([(old[0] ?? 0) ^ 1]));
}

export const CONTENT_ROT: readonly Rot[] = [
  ['one bit', (blob) => flipBit(blob, 1_000)],
  ['truncated', (blob) => truncate(blob, 1_000)],
  [
    'zeroed tail',
    async (blob) => overwrite(blob, (await stat(blob)).size - 4_096, () => Buffer.alloc(4_096)),
  ],
  [
    'truncated, then sparse to its old size',
    async (blob) => {
      const { size } = await stat(blob);
      await truncate(blob, 100);
      await truncate(blob, size);
    },
  ],
  ['extended', (blob) => appendFile(blob, 'x')],
  [
    'replaced by a file of the same size and date',
    async (blob) => {
      const { size, atime, mtime } = await stat(blob);
      const other = join(dirname(blob), '.other');
      await writeFile(other, Buffer.alloc(size, 7));
      await utimes(other, atime, mtime);
      await rename(other, blob);
    },
  ],
  ['emptied', (blob) => truncate(blob, 0)],
];

/** Another kind of entry instead of a file. Renamed over the blob: a missing name would be another fault. */
export const KIND_ROT: readonly Rot[] = [
  [
    'FIFO',
    async (blob) => {
      const fifo = join(dirname(blob), '.fifo');
      spawnSync('mkfifo', [fifo]);
      await rename(fifo, blob);
    },
  ],
  [
    'directory',
    async (blob) => {
      await rm(blob);
      await mkdir(blob);
    },
  ],
  [
    'socket',
    async (blob) => {
      // A server that is not closed leaves its socket behind.
      const script = `require('net').createServer().listen('./s', () => process.kill(process.pid, 'SIGKILL'))`;
      const { signal } = spawnSync(process.execPath, ['-e', script], { cwd: dirname(blob) });
      if (signal !== 'SIGKILL') throw new Error('could not make a socket');
      await rename(join(dirname(blob), 's'), blob);
    },
  ],
];

/** Links, which must not be followed. */
export const LINK_ROT: readonly Rot[] = [
  [
    'link to a good copy',
    async (blob) => {
      const copy = join(dirname(blob), '../../copy');
      await copyFile(blob, copy);
      await rm(blob);
      await symlink(copy, blob);
    },
  ],
  [
    'link to nowhere',
    async (blob) => {
      await rm(blob);
      await symlink('/nonexistent', blob);
    },
  ],
];

/** Losses without corruption. */
export const LOSS: readonly Rot[] = [
  ['volume wiped, its root too', (blob) => rm(join(blob, '../../..'), { recursive: true })],
  ['removed', (blob) => rm(blob)],
  [
    'contents of the volume wiped',
    async (blob) => {
      const root = join(blob, '../../..');
      for (const name of await readdir(root)) await rm(join(root, name), { recursive: true });
    },
  ],
  [
    'link in place of the folder of blobs',
    async (blob) => {
      const blobs = join(blob, '../..');
      await rename(blobs, join(blobs, '../../elsewhere'));
      await symlink('../elsewhere', blobs);
    },
  ],
];

/** The contents of a volume, judged from outside. */
export interface Survey {
  /** Digests (hex) of pinned blobs that are present and whole. */
  readonly whole: ReadonlySet<string>;
  /** Digests of pinned blobs with other bytes. */
  readonly torn: readonly string[];
  /** The longest partial file of each digest, in bytes. */
  readonly partials: ReadonlyMap<string, number>;
  /** Everything but pinned blobs, vectors and `state.json`, below the root. */
  readonly strays: readonly string[];
  readonly strayBytes: number;
}

/** Reads all of a volume. */
export async function survey(root: string, { files }: Pick<Manifest, 'files'>): Promise<Survey> {
  const digests = new Set(files.map(({ sha256 }) => sha256));
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
      if (createHash('sha256').update(bytes).digest('hex') === name) whole.add(name);
      else torn.push(name);
      continue;
    }
    // A process at work may have moved it meanwhile.
    const size = (await lstat(join(root, path)).catch(() => undefined))?.size;
    if (size === undefined) continue;
    strays.push(path);
    strayBytes += size;
    const partial = /^ingest\/([0-9a-f]{64})\..*\.part$/.exec(path)?.[1];
    if (partial) partials.set(partial, Math.max(partials.get(partial) ?? 0, size));
  }
  return { whole, torn, partials, strays, strayBytes };
}

/** Returns how many bytes the next boot has to fetch, if it uses everything that is present. */
export function bytesToFetch({ whole, partials }: Survey, files: readonly PinnedFile[]): number {
  return files
    .filter(({ sha256 }) => !whole.has(sha256))
    .reduce((sum, { sha256, size }) => sum + size - Math.min(size, partials.get(sha256) ?? 0), 0);
}

/** Returns every file below a folder, relative to it. */
export async function filesBelow(root: string): Promise<string[]> {
  const entries = await readdir(root, { recursive: true, withFileTypes: true }).catch(() => []);
  return entries
    .filter((entry) => !entry.isDirectory())
    .map((entry) => join(entry.parentPath, entry.name).slice(root.length + 1));
}
