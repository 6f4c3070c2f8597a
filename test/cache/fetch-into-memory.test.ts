import { randomBytes } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { gather } from '../../src/cache/fetch-into-memory.js';
import { memorySource, smallModel } from '../support/volume.js';

const never = new AbortController().signal;

describe('gather', () => {
  it('takes each file from the first source that delivers the pinned bytes', async () => {
    const { manifest, files } = smallModel();
    const wrong = new Map([...files].map(([path, bytes]) => [path, randomBytes(bytes.length)]));
    const found = await gather([memorySource(wrong), memorySource(files)], manifest.files, never);
    for (const [path, bytes] of files) expect(found.get(path)?.equals(bytes)).toBe(true);
  });

  it('takes an archive in one call', async () => {
    const { manifest, files } = smallModel();
    const archive = { ...memorySource(files), atOnce: true as const };
    expect((await gather([archive], manifest.files, never)).size).toBe(files.size);
  });

  it('names every reason', async () => {
    const { manifest, files } = smallModel();
    const short = new Map([...files].map(([path, bytes]) => [path, bytes.subarray(1)]));
    const long = new Map([...files].map(([path, bytes]) => [path, Buffer.concat([bytes, Buffer.of(0)])]));
    const sources = [memorySource(short, { name: 'short' }), memorySource(long, { name: 'long' })];
    await expect(gather(sources, manifest.files, never)).rejects.toThrow(
      /short: .*of \d+ bytes[\s\S]*long: .*more than/,
    );
    await expect(gather([], manifest.files, never)).rejects.toMatchObject({ code: 'sources_exhausted' });
  });
});
