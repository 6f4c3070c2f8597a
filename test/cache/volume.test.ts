import { rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { layoutOf } from '../../src/cache/layout.js';
import { findMount, mountOf, probeRecovery } from '../../src/cache/volume.js';
import { eventually } from '../support/eventually.js';
import { temporaryFolder } from '../support/volume.js';

function probe(root: string, code: 'volume_unavailable' | 'volume_full', onResolved: () => void): () => void {
  const stop = probeRecovery(layoutOf(root), 20, { code, bytes: 1 }, onResolved);
  onTestFinished(stop);
  return stop;
}

/** A volume that is in trouble until it is mended. */
async function brokenVolume() {
  const plain = join(await temporaryFolder(), 'plain');
  const spoil = (): Promise<void> => writeFile(plain, '');
  await spoil();
  return { root: join(plain, 'volume'), spoil, mend: () => rm(plain) };
}

/** Waits until another probe has seen a trouble begin and end: each of the others has looked meanwhile. */
async function looksPass(): Promise<void> {
  const { root, spoil, mend } = await brokenVolume();
  const onResolved = vi.fn();
  probe(root, 'volume_unavailable', onResolved);
  let broken = true;
  await eventually(
    async () => {
      await (broken ? mend() : spoil());
      broken = !broken;
      expect(onResolved).toHaveBeenCalled();
    },
    { every: 50 },
  );
}

describe('a probe of a volume in trouble', () => {
  it('tells once when a trouble that it saw is over', async () => {
    const { root, mend } = await brokenVolume();
    const onResolved = vi.fn();
    probe(root, 'volume_unavailable', onResolved);
    await looksPass();
    expect(onResolved).not.toHaveBeenCalled();
    await mend();
    await eventually(() => expect(onResolved).toHaveBeenCalledTimes(1));
    await looksPass();
    expect(onResolved).toHaveBeenCalledTimes(1);
  });

  it('leaves a trouble that it cannot see to the pauses of the reconciler', async () => {
    const onResolved = vi.fn();
    // Room enough as far as a look can tell: it may be a quota.
    probe(await temporaryFolder(), 'volume_full', onResolved);
    await looksPass();
    expect(onResolved).not.toHaveBeenCalled();
  });

  it('tells nothing after it was stopped', async () => {
    const { root, mend } = await brokenVolume();
    const onResolved = vi.fn();
    const stop = probe(root, 'volume_unavailable', onResolved);
    await looksPass();
    stop();
    await mend();
    await looksPass();
    expect(onResolved).not.toHaveBeenCalled();
  });
});

describe('the mount of a folder', () => {
  const table = [
    '21 1 8:1 / / rw,relatime shared:1 - ext4 /dev/root rw',
    '22 21 0:20 / /data rw,relatime shared:2 master:1 - xfs /dev/sdb rw',
    '23 21 0:21 / /with\\040space rw - tmpfs tmpfs rw',
    '24 22 0:22 / /data/inner rw - ext4 /dev/sdc rw',
    '25 24 0:23 / /data/inner rw - tmpfs tmpfs rw',
    '',
  ].join('\n');

  it.each([
    ['/data', { point: '/data', type: 'xfs' }],
    ['/data/models', { point: '/data', type: 'xfs' }],
    ['/data/inner/models', { point: '/data/inner', type: 'tmpfs' }],
    ['/database', undefined],
    ['/with space/models', { point: '/with space', type: 'tmpfs' }],
    ['/srv/models', undefined],
    ['/', undefined],
  ])('%s is the longest one above it', (path, mount) => {
    expect(findMount(table, path)).toEqual(mount);
  });

  it('is found through links, and for folders that are still to be made', async () => {
    const folder = await temporaryFolder();
    await symlink('/proc/self', `${folder}/link`);
    const proc = { point: '/proc', type: 'proc' };
    expect(await mountOf('/proc')).toEqual(proc);
    expect(await mountOf(`${folder}/link`)).toEqual(proc);
    expect(await mountOf(`${folder}/link/not/there`)).toEqual(proc);
  });
});
