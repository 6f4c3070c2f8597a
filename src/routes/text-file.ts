import { createHash } from 'node:crypto';
import { type FileHandle, open, stat } from 'node:fs/promises';
import { basename } from 'node:path';
import { AppError, errnoOf, messageOf } from '../shared/errors.js';

/** What a text file held. */
export interface TextFile {
  readonly text: string;
  /** sha256 of its bytes in hex. */
  readonly digest: string;
}

/**
 * Reads a UTF-8 file of bounded size. Messages name the file without its folder.
 * @throws AppError `routes_invalid`: missing, unreadable, no plain file, too large, not UTF-8
 */
export async function readTextFile(path: string, maxBytes: number): Promise<TextFile> {
  const name = basename(path);
  const bytes = await readBounded(path, name, maxBytes);
  const digest = createHash('sha256').update(bytes).digest('hex');
  try {
    return { text: new TextDecoder('utf-8', { fatal: true }).decode(bytes), digest };
  } catch (cause) {
    throw new AppError('routes_invalid', `${name}: is not UTF-8 text`, { cause });
  }
}

/** Changes whenever the file does, or comes, or goes: a cheap way to see that nothing happened. */
export async function fingerprintOf(path: string): Promise<string> {
  try {
    const { dev, ino, size, mtimeNs, ctimeNs } = await stat(path, { bigint: true });
    return [dev, ino, size, mtimeNs, ctimeNs].join(' ');
  } catch (error) {
    return errnoOf(error) ?? 'unreadable';
  }
}

async function readBounded(path: string, name: string, maxBytes: number): Promise<Buffer> {
  let file: FileHandle | undefined;
  try {
    // Asked before it is opened: opening a FIFO would wait for a writer.
    if (!(await stat(path)).isFile()) throw new AppError('routes_invalid', `${name}: is not a file`);
    file = await open(path, 'r');
    if ((await file.stat()).size > maxBytes) {
      throw new AppError('routes_invalid', `${name}: larger than ${maxBytes} bytes`);
    }
    return await file.readFile();
  } catch (error) {
    if (error instanceof AppError) throw error;
    const code = errnoOf(error);
    const reason = code === 'ENOENT' ? 'is missing' : `cannot be read (${code ?? messageOf(error)})`;
    throw new AppError('routes_invalid', `${name}: ${reason}`, { cause: error });
  } finally {
    await file?.close();
  }
}
