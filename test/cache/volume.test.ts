import { symlink } from 'node:fs/promises';
import { describe, expect, it } from 'vitest';
import { findMount, mountOf } from '../../src/cache/volume.js';
import { temporaryFolder } from '../support/volume.js';

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
