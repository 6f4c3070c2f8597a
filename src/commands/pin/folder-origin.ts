import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { readdir, stat } from 'node:fs/promises';
import { join, relative, resolve, sep } from 'node:path';
import { AppError, errnoOf, messageOf } from '../../shared/errors.js';
import type { OriginFile, PinOrigin } from './origin.js';

/**
 * A folder with the files of a model at their paths, such as a clone or a snapshot of the hub's own cache. Links
 * are followed: whoever names the folder vouches for it.
 * @throws AppError `source_not_found`
 */
export async function openFolderOrigin(folder: string, revision: string): Promise<PinOrigin> {
  const root = resolve(folder);
  return {
    name: root,
    revision,
    license: undefined,
    paths: await pathsBelow(root),
    take: (path) => take(root, path),
    close: async () => undefined,
  };
}

async function pathsBelow(root: string): Promise<string[]> {
  try {
    const entries = await readdir(root, { recursive: true, withFileTypes: true });
    return entries
      .filter((entry) => !entry.isDirectory())
      .map((entry) => relative(root, join(entry.parentPath, entry.name)).split(sep).join('/'));
  } catch (cause) {
    throw new AppError('source_not_found', `cannot list ${root}: ${messageOf(cause)}`, { cause });
  }
}

async function take(root: string, path: string): Promise<OriginFile | undefined> {
  const location = join(root, path);
  const hash = createHash('sha256');
  let size = 0;
  try {
    if (!(await stat(location)).isFile()) {
      throw new AppError('source_wrong_bytes', `${path} is not a file in ${root}`);
    }
    for await (const piece of createReadStream(location, { highWaterMark: 1 << 20 })) {
      hash.update(piece);
      size += piece.length;
    }
  } catch (cause) {
    if (cause instanceof AppError) throw cause;
    if (errnoOf(cause) === 'ENOENT' || errnoOf(cause) === 'ENOTDIR') return undefined;
    throw new AppError('source_unreachable', `cannot read ${path} in ${root}: ${messageOf(cause)}`, {
      cause,
    });
  }
  return { path, size, sha256: hash.digest('hex'), location };
}
