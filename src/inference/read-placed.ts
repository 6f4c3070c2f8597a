import { openRegular, readHashed } from '../cache/disk.js';
import { AppError, messageOf } from '../shared/errors.js';
import type { PlacedFile } from './model-bytes.js';

/**
 * The pinned bytes of a file, from the first place where they lie: the very buffer that was hashed.
 * @throws AppError `blob_missing`, which says why it was none of the places
 */
export async function readPlaced({ paths, size, sha256 }: PlacedFile): Promise<Buffer> {
  const reasons: string[] = [];
  for (const path of paths) {
    try {
      const { file, stat } = await openRegular(path);
      try {
        if (stat.size !== BigInt(size)) throw new Error(`size is ${stat.size}, pinned is ${size}`);
        const read = await readHashed(file, size);
        if (read.sha256 !== sha256) throw new Error(`sha256 is ${read.sha256}`);
        return read.bytes;
      } finally {
        await file.close();
      }
    } catch (error) {
      reasons.push(`${path}: ${messageOf(error)}`);
    }
  }
  throw new AppError('blob_missing', reasons.join('; ') || 'there is no place to look');
}
