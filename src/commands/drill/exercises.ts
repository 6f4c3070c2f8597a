import { chmod, mkdir, open, rm, stat, truncate } from 'node:fs/promises';

/** One thing that happens to volumes in the real world. */
export interface Exercise {
  readonly name: string;
  /** What a verification has to call it. */
  readonly expected: 'corrupt' | 'missing';
  /** Whether all files are concerned, and not only the largest one. */
  readonly everything?: true;
  /** Does it to the copy: to its largest blob, or to the whole folder. */
  inflict(blob: string, volume: string): Promise<void>;
}

/** What a drill does, in this order. */
export const EXERCISES: readonly Exercise[] = [
  { name: 'one bit flipped', expected: 'corrupt', inflict: flipBit },
  { name: 'cut to half its length', expected: 'corrupt', inflict: cutInHalf },
  { name: 'tail full of zeros', expected: 'corrupt', inflict: zeroTail },
  { name: 'file removed', expected: 'missing', inflict: (blob) => rm(blob) },
  { name: 'a directory in its place', expected: 'corrupt', inflict: replaceByDirectory },
  {
    name: 'the whole volume wiped',
    expected: 'missing',
    everything: true,
    inflict: (_, volume) => rm(volume, { recursive: true }),
  },
];

async function flipBit(blob: string): Promise<void> {
  const { size } = await stat(blob);
  const middle = Math.floor(size / 2);
  await chmod(blob, 0o644);
  const file = await open(blob, 'r+');
  try {
    const byte = Buffer.alloc(1);
    await file.read(byte, 0, 1, middle);
    byte[0] = (byte[0] ?? 0) ^ 1;
    await file.write(byte, 0, 1, middle);
  } finally {
    await file.close();
  }
}

async function cutInHalf(blob: string): Promise<void> {
  const { size } = await stat(blob);
  await chmod(blob, 0o644);
  await truncate(blob, Math.floor(size / 2));
}

/** As after a crash of a file system that had noted the length before it wrote the data. */
async function zeroTail(blob: string): Promise<void> {
  const { size } = await stat(blob);
  await chmod(blob, 0o644);
  await truncate(blob, Math.floor((size * 3) / 4));
  await truncate(blob, size);
}

async function replaceByDirectory(blob: string): Promise<void> {
  await rm(blob);
  await mkdir(blob);
}
