import { randomBytes } from 'node:crypto';
import {
  lstat,
  mkdir,
  open,
  readdir,
  readFile,
  rename,
  rm,
  stat,
  symlink,
  truncate,
  utimes,
  writeFile,
} from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { writeAtomic } from '../../src/cache/disk.js';
import { blobPath } from '../../src/cache/layout.js';
import { QUARANTINE_LIMITS } from '../../src/cache/quarantine.js';
import { ContentStore } from '../../src/cache/store.js';
import { CONTENT_ROT, flipBit, KIND_ROT, LINK_ROT } from '../resilience/rot.js';
import { pin, temporaryFolder } from '../support/volume.js';

const never = new AbortController().signal;
const bytes = randomBytes(3_000_000);
const file = pin('onnx/model.onnx', bytes);

async function filledStore(): Promise<{ store: ContentStore; blob: string }> {
  const store = new ContentStore(await temporaryFolder());
  await store.prepare();
  const writer = await store.ingest(file, never);
  await writer.write(bytes);
  await writer.commit();
  return { store, blob: blobPath(store.layout, file.sha256) };
}

describe('ContentStore', () => {
  it('publishes a read-only blob and reads back the bytes', async () => {
    const { store, blob } = await filledStore();
    expect(await store.verify(file)).toMatchObject({ state: 'verified' });
    expect(bytes.equals(await store.read(file))).toBe(true);
    expect((await stat(blob)).mode & 0o777).toBe(0o444);
    expect(await readdir(store.layout.ingest)).toEqual([]);
  });

  it('says when a blob is missing', async () => {
    const store = new ContentStore(await temporaryFolder());
    expect(await store.verify(file)).toEqual({ state: 'missing' });
    await expect(store.read(file)).rejects.toMatchObject({ code: 'blob_missing' });
  });

  it.each([...CONTENT_ROT, ...KIND_ROT, ...LINK_ROT])(
    'finds, sets aside and replaces: %s',
    async (_, spoil) => {
      const { store, blob } = await filledStore();
      await spoil(blob);
      expect(await store.verify(file)).toMatchObject({
        state: 'corrupt',
        reason: expect.stringMatching(/^(size|sha256) is |is a (directory|FIFO|socket|symbolic link)/),
      });
      await expect(store.read(file)).rejects.toMatchObject({ code: 'blob_corrupt' });

      const entry = await store.quarantine(file, 'because');
      const isFile = (await lstat(join(store.layout.quarantine, entry.name))).isFile();
      // A bad file keeps its name until a good one takes it; anything else gives way.
      expect(
        await lstat(blob).then(
          () => true,
          () => false,
        ),
      ).toBe(isFile);
      expect(await store.quarantined()).toMatchObject([{ path: file.path, reason: 'because' }]);

      const writer = await store.ingest(file, never);
      await writer.write(bytes);
      await writer.commit();
      expect(await store.verify(file)).toMatchObject({ state: 'verified' });
      expect(await store.quarantined()).toHaveLength(1);
    },
  );

  it('sets one bad file aside once, however often it is asked', async () => {
    const { store, blob } = await filledStore();
    await flipBit(blob, 1_234_567);
    await store.quarantine(file, 'first');
    await store.quarantine(file, 'second');
    expect(await store.quarantined()).toMatchObject([{ reason: 'first' }]);
  });

  it('caps the evidence', async () => {
    const { store, blob } = await filledStore();
    for (let round = 0; round < QUARANTINE_LIMITS.entries + 4; round += 1) {
      await rm(blob, { force: true });
      await writeFile(blob, `rot ${round}`);
      await store.quarantine(file, `round ${round}`);
    }
    const kept = await store.quarantined();
    expect(kept).toHaveLength(QUARANTINE_LIMITS.entries);
    expect(kept[0]).toMatchObject({ reason: `round ${QUARANTINE_LIMITS.entries + 3}` });
    expect(await readdir(store.layout.quarantine)).toHaveLength(QUARANTINE_LIMITS.entries * 2);
  });

  it('does not follow a link in the place of a folder', async () => {
    const { store } = await filledStore();
    const elsewhere = await temporaryFolder();
    await rm(store.layout.blobs, { recursive: true });
    await symlink(elsewhere, store.layout.blobs);
    const moved = await store.prepare();
    expect(moved).toHaveLength(1);
    expect(moved[0]).toMatch(/symbolic link/);
    expect((await lstat(store.layout.blobs)).isDirectory()).toBe(true);
    expect(await readdir(elsewhere)).toEqual([]);
  });

  it.each(['ingest', 'blobs', 'blobs/sha256', 'quarantine'])(
    'writes nothing through a link that takes the place of %s while it works',
    async (folder) => {
      const store = new ContentStore(await temporaryFolder());
      await store.prepare();
      const outside = await temporaryFolder();
      await mkdir(join(outside, 'sha256'));
      const swap = async () => {
        await rename(join(store.layout.root, folder), join(store.layout.root, 'away'));
        await symlink(outside, join(store.layout.root, folder));
      };
      const write = async () => {
        if (folder === 'ingest') await swap();
        const writer = await store.ingest(file, never);
        await writer.write(bytes);
        if (folder.startsWith('blobs')) await swap();
        await writer.commit();
        if (folder !== 'quarantine') return;
        await truncate(blobPath(store.layout, file.sha256), 3).catch(() => undefined);
        await swap();
        await store.quarantine(file, 'cut');
      };
      await expect(write()).rejects.toThrow(/is a symbolic link, not a folder/);
      expect((await readdir(outside, { recursive: true })).sort()).toEqual(['sha256']);
      // The next verification moves the link away and goes on.
      expect(await store.prepare()).toHaveLength(1);
    },
  );

  it('names a volume that cannot be made', async () => {
    const folder = await temporaryFolder();
    await writeFile(join(folder, 'plain'), '');
    const store = new ContentStore(join(folder, 'plain', 'volume'));
    await expect(store.prepare()).rejects.toMatchObject({ code: 'volume_unavailable' });
  });

  it('asks for room before it writes', async () => {
    const { store } = await filledStore();
    await expect(store.makeRoom(2 ** 50)).rejects.toMatchObject({ code: 'volume_full' });
    await expect(store.makeRoom(1_000)).resolves.toBeUndefined();
  });

  it('sweeps leftovers of dead writers, and nothing else', async () => {
    const { store } = await filledStore();
    const place = (name: string) => writeFile(join(store.layout.ingest, name), 'x');
    await place(`${file.sha256}.elsewhere-1-1-0.part`);
    await place(`${'0'.repeat(64)}.elsewhere-1-1-0.part`);
    await place('state.json.elsewhere-1-1.tmp');
    await place('a stranger');
    const hourAgo = Date.now() / 1_000 - 3_600;
    for (const name of await readdir(store.layout.ingest)) {
      await utimes(join(store.layout.ingest, name), hourAgo, hourAgo);
    }
    await place(`${'1'.repeat(64)}.elsewhere-1-1-0.part`);
    await store.sweep(new Set([file.sha256]));
    expect((await readdir(store.layout.ingest)).sort()).toEqual(
      [`${'1'.repeat(64)}.elsewhere-1-1-0.part`, `${file.sha256}.elsewhere-1-1-0.part`, 'a stranger'].sort(),
    );
  });

  it('tells facts even of a volume that is not there', async () => {
    const facts = await new ContentStore('/no/such/volume').facts();
    expect(facts).toMatchObject({ mount: false, writable: false, free_bytes: null });
    expect(await new ContentStore('/proc').facts()).toMatchObject({ mount: true });
  });
});

describe('the content of a blob that another process replaced meanwhile', () => {
  it('is the old or the new one, never a mixture', async () => {
    const { store, blob } = await filledStore();
    const handle = await open(blob, 'r');
    await rename(blob, `${blob}.old`);
    expect(await store.verify(file)).toEqual({ state: 'missing' });
    expect(bytes.equals(await readFile(handle))).toBe(true);
    await handle.close();
  });
});

describe('writeAtomic', () => {
  it('writes nothing through a link in the place of a folder', async () => {
    const { layout } = (await filledStore()).store;
    const outside = await temporaryFolder();
    await rm(layout.vectors, { recursive: true });
    await symlink(outside, layout.vectors);
    const write = writeAtomic(join(layout.vectors, 'a.bin'), 'vectors', layout.ingest);
    await expect(write).rejects.toThrow(/vectors is a symbolic link/);
    expect(await readdir(outside)).toEqual([]);
  });
});
