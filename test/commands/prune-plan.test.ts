import { link, open, readdir, rm, symlink, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { blobPath, type Layout } from '../../src/cache/layout.js';
import { ContentStore } from '../../src/cache/store.js';
import { planPrune, removePlanned } from '../../src/commands/prune.js';
import { pin, temporaryFolder } from '../support/volume.js';

const bytes = Buffer.from('some bytes of a model');
const file = pin('model.onnx', bytes);
const never = new AbortController().signal;

async function volume(): Promise<{ store: ContentStore; layout: Layout }> {
  const store = new ContentStore(await temporaryFolder());
  await store.prepare();
  await writeFile(blobPath(store.layout, file.sha256), bytes);
  return { store, layout: store.layout };
}

describe('prune', () => {
  it('leaves a reader its open blob', async () => {
    const { layout, store } = await volume();
    const reader = await open(blobPath(layout, file.sha256));
    await removePlanned(layout, await planPrune(layout, new Set()));
    expect((await reader.readFile()).equals(bytes)).toBe(true);
    await reader.close();
    expect((await store.verify(file)).state).toBe('missing');
  });

  it('leaves a partial alone that is being written, also when it was free at the time of the plan', async () => {
    const { layout, store } = await volume();
    const other = pin('other.onnx', Buffer.alloc(1_000));
    const abandoned = join(layout.ingest, `${other.sha256}.000000000000-1-1-0.part`);
    await writeFile(abandoned, Buffer.alloc(400));
    await utimes(abandoned, 1, 1);
    const plan = await planPrune(layout, new Set([file.sha256]), { partials: true });
    expect(plan.removable).toMatchObject([{ kind: 'partial', bytes: 400 }]);
    const writer = await store.ingest(other, never);
    expect(writer.offset).toBe(400);
    expect((await planPrune(layout, new Set([file.sha256]), { partials: true })).removable).toEqual([]);
    await removePlanned(layout, plan);
    await writer.write(Buffer.alloc(600));
    await writer.commit();
    expect((await store.verify(other)).state).toBe('verified');
  });

  it('counts no bytes for a second name of a file that stays', async () => {
    const { layout } = await volume();
    await link(blobPath(layout, file.sha256), join(layout.quarantine, `${file.sha256}.1`));
    const plan = await planPrune(layout, new Set([file.sha256]), { quarantine: true });
    expect(plan.removable).toMatchObject([{ kind: 'quarantine', bytes: 0 }]);
  });

  it('empties the quarantine of our own entries, and follows no link', async () => {
    const { layout } = await volume();
    const outside = await temporaryFolder();
    await writeFile(join(outside, `${file.sha256}.1`), 'precious');
    await writeFile(join(layout.quarantine, `${file.sha256}.1`), 'evidence');
    await writeFile(join(layout.quarantine, `${file.sha256}.1.json`), '{}');
    await writeFile(join(layout.quarantine, 'notes of an operator.txt'), 'mine');
    const options = { quarantine: true };
    const plan = await planPrune(layout, new Set([file.sha256]), options);
    expect(plan.removable.map(({ name }) => name).sort()).toEqual([
      `${file.sha256}.1`,
      `${file.sha256}.1.json`,
    ]);
    await removePlanned(layout, plan);
    expect(await readdir(layout.quarantine)).toEqual(['notes of an operator.txt']);

    await rm(layout.quarantine, { recursive: true });
    await symlink(outside, layout.quarantine);
    await expect(planPrune(layout, new Set(), options)).rejects.toThrow(/quarantine is a symbolic link/);
    // The link may also be put there after the plan was made.
    await expect(removePlanned(layout, plan)).rejects.toThrow(/quarantine is a symbolic link/);
    expect(await readdir(outside)).toHaveLength(1);
  });
});
