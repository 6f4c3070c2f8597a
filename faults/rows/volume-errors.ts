import { spawnSync } from 'node:child_process';
import { readdir, readlink, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Row } from '../../campaign/row.js';
import { pidOf } from '../../campaign/sandbox.js';
import { check, type Trial } from '../../campaign/trial.js';
import { loadManifest } from '../../src/cache/manifest.js';
import { builtInManifest } from '../../src/config/program-files.js';
import { mounted } from '../mounted.js';
import { MODEL_DIGEST } from '../pinned.js';
import { survey } from '../volume.js';
import { statusOf, until, volumeProblem, wholesome } from '../watch.js';

/** A volume that was given room has to be whole after this long, also on a machine that is busy. */
const ROOM_AIM_MS = 10_000;

async function full(trial: Trial): Promise<void> {
  await trial.attemptWith(['root', 'mounts'], 'a first boot on 1 MiB, which then grows', async () => {
    const box = await mounted(trial, { sizeMiB: 1 });
    await volumeProblem(box.daemon, 'volume_full');
    const runsBefore = (await statusOf(box.daemon)).counters.verifications;
    await sleep(trial.short ? 1_000 : 6_000);
    const { counters } = await statusOf(box.daemon);
    check(counters.verifications - runsBefore <= 1, 'it is tried in a loop');
    check((await readdir(box.inside('ingest'))).length === 0, 'a partial file was left on a full volume');
    check((await readdir(box.inside('blobs/sha256'))).length === 0, 'something was published');
    await box.mount('-o remount,size=64m');
    const since = performance.now();
    await wholesome(box.daemon);
    const ms = performance.now() - since;
    trial.healed(ms);
    check(ms < ROOM_AIM_MS, `took ${Math.round(ms)} ms after there was room`);
    await box.daemon.ready(60_000);
  });
  if (trial.short) return;
  await trial.attemptWith(
    ['root', 'mounts'],
    'filled by somebody else in the middle of a download',
    async () => {
      const origin = await trial.sandbox.origin({ bytesPerSecond: 8_000_000 });
      const manifest = await loadManifest(builtInManifest('q8'));
      const { readFile } = await import('node:fs/promises');
      for (const { path } of manifest.files)
        origin.put(
          `/${manifest.repo}/resolve/${manifest.revision}/${path}`,
          await readFile(join('model', path)),
        );
      const env = { MODEL_SOURCES: 'hub', HF_ENDPOINT: origin.url, HF_HUB_OFFLINE: 'false' };
      const box = await mounted(trial, { sizeMiB: 40, env });
      await until('some bytes', 20_000, async () => (origin.bytesSent > 4_000_000 ? true : undefined));
      await writeFile(box.inside('hog'), Buffer.alloc(36 * 2 ** 20)).catch(() => undefined);
      await volumeProblem(box.daemon, 'volume_full');
      check((await readdir(box.inside('ingest'))).length === 0, 'half a file was left on a full volume');
      await truncate(box.inside('hog'), 0);
      const since = performance.now();
      await wholesome(box.daemon);
      trial.healed(performance.now() - since);
    },
  );
  await trial.attemptWith(['root', 'mounts'], 'rotten and full while serving, then with room', async () => {
    const box = await mounted(trial, { sizeMiB: 64, filled: true });
    await box.daemon.ready(60_000);
    const load = trial.sandbox.load(box.daemon);
    await writeFile(box.inside('hog'), Buffer.alloc(64 * 2 ** 20)).catch(() => undefined);
    await truncate(box.inside(`blobs/sha256/${MODEL_DIGEST}`), 22_000_000);
    await volumeProblem(box.daemon, 'volume_full');
    const runsBefore = (await statusOf(box.daemon)).counters.verifications;
    await sleep(5_000);
    const { verifications } = (await statusOf(box.daemon)).counters;
    check(verifications - runsBefore <= 2, `tried ${verifications - runsBefore} times in 5 s`);
    await truncate(box.inside('hog'), 0);
    const since = performance.now();
    await wholesome(box.daemon);
    const ms = performance.now() - since;
    trial.healed(ms);
    trial.requests(await load.stop());
    check(ms < ROOM_AIM_MS, `took ${Math.round(ms)} ms after there was room`);
  });
}

async function failingSync(trial: Trial): Promise<void> {
  const cases: readonly [errno: string, code: string][] = [
    ['EIO', 'volume_unavailable'],
    ['EDQUOT', 'volume_full'],
  ];
  for (const [errno, code] of trial.short ? cases.slice(0, 1) : cases) {
    await trial.attemptWith(['strace'], `${errno} at every fsync`, async () => {
      const volume = join(await trial.sandbox.folder(), 'volume');
      const command = straced(`inject=fsync:error=${errno}`);
      const daemon = await trial.sandbox.daemon({ MODEL_CACHE_DIR: volume }, { command });
      await volumeProblem(daemon, code, 30_000);
      const { files } = await loadManifest(builtInManifest('q8'));
      const found = await survey(volume, files);
      check(
        found.whole.size === 0 && found.torn.length === 0,
        'something was published without being on disk',
      );
      await daemon.stop('SIGKILL');
    });
  }
  await trial.attemptWith(['strace'], 'EIO at the first syncs of files, then none', async () => {
    const volume = join(await trial.sandbox.folder(), 'volume');
    const daemon = await trial.sandbox.daemon(
      { MODEL_CACHE_DIR: volume, UV_THREADPOOL_SIZE: '1' },
      { command: straced('inject=fsync:error=EIO:when=7..8') },
    );
    await wholesome(daemon, 60_000);
    const status = await statusOf(daemon);
    check(
      status.events.some(({ message }) => /EIO/.test(message)),
      'the failure is nowhere to be read',
    );
    await daemon.ready(60_000);
  });
}

function straced(injection: string): readonly string[] {
  const strace = [
    'strace',
    '-f',
    '-qq',
    '--seccomp-bpf',
    '-o',
    '/dev/null',
    '-e',
    'trace=fsync',
    '-e',
    injection,
  ];
  return [...strace, process.execPath, 'dist/main.js', 'serve'];
}

async function outOfDescriptors(trial: Trial): Promise<void> {
  await trial.attemptWith(['prlimit', 'proc'], 'no descriptors for a while, and a blob rots', async () => {
    const volume = await trial.sandbox.filledVolume();
    const daemon = await trial.sandbox.daemon({ MODEL_CACHE_DIR: volume });
    await daemon.ready(60_000);
    const load = trial.sandbox.load(daemon);
    await sleep(300);
    await load.get('/health');
    const pid = pidOf(daemon);
    const limit = (soft: number) => spawnSync('prlimit', ['--pid', String(pid), `--nofile=${soft}:`]).status;
    // A descriptor above the limit that is open stays open; the lowest free one is below, so all of them go.
    const open = (await readdir(`/proc/${pid}/fd`)).length;
    check(limit(Math.min(open, 10)) === 0, 'prlimit failed');
    await truncate(join(volume, 'blobs/sha256', MODEL_DIGEST), 1_000);
    // The health path asks no file, and the connection is one of the open ones.
    await until('the named trouble', 20_000, async () => {
      const health = await load.get<{ checks: { volume: { code?: string } } }>('/health');
      return health.checks.volume.code === 'volume_unavailable' ? true : undefined;
    });
    await sleep(trial.short ? 500 : 5_000);
    check(limit(1_024) === 0, 'prlimit failed');
    const since = performance.now();
    await wholesome(daemon);
    const ms = performance.now() - since;
    trial.healed(ms);
    trial.requests(await load.stop());
    const names = await readdir(`/proc/${pid}/fd`);
    const links = await Promise.all(names.map((name) => readlink(`/proc/${pid}/fd/${name}`).catch(() => '')));
    check(!links.some((link) => link.startsWith(volume)), 'a descriptor of the volume leaked');
    check(ms < 10_000, `took ${Math.round(ms)} ms after descriptors were free`);
  });
}

export const VOLUME_ERRORS: readonly Row[] = [
  { number: 4, fault: 'disk full', run: full },
  { number: 5, fault: 'EIO / EDQUOT at fsync', run: failingSync },
  { number: 6, fault: 'EMFILE', run: outOfDescriptors },
];
