import { chmod, cp, mkdir, rename, symlink, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { describe, expect, it } from 'vitest';
import { PROGRAM, servingDaemon } from '../support/daemon.js';
import { eventually } from '../support/eventually.js';
import { runFrom } from '../support/run.js';
import { has } from '../support/tools.js';
import { temporaryFolder } from '../support/volume.js';

const OFFLINE = { HF_HUB_OFFLINE: '1' };

/** The program in a folder of its own, whose native library is no library. */
async function withBrokenLibrary(): Promise<string> {
  const root = await temporaryFolder();
  for (const name of ['dist', 'package.json']) await cp(name, join(root, name), { recursive: true });
  for (const name of ['model', 'routes']) await symlink(resolve(name), join(root, name));
  const runtime = 'node_modules/onnxruntime-node';
  const native = `${runtime}/bin/napi-v3/${process.platform}/${process.arch}`;
  await mkdir(join(root, native), { recursive: true });
  for (const name of ['package.json', 'dist'])
    await cp(join(runtime, name), join(root, runtime, name), { recursive: true });
  await symlink(resolve('node_modules/onnxruntime-common'), join(root, 'node_modules/onnxruntime-common'));
  for (const name of ['onnxruntime_binding.node', 'libonnxruntime.so.1.14.0'])
    await writeFile(join(root, native, name), 'not a library of this system');
  return root;
}

describe('a native library that does not load', () => {
  it('ends the start, and names the cause', async () => {
    const root = await withBrokenLibrary();
    const env = { MODEL_CACHE_DIR: await temporaryFolder(), PORT: '0', ...OFFLINE };
    const { code, stdout } = await runFrom(root, PROGRAM, env);
    expect(code).toBe(2);
    expect(stdout).toMatch(
      /"level":60.*"reason":"[^"]*onnxruntime_binding\.node: .*native runtime does not load/,
    );
    const doctor = await runFrom(root, ['dist/main.js', 'doctor'], env);
    expect(doctor.code).toBe(1);
    expect(doctor.stdout).toMatch(/fail +native runtime +does not load: .*onnxruntime_binding\.node/);
  });
});

const routesOf = (name: string): string =>
  `routes:\n  - {name: ${name}, utterances: [will it rain, is it warm]}\n  - {name: other, utterances: [play a song]}\n`;

/** Runs a command in mounts of its own, after these steps; `$1` is a folder for them. */
const inMounts = (folder: string, steps: string): string[] => [
  ...['unshare', '-m', 'sh', '-c', `${steps} && shift && exec "$@"`, 'sh', folder, process.execPath],
];

describe.skipIf(!has('root') || !has('mounts'))('ROUTES_FILE that is a mount itself (needs root)', () => {
  it('is warned of at the boot and by doctor: what replaces it outside is never seen', async () => {
    const folder = await temporaryFolder();
    for (const name of ['outside', 'inside'])
      await writeFile(join(folder, `${name}.yaml`), routesOf('weather'));
    const env = {
      MODEL_CACHE_DIR: await temporaryFolder(),
      ROUTES_FILE: join(folder, 'inside.yaml'),
      ...OFFLINE,
    };
    const mounted = inMounts(folder, 'mount --bind "$1/outside.yaml" "$1/inside.yaml"');
    const daemon = await servingDaemon(env, { command: [...mounted, ...PROGRAM] });
    expect(daemon.lines.filter(({ msg }) => msg.includes('ROUTES_FILE is itself a mount'))).toHaveLength(1);
    await writeFile(join(folder, 'new.yaml'), routesOf('replaced'));
    await rename(join(folder, 'new.yaml'), join(folder, 'outside.yaml'));
    const [, ...rest] = mounted;
    const { stdout } = await runFrom(
      '.',
      [...rest, 'dist/main.js', 'doctor'],
      { PORT: '0', ...env },
      'unshare',
    );
    expect(stdout).toMatch(/warn +routes +ROUTES_FILE is itself a mount/);
    const { body } = await daemon.get<{ routes: { name: string }[] }>('/routes');
    expect(body.routes.map(({ name }) => name)).toContain('weather');
  });

  it('is not warned of where its folder is the mount, whose changes are seen', async () => {
    const folder = await temporaryFolder();
    await mkdir(join(folder, 'outside'));
    await mkdir(join(folder, 'inside'));
    await writeFile(join(folder, 'outside/routes.yaml'), routesOf('weather'));
    const daemon = await servingDaemon(
      {
        ROUTES_FILE: join(folder, 'inside/routes.yaml'),
      },
      { command: [...inMounts(folder, 'mount --bind "$1/outside" "$1/inside"'), ...PROGRAM] },
    );
    await writeFile(join(folder, 'outside/new.yaml'), routesOf('replaced'));
    await rename(join(folder, 'outside/new.yaml'), join(folder, 'outside/routes.yaml'));
    await eventually(async () => {
      const { body } = await daemon.get<{ routes: { name: string }[] }>('/routes');
      expect(body.routes.map(({ name }) => name)).toContain('replaced');
    });
    expect(daemon.lines.filter(({ msg }) => msg.includes('is itself a mount'))).toEqual([]);
  });
});

/** Runs doctor after these steps in mounts of its own, as this user, with the volume in `$1/volume`. */
async function doctorOf(folder: string, steps: string, user = '0'): Promise<string> {
  const cacheDir = join(folder, 'volume');
  await mkdir(cacheDir, { recursive: true });
  const [, ...mounted] = inMounts(folder, steps);
  const node = mounted.pop() ?? '';
  const asUser = ['setpriv', '--reuid', user, '--clear-groups', node];
  const args = [...mounted, ...asUser, 'dist/main.js', 'doctor'];
  const env = { MODEL_CACHE_DIR: cacheDir, PORT: '0', REQUIRE_MOUNT: 'true', ...OFFLINE };
  return (await runFrom('.', args, env, 'unshare')).stdout;
}

describe.skipIf(!has('root') || !has('mounts') || !has('setpriv'))('doctor (needs root and mounts)', () => {
  it('advises no root where the file system is read-only, and none where root is refused', async () => {
    const readOnly = await doctorOf(await temporaryFolder(), 'mount -t tmpfs -o ro none "$1/volume"');
    expect(readOnly).toMatch(/fail +writable .*read-only.*\n.*fix: mount it writable/);
    const folder = await temporaryFolder();
    await chmod(folder, 0o755);
    const foreign = await doctorOf(folder, 'mount -t tmpfs -o mode=0755 none "$1/volume"', '65534');
    expect(foreign).toMatch(/fail +writable .*\n.*fix: give the folder to user 65534 or its group\n/);
    for (const text of [readOnly, foreign]) expect(text).not.toMatch(/run as root|RUN_UID/);
  });

  it('finds nothing wrong with a whole cache that takes no writes', async () => {
    const steps =
      'mount -t tmpfs none "$1/volume" && MODEL_CACHE_DIR="$1/volume" node dist/main.js pull >&2 && mount -o remount,ro "$1/volume"';
    expect(await doctorOf(await temporaryFolder(), steps)).toMatch(
      /ok +writable .*is whole and takes no writes/,
    );
  });

  it('takes a folder below a mount, and a link to one, for mounted', async () => {
    const below = await temporaryFolder();
    const text = await doctorOf(below, 'mount -t tmpfs none "$1"');
    expect(text).toMatch(/warn +mount .*in memory \(tmpfs\)/);
    const folder = await temporaryFolder();
    await mkdir(join(folder, 'disk'));
    await symlink('disk', join(folder, 'volume'));
    expect(await doctorOf(folder, 'mount -t tmpfs none "$1/disk"')).toMatch(/warn +mount .*in memory/);
  });
});
