import { spawnSync } from 'node:child_process';
import { cp, mkdir, readdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { temporaryFolder } from '../support/volume.js';

/** Files that are compared with pinned digests, or run by a shell in Linux. */
const FILES = ['model', 'deploy/entrypoint.sh', 'Dockerfile', 'routes', '.gitattributes'];

async function bytes(folder: string): Promise<Map<string, string>> {
  const found = new Map<string, string>();
  for (const name of FILES) {
    const entries = await readdir(join(folder, name), { recursive: true, withFileTypes: true }).catch(
      () => undefined,
    );
    const paths = entries
      ?.filter((entry) => entry.isFile())
      .map((entry) => join(entry.parentPath, entry.name));
    for (const path of paths ?? [join(folder, name)]) {
      found.set(path.slice(folder.length), (await readFile(path)).toString('latin1'));
    }
  }
  return found;
}

it('a checkout on Windows changes no byte of the model and of the image’s scripts', async () => {
  const folder = await temporaryFolder();
  const git = (...args: string[]): void => {
    // The setting that Git for Windows recommends: text files get \r\n in the work tree.
    const settings = ['core.autocrlf=true', 'user.name=test', 'user.email=test@example.org'];
    const options = settings.flatMap((setting) => ['-c', setting]);
    const { status, stderr } = spawnSync('git', [...options, ...args], { cwd: folder, encoding: 'utf8' });
    expect([args, status, status === 0 ? '' : stderr]).toEqual([args, 0, '']);
  };
  await mkdir(join(folder, 'deploy'));
  for (const name of FILES) await cp(name, join(folder, name), { recursive: true });
  const before = await bytes(folder);
  expect(before.size).toBeGreaterThan(10);
  git('init', '-q');
  git('add', '.');
  git('commit', '-qm', 'all');
  for (const name of FILES) await rm(join(folder, name), { recursive: true });
  git('checkout', '-q', '.');
  const after = await bytes(folder);
  for (const [path, text] of before) expect([path, after.get(path) === text]).toEqual([path, true]);
});
