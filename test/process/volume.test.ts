import { chmod, mkdir, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Decision } from '../../src/api/classify.js';
import type { HealthReport } from '../../src/api/health.js';
import { PROGRAM, servingDaemon, startDaemon, type TestDaemon } from '../support/daemon.js';
import { eventually } from '../support/eventually.js';
import { has } from '../support/tools.js';
import { temporaryFolder } from '../support/volume.js';

/** Two routes: these tests are about the volume, and 16 take long to be trained. */
const ROUTES = `routes:
  - {name: weather, utterances: [will it rain tomorrow, how warm is it outside]}
  - {name: music, utterances: [play some jazz, next song please]}
`;
const routesFile = join(tmpdir(), `ai-router-volume-routes-${process.pid}.yaml`);
beforeAll(() => writeFile(routesFile, ROUTES));
afterAll(() => rm(routesFile));
const OFFLINE = { HF_HUB_OFFLINE: '1', ROUTES_FILE: routesFile };

async function health(daemon: TestDaemon): Promise<HealthReport & { http: number }> {
  const { status, body } = await daemon.get<HealthReport>('/health');
  return { ...body, http: status };
}

/** Waits until the volume's trouble has its name. */
async function trouble(daemon: TestDaemon, code: string): Promise<HealthReport & { http: number }> {
  const report = await eventually(async () => {
    const found = await health(daemon);
    expect(found.checks.volume).toMatchObject({ ok: false, code });
    return found;
  });
  const metrics = await (await fetch(`${daemon.url}/metrics`)).text();
  expect(metrics).toContain(`ai_router_volume_problem{code="${code}"} 1`);
  return report;
}

describe('a volume', () => {
  it('that is not mounted is replaced by memory, degraded, where the setting allows it', async () => {
    const volume = await temporaryFolder();
    const daemon = await servingDaemon({
      MODEL_CACHE_DIR: volume,
      REQUIRE_MOUNT: 'true',
      WITHOUT_VOLUME: 'memory',
      ...OFFLINE,
    });
    expect(await health(daemon)).toMatchObject({ http: 200, status: 'degraded' });
    expect((await daemon.post<Decision>('/classify', { text: 'what is 2 + 2?' })).status).toBe(200);
    expect(await readdir(volume)).toEqual([]);
  });

  it('may hold other things beside ours', async () => {
    const volume = await temporaryFolder();
    await writeFile(join(volume, 'PG_VERSION'), '16');
    const daemon = await servingDaemon({ MODEL_CACHE_DIR: volume, ...OFFLINE });
    expect(await health(daemon)).toMatchObject({ http: 200, status: 'ready' });
    expect(await readFile(join(volume, 'PG_VERSION'), 'utf8')).toBe('16');
  });
});

const root = process.getuid?.() === 0;

describe.skipIf(!root)('run by another user (needs root to become one)', () => {
  const command = [
    'setpriv',
    '--reuid',
    '65534',
    '--clear-groups',
    process.execPath,
    'dist/main.js',
    'serve',
  ];

  it('a volume of root names the fix', async () => {
    const volume = await temporaryFolder();
    await chmod(volume, 0o755);
    const daemon = await startDaemon({ MODEL_CACHE_DIR: volume, ...OFFLINE }, { command });
    const report = await trouble(daemon, 'volume_read_only');
    expect(report.checks.volume?.detail).toMatch(
      /not permitted for user 65534: give the volume to this user/,
    );
  });

  it('a read-only volume with a whole cache is as ready as any', async () => {
    const volume = await temporaryFolder();
    const first = await servingDaemon({ MODEL_CACHE_DIR: volume, ...OFFLINE });
    await first.stop();
    await chmod(volume, 0o755);
    const daemon = await servingDaemon({ MODEL_CACHE_DIR: volume, ...OFFLINE }, { command });
    expect(await health(daemon)).toMatchObject({ http: 200, status: 'ready' });
    expect((await daemon.post<Decision>('/classify', { text: 'what is 2 + 2?' })).status).toBe(200);
    expect(await daemon.stop()).toEqual({ code: 0, signal: null });
  });

  it('an unreadable volume is not corrupt', async () => {
    const volume = await temporaryFolder();
    const first = await servingDaemon({ MODEL_CACHE_DIR: volume, ...OFFLINE });
    await first.stop();
    const blobs = join(volume, 'blobs/sha256');
    for (const name of await readdir(blobs)) await chmod(join(blobs, name), 0o400);
    await chmod(volume, 0o755);
    const daemon = await startDaemon({ MODEL_CACHE_DIR: volume, ...OFFLINE }, { command });
    const report = await trouble(daemon, 'volume_unavailable');
    expect(report.checks.volume?.detail).toMatch(/cannot read .*not permitted for user 65534/);
    const { body } = await daemon.get<{ counters: object }>('/cache/status');
    expect(body.counters).toMatchObject({ corruptions: 0 });
  });
});

/** Runs the daemon after these commands in mounts of its own; `$1` is a folder for them. */
function inMounts(folder: string, ...steps: string[]): { command: string[] } {
  const script = [...steps, 'shift', 'exec "$@"'].join(' && ');
  return { command: ['unshare', '-m', 'sh', '-c', script, 'sh', folder, process.execPath, ...PROGRAM] };
}

describe.skipIf(!has('root') || !has('mounts'))('below a mount (needs root and mounts)', () => {
  const REQUIRED = { REQUIRE_MOUNT: 'true', ...OFFLINE };

  it('a folder is made and counts as mounted; a tmpfs is warned of', async () => {
    const folder = await temporaryFolder();
    const daemon = await servingDaemon(
      { MODEL_CACHE_DIR: join(folder, 'srv/models'), ...REQUIRED },
      inMounts(folder, 'mount -t tmpfs none "$1"'),
    );
    const { body } = await daemon.get<{ volume: object }>('/cache/status');
    expect(body.volume).toMatchObject({ mount: true, writable: true });
    const warnings = daemon.lines.filter(({ msg }) => msg.includes('is on a tmpfs'));
    expect(warnings).toHaveLength(1);
  });

  it('a link to a mount point counts as mounted', async () => {
    const folder = await temporaryFolder();
    await mkdir(join(folder, 'disk'));
    await symlink(join(folder, 'disk'), join(folder, 'link'));
    await servingDaemon(
      { MODEL_CACHE_DIR: join(folder, 'link'), ...REQUIRED },
      inMounts(folder, 'mount -t tmpfs none "$1/disk"'),
    );
  });

  it('a read-only disk is called so', async () => {
    const folder = await temporaryFolder();
    const daemon = await startDaemon(
      { MODEL_CACHE_DIR: join(folder, 'srv/models'), ...REQUIRED },
      inMounts(folder, 'mount -t tmpfs -o ro none "$1"'),
    );
    const report = await trouble(daemon, 'volume_read_only');
    expect(report.checks.volume?.detail).toContain('the volume is read-only; mount it writable');
  });
});

describe.skipIf(!has('strace'))('a volume that refuses chmod (needs strace)', () => {
  it.each(['EPERM', 'EOPNOTSUPP'])('with %s publishes, and warns once', async (errno) => {
    const volume = await temporaryFolder();
    const inject = ['-e', 'trace=chmod,fchmod,fchmodat', '-e', `inject=chmod,fchmod,fchmodat:error=${errno}`];
    const daemon = await startDaemon(
      { MODEL_CACHE_DIR: volume, ...OFFLINE },
      { command: ['strace', '-f', '-qq', '-o', '/dev/null', ...inject, process.execPath, ...PROGRAM] },
    );
    await daemon.ready(60_000);
    expect(await health(daemon)).toMatchObject({ http: 200, status: 'ready' });
    expect(daemon.lines.filter(({ msg }) => msg.includes('refuses chmod'))).toHaveLength(1);
  });
});

describe.skipIf(!has('root') || !has('mounts'))('a system without inotify (needs root)', () => {
  it.each(['instances', 'watches'])(
    '%s boots, warns once, polls the routes and goes on verifying',
    async (what) => {
      const volume = await temporaryFolder();
      const routes = join(await temporaryFolder(), 'routes.yaml');
      await writeFile(routes, ROUTES);
      const daemon = await servingDaemon(
        { MODEL_CACHE_DIR: volume, VERIFY_CRON: '* * * * * *', ...OFFLINE, ROUTES_FILE: routes },
        {
          command: [
            ...[
              'unshare',
              '-Ur',
              'sh',
              '-c',
              `echo 0 > /proc/sys/user/max_inotify_${what} && exec "$@"`,
              'sh',
            ],
            ...[process.execPath, ...PROGRAM],
          ],
        },
      );
      await eventually(async () => {
        const { body } = await daemon.get<{ counters: { verifications: number } }>('/cache/status');
        expect(body.counters.verifications).toBeGreaterThan(2);
      });
      await writeFile(routes, ROUTES.replace('name: music', 'name: songs'));
      await eventually(async () => {
        const { body } = await daemon.get<{ routes: { name: string }[] }>('/routes');
        expect(body.routes.map(({ name }) => name)).toContain('songs');
      });
      for (const warning of ['volume cannot be watched', 'route file: watching failed'])
        expect(daemon.lines.filter(({ msg }) => msg.includes(warning))).toHaveLength(1);
    },
  );
});
