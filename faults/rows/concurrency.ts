import { utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { goldenAnswers } from '../../campaign/load.js';
import type { Row } from '../../campaign/row.js';
import { kill, pidOf } from '../../campaign/sandbox.js';
import { check, type Trial } from '../../campaign/trial.js';
import { loadManifest } from '../../src/cache/manifest.js';
import { OWNER } from '../../src/cache/owner.js';
import { builtInManifest } from '../../src/config/program-files.js';
import type { TestDaemon } from '../../test/support/daemon-process.js';
import { makeModel, serve } from '../crash-scene.js';
import { MODEL_DIGEST } from '../pinned.js';
import { flipBit } from '../rot.js';
import { survey } from '../volume.js';
import { statusOf, wholesome } from '../watch.js';

/** Two or three commands fill one volume; some are killed, some are frozen for a while. */
async function manyCommands(trial: Trial, round: number): Promise<void> {
  const model = await makeModel(trial, 1_500_000);
  const origin = await trial.sandbox.origin({ bytesPerSecond: 6_000_000 });
  serve(origin, model);
  const volume = join(await trial.sandbox.folder(), 'volume');
  const env = {
    MODEL_MANIFEST: model.manifestFile,
    MODEL_CACHE_DIR: volume,
    MODEL_SOURCES: 'hub',
    HF_ENDPOINT: origin.url,
    HF_HUB_OFFLINE: 'false',
  };
  const writers = trial.random.integer(2, 3);
  const running = Array.from({ length: writers }, () => trial.sandbox.start(['pull', '--quiet'], env));
  const victims = running.slice(1).map((one) => ({
    ...one,
    afterMs: trial.random.integer(100, 900),
    frozen: trial.random.next() < 0.5,
  }));
  await Promise.all(
    victims.map(async ({ child, afterMs, frozen }) => {
      await sleep(afterMs);
      child.kill(frozen ? 'SIGSTOP' : 'SIGKILL');
      if (!frozen) return;
      await sleep(1_000);
      child.kill('SIGCONT');
    }),
  );
  const ends = await Promise.all(running.map(({ ended }) => ended));
  check(ends[0]?.code === 0, () => `the one left alone ended with ${ends[0]?.code}: ${ends[0]?.stderr}`);
  for (const [index, { frozen }] of victims.entries())
    if (frozen) check(ends[index + 1]?.code === 0, () => `the frozen one failed: ${ends[index + 1]?.stderr}`);
  check((await trial.sandbox.run(['pull', '--quiet'], env)).code === 0, 'the next run failed');
  const after = await survey(volume, model.manifest.files);
  check(after.torn.length === 0 && after.whole.size === 3, `round ${round}: not whole`);
  check(after.strays.length === 0, `left: ${after.strays.join()}`);
}

async function sharedFirstBoot(trial: Trial): Promise<void> {
  await trial.attempt('two daemons boot, one is killed, the other serves', async () => {
    const env = { MODEL_CACHE_DIR: join(await trial.sandbox.folder(), 'volume') };
    const [one, other] = await Promise.all([trial.sandbox.daemon(env), trial.sandbox.daemon(env)]);
    await sleep(trial.random.integer(0, 300));
    await one.stop('SIGKILL');
    await other.ready(60_000);
    await golden(trial, other);
    await cleanVolume(trial, env.MODEL_CACHE_DIR);
  });
  for (let round = 0; round < (trial.short ? 1 : 25); round += 1)
    await trial.attempt(`round ${round} of writers killed and frozen`, () => manyCommands(trial, round));
  if (trial.short) return;
  for (let round = 0; round < 4; round += 1) {
    await trial.attempt(`round ${round} of three daemons while the volume rots`, () => threeDaemons(trial));
  }
}

/** Three daemons serve from one volume; it rots, one is killed, one is frozen: the third answers everything. */
async function threeDaemons(trial: Trial): Promise<void> {
  const volume = await trial.sandbox.filledVolume();
  const daemons = await Promise.all([1, 2, 3].map(() => trial.sandbox.daemon({ MODEL_CACHE_DIR: volume })));
  await Promise.all(daemons.map((daemon) => daemon.ready(60_000)));
  const [steady, killed, frozen] = daemons;
  if (!steady || !killed || !frozen) return;
  const load = trial.sandbox.load(steady);
  await flipBit(join(volume, 'blobs/sha256', MODEL_DIGEST), trial.random.integer(0, 20_000_000));
  const since = performance.now();
  await sleep(trial.random.integer(50, 600));
  await killed.stop('SIGKILL');
  kill(pidOf(frozen), 'SIGSTOP');
  await sleep(trial.random.integer(50, 600));
  await wholesome(steady);
  trial.healed(performance.now() - since);
  kill(pidOf(frozen), 'SIGCONT');
  await wholesome(frozen);
  await golden(trial, frozen);
  trial.requests(await load.stop());
  await cleanVolume(trial, volume);
}

async function golden(trial: Trial, daemon: TestDaemon): Promise<void> {
  check(
    JSON.stringify(await goldenAnswers(daemon.url)) === JSON.stringify(trial.sandbox.golden),
    'other answers',
  );
}

async function cleanVolume(trial: Trial, volume: string): Promise<void> {
  await sleep(300);
  const { files } = await loadManifest(builtInManifest('q8'));
  const after = await survey(volume, files);
  check(after.torn.length === 0 && after.whole.size === files.length, 'not whole');
  const strays = after.strays.filter((path) => !path.startsWith('quarantine/') && !path.endsWith('.tmp'));
  check(strays.length === 0, `left: ${strays.join()}`);
  trial.left(after.strayBytes);
}

async function frozenWriter(trial: Trial): Promise<void> {
  for (let round = 0; round < (trial.short ? 1 : 4); round += 1) {
    await trial.attempt('the writer of a partial file is frozen, another one proceeds', async () => {
      const model = await makeModel(trial, 1_500_000);
      const origin = await trial.sandbox.origin({ bytesPerSecond: 1_000_000 });
      serve(origin, model);
      const volume = join(await trial.sandbox.folder(), 'volume');
      const env = {
        MODEL_MANIFEST: model.manifestFile,
        MODEL_CACHE_DIR: volume,
        MODEL_SOURCES: 'hub',
        HF_ENDPOINT: origin.url,
        HF_HUB_OFFLINE: 'false',
      };
      const frozen = trial.sandbox.start(['pull', '--quiet'], env);
      for (let waited = 0; waited < 400 && origin.bytesSent < 200_000; waited += 1) await sleep(20);
      frozen.child.kill('SIGSTOP');
      origin.bytesPerSecond = undefined;
      const since = performance.now();
      check((await trial.sandbox.run(['pull', '--quiet'], env)).code === 0, 'it did not proceed');
      trial.healed(performance.now() - since);
      frozen.child.kill('SIGCONT');
      check((await frozen.ended).code === 0, 'the frozen one failed when it went on');
      const after = await survey(volume, model.manifest.files);
      check(after.torn.length === 0 && after.whole.size === 3, 'not whole');
      check(after.strays.length === 0, `left: ${after.strays.join()}`);
    });
  }
}

const KEY = 'a-key-of-the-fault-campaign';

async function overlap(trial: Trial): Promise<void> {
  await trial.attempt('200 demands at once, with the clock and events on top', async () => {
    const volume = await trial.sandbox.filledVolume();
    const daemon = await trial.sandbox.daemon({
      MODEL_CACHE_DIR: volume,
      ADMIN_KEYS: KEY,
      VERIFY_CRON: '* * * * * *',
    });
    await daemon.ready(60_000);
    const before = (await statusOf(daemon)).counters.verifications;
    const since = performance.now();
    const blob = join(volume, 'blobs/sha256', MODEL_DIGEST);
    const demands = Array.from({ length: 200 }, async (_, index) => {
      if (index % 20 === 0) await utimes(blob, 1, index);
      return daemon.post('/cache/verify', {}, { authorization: `Bearer ${KEY}` });
    });
    for (const { status } of await Promise.all(demands)) check(status === 200, `status ${status}`);
    const runs = (await statusOf(daemon)).counters.verifications - before;
    const seconds = (performance.now() - since) / 1_000;
    // Each demand is served by a run that starts after it; what came during a run shares the next one.
    check(runs < 100, `${runs} runs for 200 demands in ${seconds.toFixed(1)} s`);
    trial.note(`200 demands at once, with the clock and events: ${runs} runs, never two at a time`);
  });
}

async function manyEvents(trial: Trial): Promise<void> {
  const events = trial.short ? 1_000 : 10_000;
  await trial.attempt(`${events} events`, async () => {
    const volume = await trial.sandbox.filledVolume();
    const daemon = await trial.sandbox.daemon({ MODEL_CACHE_DIR: volume });
    await daemon.ready(60_000);
    const { counters } = await statusOf(daemon);
    const load = trial.sandbox.load(daemon);
    const blob = join(volume, 'blobs/sha256', MODEL_DIGEST);
    const since = performance.now();
    for (let event = 0; event < events; event += 1) await utimes(blob, 1, event);
    await sleep(3_000);
    const runs = (await wholesome(daemon)).counters.verifications - counters.verifications;
    trial.requests(await load.stop());
    const seconds = (performance.now() - since) / 1_000;
    check(runs >= 1 && runs <= 2 + seconds, `${runs} runs in ${seconds.toFixed(1)} s`);
    trial.note(`${events} events in ${seconds.toFixed(1)} s: ${runs} runs`);
  });
}

async function sweep(trial: Trial): Promise<void> {
  await trial.attempt('partials of the living, the dead and strangers, all of them old', async () => {
    const volume = await trial.sandbox.filledVolume();
    const [place] = OWNER.split('-');
    const other = 'c'.repeat(64);
    const partials = {
      // This very process lives.
      living: `${other}.${OWNER}-1.part`,
      dead: `${other}.${place}-4194303-1-1.part`,
      strange: `${other}.0123456789ab-77-77-1.part`,
      young: `${other}.0123456789ab-78-78-1.part`,
    };
    for (const name of Object.values(partials)) {
      const path = join(volume, 'ingest', name);
      await writeFile(path, Buffer.alloc(1_000));
      if (name !== partials.young) await utimes(path, 1_000_000, 1_000_000);
    }
    const daemon = await trial.sandbox.daemon({ MODEL_CACHE_DIR: volume });
    await wholesome(daemon);
    const { readdir } = await import('node:fs/promises');
    const left = new Set(await readdir(join(volume, 'ingest')));
    check(left.has(partials.living), 'the partial of a living writer was swept');
    check(left.has(partials.young), 'the partial of a stranger was swept within its grace period');
    check(!left.has(partials.dead) && !left.has(partials.strange), 'old leftovers are still there');
  });
}

export const CONCURRENCY: readonly Row[] = [
  { number: 29, fault: 'two and three processes on one volume, killed and frozen', run: sharedFirstBoot },
  { number: 30, fault: 'the other writer frozen', run: frozenWriter },
  { number: 31, fault: 'verifications overlap', run: overlap },
  { number: 32, fault: '10,000 events', run: manyEvents },
  { number: 33, fault: 'sweep meets a live partial', run: sweep },
];
