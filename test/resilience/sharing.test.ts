import { utimes } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect } from 'vitest';
import { eventually } from '../support/eventually.js';
import { kill } from '../support/processes.js';
import { type Box, count, it, longIt, MODEL_DIGEST, manifest, pidOf, statusOf, whole } from './box.js';
import { hubEnv, makeModel, pull, type SmallModel, serve } from './crash.js';
import { flipBit, survey } from './rot.js';

/** Starts a slow hub that has a model, and returns it with the settings of a command that fetches it. */
async function slowHub(box: Box, bytesPerSecond: number) {
  const model = await makeModel(box, 1_500_000);
  const origin = await box.origin({ bytesPerSecond });
  serve(origin, model);
  const volume = await box.noVolume();
  return { model, origin, volume, env: hubEnv(origin, model, volume) };
}

async function expectClean(volume: string, files: SmallModel['manifest']['files']): Promise<void> {
  await eventually(async () => {
    const { torn, whole: blobs, strays } = await survey(volume, { files });
    expect([torn, blobs.size]).toEqual([[], files.length]);
    expect(strays.filter((path) => !path.startsWith('quarantine/'))).toEqual([]);
  });
}

describe('several processes on one volume', () => {
  it('two daemons boot, one is killed, the other serves', async ({ box }) => {
    const env = { MODEL_CACHE_DIR: await box.noVolume() };
    const [one, other] = await Promise.all([box.daemon(env), box.daemon(env)]);
    await sleep(box.random.integer(0, 300));
    await one.stop('SIGKILL');
    await other.ready(60_000);
    await box.expectGolden(other);
    // A partial file that the dead one began after the other's pass stays until the next pass.
    await pull(box, env);
    await expectClean(env.MODEL_CACHE_DIR, manifest.files);
  });

  it('commands that fill it are killed and frozen', async ({ box }) => {
    for (let round = 0; round < count(1, 25); round += 1) {
      const { model, volume, env } = await slowHub(box, 6_000_000);
      const steady = box.start(['pull', '--quiet'], env);
      const victims = Array.from({ length: box.random.integer(1, 2) }, async () => {
        const { child, ended } = box.start(['pull', '--quiet'], env);
        const frozen = box.random.next() < 0.5;
        await sleep(box.random.integer(100, 900));
        child.kill(frozen ? 'SIGSTOP' : 'SIGKILL');
        if (!frozen) return;
        await sleep(1_000);
        child.kill('SIGCONT');
        expect(await ended, 'the frozen one').toMatchObject({ code: 0 });
      });
      await Promise.all(victims);
      expect(await steady.ended, 'the undisturbed one').toMatchObject({ code: 0 });
      await pull(box, env);
      await expectClean(volume, model.manifest.files);
    }
  });

  it('the writer of a partial file is frozen, another one proceeds', async ({ box }) => {
    for (let round = 0; round < count(1, 4); round += 1) {
      const { model, origin, volume, env } = await slowHub(box, 1_000_000);
      const frozen = box.start(['pull', '--quiet'], env);
      await eventually(() => expect(origin.bytesSent).toBeGreaterThan(200_000));
      frozen.child.kill('SIGSTOP');
      origin.bytesPerSecond = undefined;
      await pull(box, env);
      frozen.child.kill('SIGCONT');
      expect(await frozen.ended).toMatchObject({ code: 0 });
      await expectClean(volume, model.manifest.files);
    }
  });

  longIt(
    'three daemons while it rots; one is killed, one frozen, the third answers everything',
    async ({ box }) => {
      for (let round = 0; round < 4; round += 1) {
        const volume = await box.filledVolume();
        const daemons = await Promise.all([1, 2, 3].map(() => box.daemon({ MODEL_CACHE_DIR: volume })));
        await Promise.all(daemons.map((daemon) => daemon.ready(60_000)));
        const [steady, killed, frozen] = daemons;
        if (!steady || !killed || !frozen) throw new Error('not three');
        const load = box.load(steady);
        await flipBit(join(volume, 'blobs/sha256', MODEL_DIGEST), box.random.integer(0, 20_000_000));
        await sleep(box.random.integer(50, 600));
        await killed.stop('SIGKILL');
        kill(pidOf(frozen), 'SIGSTOP');
        await sleep(box.random.integer(50, 600));
        await whole(steady);
        kill(pidOf(frozen), 'SIGCONT');
        await whole(frozen);
        await box.expectGolden(frozen);
        await load.stop();
        await expectClean(volume, manifest.files);
      }
    },
  );
});

describe('verifications on demand, by the clock and by events share runs', () => {
  longIt('200 demands at once, with the clock and events', async ({ box }) => {
    const key = 'a-key-of-the-resilience-tests';
    const { daemon, blob } = await box.serving({ ADMIN_KEYS: key, VERIFY_CRON: '* * * * * *' });
    const before = (await statusOf(daemon)).counters.verifications;
    const demands = Array.from({ length: 200 }, async (_, index) => {
      if (index % 20 === 0) await utimes(blob, 1, index);
      return (await daemon.post('/cache/verify', {}, { authorization: `Bearer ${key}` })).status;
    });
    expect(new Set(await Promise.all(demands))).toEqual(new Set([200]));
    const runs = (await statusOf(daemon)).counters.verifications - before;
    box.note(`${runs} runs`);
    // Each demand is served by a run that starts after it; demands during a run share the next one.
    expect(runs).toBeLessThan(100);
  });
});
