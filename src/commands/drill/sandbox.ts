import { constants } from 'node:fs';
import { copyFile, mkdtemp, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { asVolumeError, spaceOf } from '../../cache/disk.js';
import { blobPath, layoutOf } from '../../cache/layout.js';
import type { Manifest } from '../../cache/manifest.js';
import { ContentStore } from '../../cache/store.js';
import { AppError } from '../../shared/errors.js';
import { formatBytes } from '../format.js';
import { pinnedBytes } from '../model-lines.js';

/** The copy, a bad file in quarantine, and the one that replaces it; and room for notes. */
const ROOM = { times: 3, extraBytes: 16 * 2 ** 20 } as const;

/** A copy of a volume's pinned files, in a folder of its own. */
export interface Sandbox {
  readonly root: string;
  /** Makes the copy as it was, whatever has been done to it. */
  restore(): Promise<void>;
  /** Removes the folder. */
  close(): Promise<void>;
}

/**
 * Makes a sandbox in `parent`, by default beside the volume.
 * @throws AppError `volume_full` when the copy and its repairs would not fit, `volume_…`
 */
export async function openSandbox(
  volume: string,
  parent: string | undefined,
  manifest: Manifest,
): Promise<Sandbox> {
  const place = parent ?? dirname(volume);
  let root: string;
  try {
    const needed = ROOM.times * pinnedBytes(manifest) + ROOM.extraBytes;
    const { freeBytes } = await spaceOf(place);
    if (freeBytes < needed) {
      throw new AppError(
        'volume_full',
        `${place} has ${formatBytes(freeBytes)} free and a drill needs ${formatBytes(needed)}; ` +
          'name another place with --sandbox',
      );
    }
    root = await mkdtemp(join(place, '.ai-router-drill-'));
  } catch (error) {
    throw asVolumeError(error, `cannot make a sandbox in ${place}`);
  }
  const copy = join(root, 'volume');
  const close = (): Promise<void> => rm(root, { recursive: true, force: true });
  const restore = async (): Promise<void> => {
    await rm(copy, { recursive: true, force: true });
    await new ContentStore(copy).prepare();
    for (const { sha256 } of manifest.files) {
      // Never a hard link: what is done to the copy would be done to the original. Blocks are shared where the
      // file system can do that safely.
      await copyFile(
        blobPath(layoutOf(volume), sha256),
        blobPath(layoutOf(copy), sha256),
        constants.COPYFILE_FICLONE,
      );
    }
  };
  try {
    await restore();
  } catch (error) {
    await close();
    throw asVolumeError(error, `cannot copy ${volume} to ${root}`);
  }
  return { root: copy, restore, close };
}
