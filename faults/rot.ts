import { spawnSync } from 'node:child_process';
import {
  appendFile,
  chmod,
  copyFile,
  mkdir,
  open,
  rename,
  rm,
  stat,
  symlink,
  truncate,
  utimes,
  writeFile,
} from 'node:fs/promises';
import { dirname, join } from 'node:path';

/** One way in which a blob goes bad. */
export interface Rot {
  readonly kind: string;
  /** Whether the volume's owner sees it as corrupt (and not merely as missing or changed). */
  readonly corrupts: boolean;
  spoil(blob: string): Promise<unknown>;
}

/** Changes one bit in place. */
export async function flipBit(blob: string, at: number): Promise<void> {
  await chmod(blob, 0o644);
  const file = await open(blob, 'r+');
  try {
    const byte = Buffer.alloc(1);
    await file.read(byte, 0, 1, at);
    byte[0] = (byte[0] ?? 0) ^ 1;
    await file.write(byte, 0, 1, at);
  } finally {
    await file.close();
  }
}

/** Overwrites the last `length` bytes with zeros, as a crash on some file systems does. */
export async function zeroTail(blob: string, length: number): Promise<void> {
  const { size } = await stat(blob);
  await chmod(blob, 0o644);
  const file = await open(blob, 'r+');
  try {
    await file.write(Buffer.alloc(Math.min(length, size)), 0, undefined, Math.max(0, size - length));
  } finally {
    await file.close();
  }
}

/** Changes of content. */
export const CONTENT_ROT: readonly Rot[] = [
  { kind: 'one bit', corrupts: true, spoil: (blob) => flipBit(blob, 1_000) },
  { kind: 'zeroed tail', corrupts: true, spoil: (blob) => zeroTail(blob, 4_096) },
  { kind: 'truncated', corrupts: true, spoil: (blob) => truncate(blob, 1_000) },
  {
    kind: 'truncated, then sparse to its old size',
    corrupts: true,
    spoil: async (blob) => {
      const { size } = await stat(blob);
      await truncate(blob, 100);
      await truncate(blob, size);
    },
  },
  { kind: 'extended', corrupts: true, spoil: (blob) => appendFile(blob, 'x') },
  {
    kind: 'replaced by a file of the same size and date',
    corrupts: true,
    spoil: async (blob) => {
      const { size, atime, mtime } = await stat(blob);
      const other = join(dirname(blob), '.other');
      await writeFile(other, Buffer.alloc(size, 7));
      await utimes(other, atime, mtime);
      await rename(other, blob);
    },
  },
  {
    kind: 'emptied',
    corrupts: true,
    spoil: (blob) => truncate(blob, 0),
  },
];

/** Something else than a file in its place. */
export const KIND_ROT: readonly Rot[] = [
  {
    kind: 'directory',
    corrupts: true,
    spoil: async (blob) => {
      await rm(blob);
      await mkdir(blob);
    },
  },
  {
    kind: 'FIFO',
    corrupts: true,
    spoil: async (blob) => {
      // Renamed over the blob in one step: a name that is gone for a while would be healed as a missing file.
      const fifo = join(dirname(blob), '.fifo');
      spawnSync('mkfifo', [fifo]);
      await rename(fifo, blob);
    },
  },
  {
    kind: 'socket',
    corrupts: true,
    spoil: async (blob) => {
      const made = spawnSync(
        process.execPath,
        [
          '-e',
          // A server that is not closed leaves its socket behind.
          `require('net').createServer().listen('./s', () => process.kill(process.pid, 'SIGKILL'))`,
        ],
        { cwd: dirname(blob) },
      );
      if (made.signal !== 'SIGKILL') throw new Error('could not make a socket');
      await rename(join(dirname(blob), 's'), blob);
    },
  },
];

/** Links, which must not be followed. */
export const LINK_ROT: readonly Rot[] = [
  {
    kind: 'link to a good copy',
    corrupts: true,
    spoil: async (blob) => {
      const copy = join(dirname(blob), '..', '..', 'copy');
      await copyFile(blob, copy);
      await rm(blob);
      await symlink(copy, blob);
    },
  },
  {
    kind: 'link to nowhere',
    corrupts: true,
    spoil: async (blob) => {
      await rm(blob);
      await symlink('/nonexistent', blob);
    },
  },
];
