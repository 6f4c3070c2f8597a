import { createHash, type Hash } from 'node:crypto';
import { type BigIntStats, constants } from 'node:fs';
import { type FileHandle, lstat, mkdir, open, readdir, rename, rm, statfs } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { AppError, type ErrorCode, errnoOf, fileFault } from '../shared/errors.js';
import { OWNER } from './owner.js';

/** Bytes read at a time: large enough to be fast, small enough to hash without a pause that anybody feels. */
const CHUNK_BYTES = 1 << 20;

/**
 * State of a file when its bytes were hashed. An equal fingerprint later means "not written since by
 * an honest process"; it spares a look at our own changes, and never takes the place of a digest.
 */
export type Fingerprint = string;

export function fingerprintOf(stat: BigIntStats): Fingerprint {
  return [stat.dev, stat.ino, stat.mode, stat.size, stat.mtimeNs, stat.ctimeNs].join(':');
}

/** `lstat` with nanoseconds, or `undefined` where nothing is there. */
export async function statOf(path: string): Promise<BigIntStats | undefined> {
  try {
    return await lstat(path, { bigint: true });
  } catch (error) {
    const errno = errnoOf(error);
    if (errno === 'ENOENT' || errno === 'ENOTDIR') return undefined;
    throw asVolumeError(error, `cannot look at ${path}`);
  }
}

/** The kind of entry that a stat result describes, in words. */
export function kindOf(stat: BigIntStats): string {
  if (stat.isFile()) return 'file';
  if (stat.isDirectory()) return 'directory';
  if (stat.isSymbolicLink()) return 'symbolic link';
  if (stat.isFIFO()) return 'FIFO';
  if (stat.isSocket()) return 'socket';
  return 'device';
}

/**
 * Opens a regular file for reading, and nothing else: no link is followed, and a FIFO does not block.
 * The caller closes it.
 */
export async function openRegular(path: string): Promise<{ file: FileHandle; stat: BigIntStats }> {
  const file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  try {
    const stat = await file.stat({ bigint: true });
    if (!stat.isFile()) throw new AppError('blob_corrupt', `${path} is a ${kindOf(stat)}, not a file`);
    return { file, stat };
  } catch (error) {
    await file.close();
    throw error;
  }
}

/**
 * Feeds a file's bytes, from `start` up to `end` (exclusive), to `hash`, a chunk at a time.
 * @returns how many bytes there were
 */
export async function hashInto(hash: Hash, file: FileHandle, start: number, end: number): Promise<number> {
  const chunk = Buffer.allocUnsafe(Math.min(CHUNK_BYTES, Math.max(1, end - start)));
  let position = start;
  while (position < end) {
    const { bytesRead } = await file.read(chunk, 0, Math.min(chunk.length, end - position), position);
    if (bytesRead === 0) break;
    hash.update(chunk.subarray(0, bytesRead));
    position += bytesRead;
  }
  return position - start;
}

/** Reads exactly `size` bytes into one new buffer and hashes that buffer; fewer bytes give a shorter one. */
export async function readHashed(file: FileHandle, size: number): Promise<{ bytes: Buffer; sha256: string }> {
  const bytes = Buffer.allocUnsafeSlow(size);
  const hash = createHash('sha256');
  let position = 0;
  while (position < size) {
    const length = Math.min(CHUNK_BYTES, size - position);
    const { bytesRead } = await file.read(bytes, position, length, position);
    if (bytesRead === 0) break;
    hash.update(bytes.subarray(position, position + bytesRead));
    position += bytesRead;
  }
  return { bytes: bytes.subarray(0, position), sha256: hash.digest('hex') };
}

/** Opens a file for reading and writing, without following a link; `create` makes a new one and fails if it exists. */
export async function openWritable(path: string, create: boolean): Promise<FileHandle> {
  const flags = constants.O_RDWR | constants.O_NOFOLLOW | constants.O_NONBLOCK;
  return open(path, create ? flags | constants.O_CREAT | constants.O_EXCL : flags, 0o644);
}

/** Writes all of `bytes` at `offset`, however many calls the system takes for it. */
export async function writeAt(file: FileHandle, bytes: Uint8Array, offset: number): Promise<void> {
  let written = 0;
  while (written < bytes.length) {
    const { bytesWritten } = await file.write(bytes, written, bytes.length - written, offset + written);
    written += bytesWritten;
  }
}

/** Makes what was created, renamed or removed in a folder durable. */
export async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path, constants.O_RDONLY);
  try {
    await directory.sync();
  } catch (error) {
    // Some network and FUSE file systems cannot sync a directory; they offer nothing better.
    if (errnoOf(error) !== 'EINVAL' && errnoOf(error) !== 'ENOTSUP') throw error;
  } finally {
    await directory.close();
  }
}

/** Moves `from` over `to` and makes that durable: afterwards `to` is the new one even after a power cut. */
export async function publish(from: string, to: string): Promise<void> {
  await rename(from, to);
  await syncDirectory(dirname(to));
}

/** Removes an entry of any kind, if it is there; links are removed, never followed. */
export async function remove(path: string): Promise<void> {
  await rm(path, { recursive: true, force: true });
}

/** The names in a folder; none where there is no such folder. A link to a folder is not followed. */
export async function namesIn(path: string): Promise<string[]> {
  await checkFolder(path);
  try {
    return await readdir(path);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return [];
    throw asVolumeError(error, `cannot list ${path}`);
  }
}

/**
 * Makes sure that `path` is a real folder, made durably if it was missing, with its parents.
 * @returns the entry that stands there instead, if one does
 */
export async function ensureDirectory(path: string): Promise<BigIntStats | undefined> {
  const stat = await statOf(path);
  if (stat) return stat.isDirectory() ? undefined : stat;
  const above = dirname(path);
  // One by one: `recursive` calls a read-only disk "no such file or directory". A parent may be a link.
  if (above !== path && !(await statOf(above))) await ensureDirectory(above);
  await mkdir(path).catch((error: unknown) => {
    if (errnoOf(error) !== 'EEXIST') throw error;
  });
  await syncDirectory(above);
  return undefined;
}

/**
 * Checks that `folder` is a real folder and not a link that was put in its place, which could lead anywhere. A folder
 * that is missing is left to the caller.
 * @throws AppError `volume_unavailable`
 */
export async function checkFolder(folder: string): Promise<void> {
  const stat = await statOf(folder);
  if (!stat || stat.isDirectory()) return;
  throw new AppError(
    'volume_unavailable',
    `${folder} is a ${kindOf(stat)}, not a folder; the next verification moves it away`,
    { retryable: true },
  );
}

/**
 * Works in a folder that cannot be exchanged for a link meanwhile: on Linux `path` leads through its descriptor.
 * @throws AppError `volume_unavailable` where it is no real folder
 */
async function inFolder<T>(folder: string, work: (path: string) => Promise<T>): Promise<T> {
  await checkFolder(folder);
  const directory = await open(folder, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW);
  try {
    const path = `/proc/self/fd/${directory.fd}`;
    return await work((await statOf(path)) ? path : folder);
  } finally {
    await directory.close();
  }
}

/** Removes an entry of a folder that is no link, also if it is exchanged for one meanwhile. */
export async function removeFrom(folder: string, name: string): Promise<void> {
  await inFolder(folder, (path) => remove(join(path, name)));
}

/**
 * Writes a small file so that a reader sees the old one or the new one, whole, whatever happens meanwhile.
 * The temporary file stands in `staging`, on the same file system. Neither folder may be a link.
 */
export async function writeAtomic(path: string, bytes: string | Uint8Array, staging: string): Promise<void> {
  const temporary = join(staging, `${basename(path)}.${OWNER}.tmp`);
  await checkFolder(staging);
  // The root of a volume may be a link: that is the operator's choice.
  if (dirname(path) !== dirname(staging)) await checkFolder(dirname(path));
  await remove(temporary);
  const file = await openWritable(temporary, true);
  try {
    await writeAt(file, typeof bytes === 'string' ? Buffer.from(bytes) : bytes, 0);
    await file.sync();
  } catch (error) {
    await file.close();
    await remove(temporary).catch(() => undefined);
    throw error;
  }
  await file.close();
  // A folder in its place would refuse this write and every later one.
  if ((await statOf(path))?.isDirectory()) await rename(path, `${path}.found-${Date.now()}`);
  await publish(temporary, path);
}

/** The bytes of a regular file of at most `maxBytes`, or `undefined` where there is no such file. */
export async function readSmall(path: string, maxBytes = 1 << 20): Promise<Buffer | undefined> {
  try {
    const { file, stat } = await openRegular(path);
    try {
      if (stat.size > BigInt(maxBytes)) return undefined;
      const { bytes } = await readHashed(file, Number(stat.size));
      return bytes;
    } finally {
      await file.close();
    }
  } catch {
    return undefined;
  }
}

/** Space on the file system of `path` that an ordinary process may use, and its whole size, in bytes. */
export async function spaceOf(path: string): Promise<{ freeBytes: number; totalBytes: number }> {
  const { bavail, bsize, blocks } = await statfs(path);
  return { freeBytes: bavail * bsize, totalBytes: blocks * bsize };
}

/** Puts a system error from the volume into the project's words, with what to do about it. */
export function asVolumeError(error: unknown, doing: string): AppError {
  if (error instanceof AppError) return error;
  const fault = (code: ErrorCode, words: string): AppError =>
    new AppError(code, `${doing}: ${words}`, { retryable: true, cause: error });
  switch (errnoOf(error)) {
    case 'ENOSPC':
    case 'EDQUOT':
      return fault('volume_full', 'the volume is full; enlarge it or free space on it');
    case 'EROFS':
      return fault('volume_read_only', 'the volume is read-only; mount it writable');
    case 'EACCES':
    case 'EPERM': {
      const user = process.getuid?.();
      if (user === 0) {
        const remedy = 'mount the volume without root squash, and with its capabilities';
        return fault('volume_read_only', `not permitted even for root: ${remedy}`);
      }
      const railway = process.env.RAILWAY_ENVIRONMENT_ID ? '; on Railway, set RAILWAY_RUN_UID=0' : '';
      const remedy = `give the volume to this user or its group${railway}`;
      return fault('volume_read_only', `not permitted for user ${user ?? '?'}: ${remedy}`);
    }
    default:
      return fault('volume_unavailable', fileFault(error, true));
  }
}
