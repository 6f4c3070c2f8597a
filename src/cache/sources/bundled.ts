import { constants } from 'node:fs';
import { type FileHandle, open, realpath } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { AppError, errnoOf, messageOf } from '../../shared/errors.js';
import type { PinnedFile } from '../manifest.js';
import { BUNDLED, type Delivery, type Source, type WantedFile } from '../source.js';
import {
  abortedFault,
  HEAD_BYTES,
  placeholderFault,
  sizeFault,
  truncatedFault,
  wrongBytes,
} from './faults.js';

/** Bytes read at once. */
const PIECE_BYTES = 262_144;

/**
 * A folder on this machine, such as the copy of the model that comes with the program. Only regular files inside
 * it are read; what a symbolic link in it points to is not.
 * @param folder in which each pinned file lies at its pinned path
 */
export function createBundledSource(folder: string): Source {
  async function* deliver(wanted: readonly WantedFile[], signal: AbortSignal): AsyncGenerator<Delivery> {
    for (const { file, offset } of wanted) {
      if (signal.aborted) throw abortedFault();
      const opened = await openInside(folder, file);
      const start = offset > file.size ? 0 : offset;
      try {
        yield { file, offset: start, bytes: read(opened, file, start, signal) };
      } finally {
        await opened.close();
      }
    }
  }
  return { name: BUNDLED, concurrency: 1, deliver };
}

async function openInside(folder: string, file: PinnedFile): Promise<FileHandle> {
  const place = `${file.path} from ${BUNDLED}`;
  const path = join(folder, file.path);
  let opened: FileHandle;
  try {
    const parent = join(await realpath(folder), dirname(file.path));
    if ((await realpath(parent)) !== parent) throw notRegular(place);
    // Without O_NONBLOCK, a FIFO in a file's place would block until a writer opens it.
    opened = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch (cause) {
    throw openFault(cause, place);
  }
  try {
    const stat = await opened.stat();
    if (!stat.isFile()) throw notRegular(place);
    if (stat.size !== file.size) throw await otherSizeFault(opened, stat.size, file, place);
    return opened;
  } catch (error) {
    await opened.close();
    throw readFault(error, place);
  }
}

async function* read(
  opened: FileHandle,
  file: PinnedFile,
  start: number,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array> {
  const place = `${file.path} from ${BUNDLED}`;
  let position = start;
  while (position < file.size) {
    if (signal.aborted) throw abortedFault();
    // A new buffer each time: the reader may keep the last one.
    const piece = Buffer.allocUnsafe(Math.min(PIECE_BYTES, file.size - position));
    let bytesRead: number;
    try {
      ({ bytesRead } = await opened.read(piece, 0, piece.length, position));
    } catch (cause) {
      throw readFault(cause, place);
    }
    if (bytesRead === 0) throw truncatedFault(place, position, file.size);
    position += bytesRead;
    yield piece.subarray(0, bytesRead);
  }
}

/** A clone made without Git LFS has pointers in the files' places: worth saying, more than a wrong size. */
async function otherSizeFault(
  opened: FileHandle,
  size: number,
  file: PinnedFile,
  place: string,
): Promise<AppError> {
  const head = Buffer.alloc(HEAD_BYTES);
  const { bytesRead } = await opened.read(head, 0, head.length, 0);
  return placeholderFault(head.subarray(0, bytesRead), file.path, place) ?? sizeFault(place, size, file.size);
}

function notRegular(place: string): AppError {
  return wrongBytes(`${place}: not a regular file`);
}

function openFault(cause: unknown, place: string): AppError {
  switch (errnoOf(cause)) {
    case 'ENOENT':
    case 'ENOTDIR':
      return new AppError('source_not_found', `${place}: no such file`, { cause });
    case 'ELOOP':
    case 'ENXIO':
      return notRegular(place);
    case 'EACCES':
    case 'EPERM':
      return new AppError('source_unauthorized', `${place}: may not be read by this user`, { cause });
    default:
      return readFault(cause, place);
  }
}

function readFault(cause: unknown, place: string): AppError {
  if (cause instanceof AppError) return cause;
  return new AppError('source_unreachable', `${place}: ${messageOf(cause)}`, { retryable: true, cause });
}
