import { symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { layoutOf } from '../../src/cache/layout.js';
import { findMount, mountOf, RecoveryProbe } from '../../src/cache/volume.js';
import { eventually } from '../support/eventually.js';
import { temporaryFolder } from '../support/volume.js';

function watchOn(root: string) {
  const watch = new RecoveryProbe(layoutOf(root), 20);
  onTestFinished(() => watch.stop());
  return watch;
}

describe('RecoveryProbe', () => {
  it('tells once when a trouble that it saw is over', async () => {
    const folder = await temporaryFolder();
    await writeFile(join(folder, 'plain'), '');
    const root = join(folder, 'plain', 'volume');
    const onResolved = vi.fn();
    watchOn(root).start('volume_unavailable', 0, onResolved);
    await sleep(80);
    expect(onResolved).not.toHaveBeenCalled();
    const { rm } = await import('node:fs/promises');
    await rm(join(folder, 'plain'));
    await eventually(() => expect(onResolved).toHaveBeenCalledTimes(1));
    await sleep(80);
    expect(onResolved).toHaveBeenCalledTimes(1);
  });

  it('leaves a trouble that it cannot see to the pauses of the reconciler', async () => {
    const onResolved = vi.fn();
    // Room enough as far as a look can tell: it may be a quota.
    watchOn(await temporaryFolder()).start('volume_full', 1, onResolved);
    await sleep(100);
    expect(onResolved).not.toHaveBeenCalled();
  });

  it('tells nothing after it was stopped', async () => {
    const folder = await temporaryFolder();
    await writeFile(join(folder, 'plain'), '');
    const onResolved = vi.fn();
    const watch = watchOn(join(folder, 'plain', 'volume'));
    watch.start('volume_unavailable', 0, onResolved);
    await sleep(40);
    watch.stop();
    const { rm } = await import('node:fs/promises');
    await rm(join(folder, 'plain'));
    await sleep(80);
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
