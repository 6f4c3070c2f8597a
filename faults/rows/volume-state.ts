import { chown, mkdir, readdir, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { goldenAnswers } from '../../campaign/load.js';
import type { Row } from '../../campaign/row.js';
import { kill, pidOf } from '../../campaign/sandbox.js';
import { check, type Trial } from '../../campaign/trial.js';
import { mounted } from '../mounted.js';
import { MODEL_DIGEST, TOKENIZER_DIGEST } from '../pinned.js';
import { healthOf, statusOf, until, volumeProblem, wholesome } from '../watch.js';
import { AS_NOBODY } from './healing.js';

async function absentOrWrong(trial: Trial): Promise<void> {
  await trial.attempt('not a mount where one is required', async () => {
    const volume = await trial.sandbox.folder();
    const daemon = await trial.sandbox.daemon({ MODEL_CACHE_DIR: volume, REQUIRE_MOUNT: 'true' });
    const message = await volumeProblem(daemon, 'volume_not_mounted');
    check(/REQUIRE_MOUNT=false/.test(message), `no remedy: ${message}`);
    check((await readdir(volume)).length === 0, 'something was written');
    check((await healthOf(daemon)).status === 'starting', 'it should not serve');
  });
  await trial.attempt('a path below a file, which then goes away', async () => {
    const folder = await trial.sandbox.folder();
    await writeFile(join(folder, 'plain'), '');
    const daemon = await trial.sandbox.daemon({ MODEL_CACHE_DIR: join(folder, 'plain', 'volume') });
    await volumeProblem(daemon, 'volume_unavailable');
    await rm(join(folder, 'plain'));
    const since = performance.now();
    await wholesome(daemon);
    trial.healed(performance.now() - since);
  });
  await trial.attempt('a folder of other things', async () => {
    const volume = await trial.sandbox.folder();
    await writeFile(join(volume, 'PG_VERSION'), '16');
    const daemon = await trial.sandbox.daemon({ MODEL_CACHE_DIR: volume });
    await volumeProblem(daemon, 'volume_foreign');
    check((await readdir(volume)).join() === 'PG_VERSION', 'something was written');
  });
  if (trial.short) return;
  await trial.attempt('unusable, but memory is allowed', async () => {
    const volume = await trial.sandbox.folder();
    const daemon = await trial.sandbox.daemon({
      MODEL_CACHE_DIR: volume,
      REQUIRE_MOUNT: 'true',
      WITHOUT_VOLUME: 'memory',
    });
    await daemon.ready(60_000);
    check((await healthOf(daemon)).status === 'degraded', 'not degraded');
    check(
      JSON.stringify(await goldenAnswers(daemon.url)) === JSON.stringify(trial.sandbox.golden),
      'other answers',
    );
    check((await readdir(volume)).length === 0, 'something was written');
  });
  await trial.attemptWith(['root', 'mounts'], 'the mount comes late', async () => {
    const box = await mounted(trial, { sizeMiB: 64, mount: false, env: { REQUIRE_MOUNT: 'true' } });
    await volumeProblem(box.daemon, 'volume_not_mounted');
    await box.mount('-t tmpfs -o size=64m none');
    const since = performance.now();
    await wholesome(box.daemon);
    trial.healed(performance.now() - since);
    await box.daemon.ready(60_000);
  });
}

async function rootOwned(trial: Trial): Promise<void> {
  await trial.attemptWith(['root', 'setpriv'], 'a volume of root, a process that is not', async () => {
    const folder = await trial.sandbox.folder();
    const volume = join(folder, 'volume');
    await chown(folder, 65534, 65534);
    await mkdir(volume, { mode: 0o755 });
    const command = [...AS_NOBODY, process.execPath, 'dist/main.js', 'serve'];
    const daemon = await trial.sandbox.daemon({ MODEL_CACHE_DIR: volume }, { command });
    const message = await volumeProblem(daemon, 'volume_read_only');
    check(/RAILWAY_RUN_UID=0/.test(message), `no remedy: ${message}`);
    await sleep(trial.short ? 500 : 5_000);
    await chown(volume, 65534, 65534);
    const since = performance.now();
    await wholesome(daemon);
    const ms = performance.now() - since;
    trial.healed(ms);
    check(ms < 10_000, `took ${Math.round(ms)} ms after the volume was given to it`);
  });
}

async function readOnly(trial: Trial): Promise<void> {
  await trial.attemptWith(['root', 'mounts'], 'remounted read-only while serving', async () => {
    const box = await mounted(trial, { sizeMiB: 64, filled: true, env: { VERIFY_CRON: '* * * * * *' } });
    await box.daemon.ready(60_000);
    const load = trial.sandbox.load(box.daemon);
    await box.mount('-o remount,ro,size=64m');
    const message = await volumeProblem(box.daemon, 'volume_read_only');
    check(/mount it writable/.test(message), `no remedy: ${message}`);
    check((await healthOf(box.daemon)).status === 'degraded', 'not degraded');
    await sleep(trial.short ? 300 : 3_000);
    await box.mount('-o remount,rw,size=64m');
    const since = performance.now();
    await wholesome(box.daemon);
    trial.healed(performance.now() - since);
    trial.requests(await load.stop());
  });
  if (trial.short) return;
  await trial.attemptWith(['root', 'mounts'], 'rotten and read-only, then writable', async () => {
    const box = await mounted(trial, { sizeMiB: 64, filled: true });
    await box.daemon.ready(60_000);
    const load = trial.sandbox.load(box.daemon);
    // Frozen meanwhile, so that it cannot repair before the mount is read-only.
    kill(pidOf(box.daemon), 'SIGSTOP');
    await writeFile(box.inside(`blobs/sha256/${TOKENIZER_DIGEST}`), 'rot');
    await rm(box.inside(`blobs/sha256/${MODEL_DIGEST}`));
    await box.mount('-o remount,ro,size=64m');
    kill(pidOf(box.daemon), 'SIGCONT');
    await volumeProblem(box.daemon, 'volume_read_only');
    await sleep(8_000);
    await box.mount('-o remount,rw,size=64m');
    const since = performance.now();
    await wholesome(box.daemon);
    const ms = performance.now() - since;
    trial.healed(ms);
    trial.requests(await load.stop());
    check(ms < 10_000, `took ${Math.round(ms)} ms after it became writable`);
  });
}

async function lostAndFound(trial: Trial): Promise<void> {
  await trial.attemptWith(['root', 'setpriv'], 'lost+found that may not be read', async () => {
    const folder = await trial.sandbox.folder();
    const volume = join(folder, 'volume');
    await chown(folder, 65534, 65534);
    await mkdir(join(volume, 'lost+found'), { recursive: true, mode: 0o700 });
    await chown(volume, 65534, 65534);
    const command = [...AS_NOBODY, process.execPath, 'dist/main.js', 'serve'];
    const daemon = await trial.sandbox.daemon({ MODEL_CACHE_DIR: volume }, { command });
    const { verification } = await wholesome(daemon);
    check(verification.retry === null, 'something is to be tried again');
    await daemon.ready(60_000);
    check((await healthOf(daemon)).status === 'ready', 'not quite ready');
  });
}

/** Writes through a mapping, which no event tells of, and puts the times back. */
const MMAP = `
import mmap, os, sys
path = sys.argv[1]
before = os.stat(path)
with open(path, 'r+b') as f:
    m = mmap.mmap(f.fileno(), 0)
    m[5000] ^= 1
    m.flush()
    m.close()
os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
`;

async function silentChange(trial: Trial): Promise<void> {
  await trial.attemptWith(
    ['python3'],
    'a bit changed through a mapping; verification each second',
    async () => {
      const volume = await trial.sandbox.filledVolume();
      const daemon = await trial.sandbox.daemon({ MODEL_CACHE_DIR: volume, VERIFY_CRON: '* * * * * *' });
      await daemon.ready(60_000);
      const { counters } = await wholesome(daemon);
      const load = trial.sandbox.load(daemon);
      const blob = join(volume, `blobs/sha256/${MODEL_DIGEST}`);
      const { code, stderr } = await trial.sandbox.run([blob], {}, ['python3', '-c', MMAP]);
      check(code === 0, stderr);
      const since = performance.now();
      await until('the repair', 20_000, async () => {
        const status = await statusOf(daemon);
        return status.whole && status.counters.repairs > counters.repairs ? status : undefined;
      });
      trial.healed(performance.now() - since);
      trial.requests(await load.stop());
    },
  );
  await trial.attempt('another file under the name, with no event to tell of it', async () => {
    const volume = await trial.sandbox.filledVolume();
    const daemon = await trial.sandbox.daemon({ MODEL_CACHE_DIR: volume, VERIFY_CRON: '* * * * * *' });
    await daemon.ready(60_000);
    // The watched folder is renamed away and comes back changed: its watch never hears of it.
    await rename(join(volume, 'blobs'), join(volume, '..', 'away'));
    await rm(join(volume, `../away/sha256/${MODEL_DIGEST}`));
    const since = performance.now();
    await wholesome(daemon);
    await until('the whole cache', 20_000, async () => {
      const names = await readdir(join(volume, 'blobs/sha256')).catch(() => []);
      return names.length === 5 ? true : undefined;
    });
    trial.healed(performance.now() - since);
  });
}

export const VOLUME_STATE: readonly Row[] = [
  { number: 1, fault: 'mount absent or wrong', run: absentOrWrong },
  { number: 2, fault: 'root-owned volume, non-root process', run: rootOwned },
  { number: 3, fault: 'read-only volume', run: readOnly },
  { number: 10, fault: 'lost+found 0700 in the mount', run: lostAndFound },
  { number: 12, fault: 'change without an event', run: silentChange },
];
