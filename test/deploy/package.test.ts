import { execFile } from 'node:child_process';
import { readdir, symlink, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { beforeAll, describe, expect, it } from 'vitest';
import type { Decision } from '../../src/api/classify.js';
import { startDaemon } from '../support/daemon.js';
import { eventually } from '../support/eventually.js';
import { isAlive } from '../support/processes.js';
import { suiteEnd } from '../support/suite.js';
import { temporaryFolder } from '../support/volume.js';

const run = promisify(execFile);

/** A program that uses the client, checked and run as one of a user. */
async function usesClient(cwd: string, name: string): Promise<void> {
  const source = `import { createClient, type Decision } from '${name}';
const client = createClient({ url: 'http://localhost:3000' });
const classify: (request: { text: string }) => Promise<Decision> = (request) => client.classify(request);
// @ts-expect-error A text is no number: the types are there.
client.classify({ text: 7 }).catch(() => undefined);
console.log(typeof classify);
`;
  await writeFile(join(cwd, 'user.ts'), source);
  const tsc = resolve('node_modules/typescript/bin/tsc');
  const options = [
    '--noEmit',
    '--strict',
    '--module',
    'nodenext',
    '--target',
    'es2022',
    '--lib',
    'es2022,dom',
  ];
  await run(process.execPath, [tsc, ...options, 'user.ts'], {
    cwd,
  });
  const load = `import('${name}').then((all) => console.log(Object.keys(all).join()))`;
  expect((await run(process.execPath, ['-e', load], { cwd })).stdout).toContain('createClient');
}

/* The published package, installed where nothing else is. The build before the tests made dist. */
describe('npm pack, installed with --omit=dev in an empty folder', () => {
  const atEnd = suiteEnd();
  let folder: string;

  beforeAll(async () => {
    folder = await temporaryFolder(atEnd);
    await run('npm', ['pack', '--ignore-scripts', '--pack-destination', folder]);
    const [tarball = ''] = (await readdir(folder)).filter((name) => name.endsWith('.tgz'));
    await writeFile(join(folder, 'package.json'), '{"name": "app", "private": true, "type": "module"}');
    // The runtime's package comes from npm's cache where it is there, as `npm ci` left it.
    const options = ['--omit=dev', '--prefer-offline', '--no-audit', '--no-fund'];
    await run('npm', ['install', ...options, `./${tarball}`], { cwd: folder });
  }, 240_000);

  it('brings the native runtime and nothing else along', async () => {
    const installed = (await readdir(join(folder, 'node_modules'))).filter((name) => !name.startsWith('.'));
    expect(installed.sort()).toEqual(['ai-router', 'onnxruntime-common', 'onnxruntime-node']);
  });

  it('`npx ai-router serve` classifies, and ends with npx', async () => {
    const daemon = await startDaemon({}, { cwd: folder, command: ['npx', 'ai-router', 'serve'], atEnd });
    const pid = Number(daemon.lines.find(({ msg }) => msg === 'listening')?.pid);
    await daemon.ready(60_000);
    const { status, body } = await daemon.post<Decision>('/classify', { text: 'what is 2 + 2?' });
    expect([status, body.route]).toEqual([200, 'math']);
    expect(daemon.child.pid).not.toBe(pid);
    await daemon.stop();
    await eventually(() => expect(isAlive(pid)).toBe(false));
  });

  it('`npx ai-router lint` and `doctor` run', async () => {
    const routes = join(folder, 'node_modules/ai-router/routes/support-desk.yaml');
    expect((await run('npx', ['ai-router', 'lint', routes], { cwd: folder })).stdout).toMatch(/0 errors/);
    const env = {
      ...process.env,
      MODEL_CACHE_DIR: await temporaryFolder(atEnd),
      HF_HUB_OFFLINE: '1',
      PORT: '0',
    };
    const { stdout } = await run('npx', ['ai-router', 'doctor'], { cwd: folder, env });
    expect(stdout).toMatch(/volume|cache/i);
  });

  it("gives 'ai-router/client' with its types", () => usesClient(folder, 'ai-router/client'));

  it('so does a link to the folder of the project', async () => {
    const linked = await temporaryFolder(atEnd);
    await writeFile(join(linked, 'package.json'), '{"name": "app", "private": true, "type": "module"}');
    await run('mkdir', ['node_modules'], { cwd: linked });
    await symlink(resolve('.'), join(linked, 'node_modules/ai-router'));
    await usesClient(linked, 'ai-router/client');
  });
});

it('the client is a package of its own without dependencies', async () => {
  const folder = await temporaryFolder();
  await run('npm', ['pack', '--pack-destination', folder], { cwd: 'packages/client' });
  const [tarball = ''] = await readdir(folder);
  await writeFile(join(folder, 'package.json'), '{"name": "app", "private": true, "type": "module"}');
  await run('npm', ['install', '--offline', '--no-audit', '--no-fund', `./${tarball}`], { cwd: folder });
  const installed = (await readdir(join(folder, 'node_modules'))).filter((name) => !name.startsWith('.'));
  expect(installed).toEqual(['ai-router-client']);
  await usesClient(folder, 'ai-router-client');
});
