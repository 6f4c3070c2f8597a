import { spawnSync } from 'node:child_process';
import { lstat, mkdir, stat, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { has } from '../campaign/tools.js';
import { temporaryFolder } from './support/volume.js';

const NOBODY = 65534;

function enter(env: Record<string, string>, script: string): string {
  const { stdout, stderr, status } = spawnSync('./docker-entrypoint.sh', ['sh', '-c', script], {
    env: { PATH: process.env.PATH, ...env },
    encoding: 'utf8',
  });
  if (status !== 0) throw new Error(`ended with ${status}: ${stderr}`);
  return stdout;
}

describe.runIf(has('root') && has('setpriv'))('the entry of the image', () => {
  it('gives the volume to the user of the daemon, follows no link there, and drops every right', async () => {
    const folder = await temporaryFolder();
    const volume = join(folder, 'volume');
    const secret = join(folder, 'secret');
    await mkdir(join(volume, 'blobs'), { recursive: true, mode: 0o700 });
    await writeFile(secret, 'not of the volume');
    await symlink(secret, join(volume, 'blobs', 'link'));
    const said = enter(
      { RUN_AS: 'nobody', MODEL_CACHE_DIR: volume },
      'id -u; grep -E "CapEff|CapBnd|NoNewPrivs" /proc/self/status',
    );
    expect(
      said
        .replaceAll(/[\t ]+/g, ' ')
        .trim()
        .split('\n'),
    ).toEqual([String(NOBODY), 'CapEff: 0000000000000000', 'CapBnd: 0000000000000000', 'NoNewPrivs: 1']);
    expect((await stat(join(volume, 'blobs'))).uid).toBe(NOBODY);
    expect((await lstat(join(volume, 'blobs', 'link'))).uid).toBe(NOBODY);
    expect((await stat(secret)).uid).toBe(0);
  });

  it('becomes the daemon: no shell stays in between', () => {
    const { stdout } = spawnSync('sh', ['-c', './docker-entrypoint.sh sh -c "echo \\$\\$" & echo $!; wait'], {
      env: { PATH: process.env.PATH, RUN_AS: 'nobody' },
      encoding: 'utf8',
    });
    const [one, other] = stdout.trim().split('\n');
    expect(one).toBe(other);
  });

  it('keeps root where it is told to', () => {
    expect(enter({ RUN_AS: 'root' }, 'id -u').trim()).toBe('0');
  });
});
