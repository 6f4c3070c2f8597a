import { spawnSync } from 'node:child_process';
import { chown, mkdir, readdir, readFile, readlink, rm, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect } from 'vitest';
import { PROGRAM } from '../support/daemon-process.js';
import { eventually } from '../support/eventually.js';
import { kill } from '../support/processes.js';
import { has } from '../support/tools.js';
import {
  healthOf,
  it,
  LONG,
  MODEL_DIGEST,
  manifest,
  pauseOfRuns,
  pidOf,
  statusOf,
  TOKENIZER_DIGEST,
  volumeProblem,
  whole,
} from './box.js';
import { survey } from './rot.js';

/** A volume that becomes usable has to be whole after this long, also on a busy machine. */
const LIMIT_MS = 10_000;

/** Mounts, foreign users and system calls that fail need tools of Linux. */
const withMounts = it.runIf(LONG && has('root') && has('mounts'));
const asNobody = it.runIf(LONG && has('root') && has('setpriv'));
const withStrace = it.runIf(LONG && has('strace'));

describe('no volume where one is needed', () => {
  it.concurrent('not a mount: named with its remedy, nothing is written', async ({ box }) => {
    const volume = await box.folder();
    const daemon = await box.daemon({ MODEL_CACHE_DIR: volume, REQUIRE_MOUNT: 'true' });
    expect(await volumeProblem(daemon, 'volume_not_mounted')).toMatch(/REQUIRE_MOUNT=false/);
    expect(await healthOf(daemon)).toMatchObject({ status: 'starting' });
    expect(await readdir(volume)).toEqual([]);
  });

  it.concurrent('a path below a file, which then goes away', async ({ box }) => {
    const folder = await box.folder();
    await writeFile(join(folder, 'plain'), '');
    const daemon = await box.daemon({ MODEL_CACHE_DIR: join(folder, 'plain', 'volume') });
    await volumeProblem(daemon, 'volume_unavailable');
    await rm(join(folder, 'plain'));
    await box.timed('whole', LIMIT_MS, () => whole(daemon));
  });

  withMounts('the mount comes late', async ({ box }) => {
    const { daemon, mount } = await box.mounted({
      sizeMiB: 64,
      mount: false,
      env: { REQUIRE_MOUNT: 'true' },
    });
    await volumeProblem(daemon, 'volume_not_mounted');
    mount('-t tmpfs -o size=64m none');
    await box.timed('whole', LIMIT_MS, () => whole(daemon));
    await daemon.ready(60_000);
  });
});

describe('a volume of another user', () => {
  asNobody('is named, and used once it is handed over', async ({ box }) => {
    const folder = await box.folder();
    const volume = join(folder, 'volume');
    await chown(folder, 65534, 65534);
    await mkdir(volume, { mode: 0o755 });
    const daemon = await box.daemonAsNobody(volume);
    expect(await volumeProblem(daemon, 'volume_read_only')).toMatch(/give the volume to this user/);
    await chown(volume, 65534, 65534);
    await box.timed('whole', LIMIT_MS, () => whole(daemon));
  });

  asNobody('an unreadable lost+found does no harm', async ({ box }) => {
    const volume = await box.noVolume();
    await mkdir(volume, { recursive: true });
    const daemon = await box.asNobody(volume);
    await mkdir(join(volume, 'lost+found'), { mode: 0o700 });
    const { verification } = await whole(daemon);
    expect(verification.retry).toBeNull();
    await daemon.ready(60_000);
    expect(await healthOf(daemon)).toMatchObject({ status: 'ready' });
  });
});

describe('a read-only volume', () => {
  withMounts('remounted while serving: whole, so ready, and every request is answered', async ({ box }) => {
    const env = { VERIFY_CRON: '* * * * * *' };
    const { daemon, mount } = await box.mounted({ sizeMiB: 64, filled: true, env });
    await daemon.ready(60_000);
    const load = box.load(daemon);
    mount('-o remount,ro,size=64m');
    await eventually(async () =>
      expect((await statusOf(daemon)).volume).toMatchObject({ writable: false, problem: null }),
    );
    await eventually(() =>
      expect(daemon.lines.filter(({ msg }) => msg.includes('mount it writable'))).toHaveLength(1),
    );
    expect(await healthOf(daemon)).toMatchObject({ status: 'ready' });
    await load.answers(100);
    mount('-o remount,rw,size=64m');
    await box.timed('whole', LIMIT_MS, () => whole(daemon));
    await load.stop();
  });

  withMounts('rotten as well: repaired once it is writable', async ({ box }) => {
    const { daemon, mount, inside } = await box.mounted({ sizeMiB: 64, filled: true });
    await daemon.ready(60_000);
    const load = box.load(daemon);
    // Frozen meanwhile, so that it cannot repair before the mount is read-only.
    kill(pidOf(daemon), 'SIGSTOP');
    await writeFile(inside(`blobs/sha256/${TOKENIZER_DIGEST}`), 'rot');
    await rm(inside(`blobs/sha256/${MODEL_DIGEST}`));
    mount('-o remount,ro,size=64m');
    kill(pidOf(daemon), 'SIGCONT');
    await volumeProblem(daemon, 'volume_read_only');
    await load.answers(500);
    mount('-o remount,rw,size=64m');
    await box.timed('whole', LIMIT_MS, () => whole(daemon));
    await load.stop();
  });
});

describe('a full volume', () => {
  withMounts('a first boot on 1 MiB leaves nothing, and goes on when it grows', async ({ box }) => {
    const { daemon, mount, inside } = await box.mounted({ sizeMiB: 1 });
    await volumeProblem(daemon, 'volume_full');
    expect(await pauseOfRuns(daemon)).toBeGreaterThan(20_000);
    expect(await readdir(inside('ingest'))).toEqual([]);
    expect(await readdir(inside('blobs/sha256'))).toEqual([]);
    mount('-o remount,size=64m');
    await box.timed('whole', LIMIT_MS, () => whole(daemon));
    await daemon.ready(60_000);
  });

  withMounts('filled by another program in the middle of a download', async ({ box }) => {
    const { origin, env } = await box.hub({ bytesPerSecond: 8_000_000 });
    const { daemon, inside } = await box.mounted({ sizeMiB: 40, env });
    await eventually(() => expect(origin.bytesSent).toBeGreaterThan(4_000_000));
    await writeFile(inside('hog'), Buffer.alloc(36 * 2 ** 20)).catch(() => undefined);
    await volumeProblem(daemon, 'volume_full');
    expect(await readdir(inside('ingest'))).toEqual([]);
    await truncate(inside('hog'), 0);
    await whole(daemon);
  });

  withMounts('rotten as well, while serving: repaired when there is room', async ({ box }) => {
    const { daemon, inside } = await box.mounted({ sizeMiB: 64, filled: true });
    await daemon.ready(60_000);
    const load = box.load(daemon);
    await writeFile(inside('hog'), Buffer.alloc(64 * 2 ** 20)).catch(() => undefined);
    await truncate(inside(`blobs/sha256/${MODEL_DIGEST}`), 22_000_000);
    await volumeProblem(daemon, 'volume_full');
    expect(await pauseOfRuns(daemon)).toBeGreaterThan(20_000);
    await truncate(inside('hog'), 0);
    await box.timed('whole', LIMIT_MS, () => whole(daemon));
    await load.stop();
  });
});

describe('a disk that fails at fsync', () => {
  const straced = (injection: string): string[] => [
    ...['strace', '-f', '-qq', '--seccomp-bpf', '-o', '/dev/null', '-e', 'trace=fsync'],
    ...['-e', injection, process.execPath, ...PROGRAM],
  ];

  withStrace.for([
    ['EIO', 'volume_unavailable'],
    ['EDQUOT', 'volume_full'],
  ] as const)('%s at every one: %s, and nothing is published', async ([errno, code], { box }) => {
    const volume = await box.noVolume();
    const command = straced(`inject=fsync:error=${errno}`);
    await volumeProblem(await box.daemon({ MODEL_CACHE_DIR: volume }, { command }), code);
    const { whole: blobs, torn } = await survey(volume, manifest);
    expect([blobs.size, torn]).toEqual([0, []]);
  });

  withStrace('EIO at the first files, then none: the event names it, and it is repaired', async ({ box }) => {
    const env = { MODEL_CACHE_DIR: await box.noVolume(), UV_THREADPOOL_SIZE: '1' };
    const daemon = await box.daemon(env, { command: straced('inject=fsync:error=EIO:when=7..8') });
    const { events } = await whole(daemon, 60_000);
    expect(events.map(({ message }) => message).join()).toMatch(/EIO/);
    await daemon.ready(60_000);
  });
});

describe('no free file descriptors', () => {
  it.runIf(LONG && has('prlimit') && has('proc'))(
    'named over open connections, then repaired',
    async ({ box }) => {
      const { daemon, volume, blob } = await box.serving();
      const load = box.load(daemon);
      await load.answers(10);
      await load.get('/health');
      const pid = pidOf(daemon);
      const limit = (soft: number): void => {
        expect(spawnSync('prlimit', ['--pid', String(pid), `--nofile=${soft}:`])).toMatchObject({
          status: 0,
        });
      };
      // Open descriptors stay open, and the lowest free one is below the limit: none is left.
      limit(Math.min((await readdir(`/proc/${pid}/fd`)).length, 10));
      await truncate(blob, 1_000);
      await eventually(async () =>
        expect(await load.get('/health')).toMatchObject({
          checks: { volume: { code: 'volume_unavailable' } },
        }),
      );
      await load.answers(500);
      limit(1_024);
      await box.timed('whole', LIMIT_MS, () => whole(daemon));
      await load.stop();
      // A run that ends may still be writing its notes.
      await eventually(async () => {
        const names = await readdir(`/proc/${pid}/fd`);
        const links = await Promise.all(
          names.map((name) => readlink(`/proc/${pid}/fd/${name}`).catch(() => '')),
        );
        expect(links.filter((link) => link.startsWith(volume))).toEqual([]);
      });
      expect((await readFile(blob)).length).toBeGreaterThan(1_000);
    },
  );
});
