import { constants } from 'node:fs';
import { access, readdir } from 'node:fs/promises';
import { type ErrorCode, errnoOf } from '../shared/errors.js';
import { spaceOf } from './disk.js';
import { foldersOf, type Layout } from './layout.js';
import { isMount } from './mount.js';
import { RESERVE_BYTES } from './store.js';

/**
 * Whether the trouble of a volume looks over. It is a cheap look that writes nothing, for deciding when an attempt
 * is worth making; the attempt itself finds out.
 * @param bytes how much has to fit on the volume
 */
export async function looksOver(layout: Layout, code: ErrorCode, bytes: number): Promise<boolean> {
  try {
    switch (code) {
      case 'volume_not_mounted':
        return await isMount(layout.root);
      case 'volume_full':
        return (await spaceOf(layout.root)).freeBytes >= bytes + RESERVE_BYTES;
      case 'volume_read_only':
        for (const folder of [layout.root, ...foldersOf(layout)]) await isWritable(folder);
        return true;
      default:
        await readdir(layout.root);
        return true;
    }
  } catch (error) {
    // What is not there can be made.
    return errnoOf(error) === 'ENOENT';
  }
}

async function isWritable(folder: string): Promise<void> {
  try {
    await access(folder, constants.W_OK);
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT') throw error;
  }
}
