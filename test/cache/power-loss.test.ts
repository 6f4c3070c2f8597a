import { createHash } from 'node:crypto';
import { chmod, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { blobPath } from '../../src/cache/layout.js';
import { Reconciler } from '../../src/cache/reconciler.js';
import { ContentStore } from '../../src/cache/store.js';
import type { DiskChange } from '../support/disk-changes.mjs';
import { type DiskState, materialize, recordChanges, statesAfterPowerLoss } from '../support/power-loss.js';
import { memorySource, recordingLog, smallModel, temporaryFolder } from '../support/volume.js';

const { manifest, files } = smallModel(3_000);
const [model] = manifest.files;
if (!model) throw new Error('no model');

async function reconcile(root: string) {
  const store = new ContentStore(root);
  const source = memorySource(files, { chunkBytes: 1_000 });
  const reconciler = new Reconciler({ manifest, store, sources: [source], log: recordingLog() });
  const report = await reconciler.request('boot');
  await reconciler.close();
  return { report, store, source };
}

/** The first boot on an empty volume. */
async function recordFirstBoot(): Promise<{ changes: DiskChange[]; root: string }> {
  const root = await temporaryFolder();
  const changes = await recordChanges(root, () => reconcile(root));
  return { changes, root };
}

/** Blobs in a state that are there and not what their name says. */
function tornBlobs({ entries }: DiskState): string[] {
  return [...entries].flatMap(([path, bytes]) => {
    const name = /^blobs\/sha256\/([0-9a-f]{64})$/.exec(path)?.[1];
    if (name === undefined || bytes === undefined) return [];
    return createHash('sha256').update(bytes).digest('hex') === name ? [] : [path];
  });
}

describe('power lost in a first boot', () => {
  it('leaves every blob absent or whole, in every state that the disk may be in', async () => {
    const { changes, root } = await recordFirstBoot();
    let states = 0;
    for (let crashAt = 0; crashAt <= changes.length; crashAt += 1) {
      for (const state of statesAfterPowerLoss(changes, crashAt, root)) {
        states += 1;
        expect(tornBlobs(state), state.story).toEqual([]);
      }
    }
    // Enough to be sure that something was enumerated.
    expect(states).toBeGreaterThan(changes.length);
  });

  it('is repaired by the next boot, in every such state', async () => {
    const { changes, root } = await recordFirstBoot();
    const seen = new Set<string>();
    for (let crashAt = 0; crashAt <= changes.length; crashAt += 1) {
      for (const state of statesAfterPowerLoss(changes, crashAt, root)) {
        const key = [...state.entries]
          .map(([path, bytes]) => `${path} ${bytes && createHash('sha1').update(bytes).digest('hex')}`)
          .join('\n');
        if (seen.has(key)) continue;
        seen.add(key);
        const folder = join(await temporaryFolder(), 'volume');
        await materialize(state, folder);
        const { report, store } = await reconcile(folder);
        expect(report.whole, state.story).toBe(true);
        expect(report.corrupt, state.story).toEqual([]);
        expect(await readdir(store.layout.ingest), state.story).toEqual([]);
      }
    }
    expect(seen.size).toBeGreaterThan(30);
  });
});

describe('power lost in a repair', () => {
  it('leaves the bad blob or the good one, and its evidence does no harm', async () => {
    const root = await temporaryFolder();
    const build = await recordChanges(root, () => reconcile(root));
    const blob = blobPath(new ContentStore(root).layout, model.sha256);
    await chmod(blob, 0o644);
    await writeFile(blob, 'rot');
    const rot: DiskChange[] = [
      { op: 'truncate', path: blob, size: 0 },
      { op: 'write', path: blob, offset: 0, bytes: Buffer.from('rot') },
      { op: 'sync', path: blob },
    ];
    const repair = await recordChanges(root, () => reconcile(root));
    const changes = [...build, ...rot, ...repair];
    const seen = new Set<string>();
    for (let crashAt = build.length + rot.length; crashAt <= changes.length; crashAt += 1) {
      for (const state of statesAfterPowerLoss(changes, crashAt, root)) {
        const bytes = state.entries.get(`blobs/sha256/${model.sha256}`);
        expect(bytes, state.story).toBeDefined();
        const key = `${[...state.entries.keys()].join()} ${bytes?.length}`;
        if (seen.has(key)) continue;
        seen.add(key);
        const folder = join(await temporaryFolder(), 'volume');
        await materialize(state, folder);
        expect((await reconcile(folder)).report.whole, state.story).toBe(true);
      }
    }
    expect(seen.size).toBeGreaterThan(3);
  });
});

describe('the model of the disk can find a wrong order', () => {
  it('data synced after the rename: a torn blob', async () => {
    const { changes, root } = await recordFirstBoot();
    // A file keeps its inode when it is renamed, so the late sync names it as it is called then.
    const late = changes.filter((change) => !(change.op === 'sync' && change.path.endsWith('.part')));
    let torn = 0;
    for (let crashAt = 0; crashAt <= late.length; crashAt += 1) {
      for (const state of statesAfterPowerLoss(late, crashAt, root)) torn += tornBlobs(state).length;
    }
    expect(torn).toBeGreaterThan(0);
  });

  it('no folder synced: a blob that was published may be gone', async () => {
    const { changes, root } = await recordFirstBoot();
    const blobs = join(root, 'blobs', 'sha256');
    const never = changes.filter((change) => !(change.op === 'sync-directory' && change.path === blobs));
    const last = [...statesAfterPowerLoss(never, never.length, root)];
    expect(last.some(({ entries }) => !entries.has(`blobs/sha256/${model.sha256}`))).toBe(true);
    const kept = [...statesAfterPowerLoss(changes, changes.length, root)];
    expect(kept.every(({ entries }) => entries.has(`blobs/sha256/${model.sha256}`))).toBe(true);
  });
});
