import { readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Row } from '../../campaign/row.js';
import { has } from '../../campaign/tools.js';
import { check, type Trial } from '../../campaign/trial.js';
import { crashPoint } from '../../test/support/crash-point-env.js';
import { crashEverywhere, FAIL_POINT, systemCall } from '../crash-cycle.js';
import { firstBoot, hubEnv, makeModel, prune, repair, serve, switchOfManifest } from '../crash-scene.js';
import { bytesToFetch, survey } from '../volume.js';
import { daemonCrashes } from './daemon-crash.js';

/** Every system call that changes something on the volume, by groups of names that differ between machines. */
const SYSTEM_CALLS: readonly string[] = [
  'pwrite64',
  'fsync fdatasync',
  'rename renameat renameat2',
  'link linkat',
  'unlink unlinkat',
  'mkdir mkdirat',
  'chmod fchmod fchmodat',
  'openat',
];

async function killedEverywhere(trial: Trial): Promise<void> {
  let cycles = 0;
  const small = trial.short ? 60_000 : 300_000;
  const stride = trial.short ? 12 : 1;
  const scenes = [
    await firstBoot(trial, small),
    await switchOfManifest(trial, small),
    await prune(trial, small),
  ];
  if (!trial.short) scenes.push(await firstBoot(trial, 12_000_000), await repair(trial, 6_000_000));
  for (const scene of scenes) cycles += await crashEverywhere(trial, scene, FAIL_POINT, { stride });
  if (has('strace') && !trial.short) {
    const traced = [
      await firstBoot(trial, 2_000_000),
      await repair(trial, 300_000),
      await switchOfManifest(trial, 300_000),
      await prune(trial, 300_000),
    ];
    for (const scene of traced) {
      for (const names of SYSTEM_CALLS) cycles += await crashEverywhere(trial, scene, systemCall(names));
    }
  } else if (!trial.short) {
    await trial.attemptWith(['strace'], 'killed at every system call', () => Promise.resolve());
  }
  cycles += await crashTwice(trial, trial.short ? 3 : 240);
  trial.note(`${cycles} cycles of a command killed and run again`);
  if (!trial.short) await daemonCrashes(trial);
}

/** Killed at random, killed again at random while it recovers, and only then let alone. */
async function crashTwice(trial: Trial, rounds: number): Promise<number> {
  const scenes = [
    await firstBoot(trial, 300_000),
    await repair(trial, 300_000),
    await switchOfManifest(trial, 300_000),
  ];
  for (const scene of scenes) {
    const steps = Array.from({ length: Math.ceil(rounds / scenes.length) }, () =>
      trial.random.integer(1, 45),
    );
    const second = (): number => trial.random.integer(1, 30);
    await crashEverywhere(trial, scene, FAIL_POINT, { steps, second });
  }
  return 2 * rounds;
}

/** Kills a first boot in the middle of a download, and returns the volume with its partial file. */
async function killedInDownload(trial: Trial) {
  const model = await makeModel(trial, 400_000);
  const origin = await trial.sandbox.origin();
  serve(origin, model);
  const volume = join(await trial.sandbox.folder(), 'volume');
  const env = { ...hubEnv(origin, model), MODEL_CACHE_DIR: volume };
  const path = `/${model.manifest.repo}/resolve/${model.manifest.revision}/onnx/model.onnx`;
  const cutAt = trial.random.integer(70_000, 390_000);
  origin.fault(path, { kind: 'stall', afterBytes: cutAt });
  const { child, ended } = trial.sandbox.start(['pull', '--quiet'], env);
  for (let waited = 0; waited < 3_000; waited += 1) {
    const { partials } = await survey(volume, model.manifest.files);
    if ([...partials.values()].some((size) => size >= cutAt)) break;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  child.kill('SIGKILL');
  await ended;
  origin.heal();
  return { model, origin, volume, env };
}

async function partialFiles(trial: Trial): Promise<void> {
  for (let round = 0; round < (trial.short ? 1 : 5); round += 1) {
    await trial.attempt('killed in mid-write; resumed', async () => {
      const { model, origin, volume, env } = await killedInDownload(trial);
      const between = await survey(volume, model.manifest.files);
      // Smaller files may have been under way as well.
      const [weights] = model.manifest.files;
      const kept = between.partials.get(weights?.sha256 ?? '') ?? 0;
      check(between.torn.length === 0 && kept > 0, 'no partial file to resume');
      const expected = bytesToFetch(between, model.manifest);
      const sent = origin.bytesSent;
      check((await trial.sandbox.run(['pull', '--quiet'], env)).code === 0, 'the next run failed');
      check(origin.bytesSent - sent === expected, `fetched ${origin.bytesSent - sent}, lacked ${expected}`);
    });
    await trial.attempt('killed in mid-write; the partial rots', async () => {
      const { model, volume, env } = await killedInDownload(trial);
      for (const name of await readdir(join(volume, 'ingest')))
        if (name.endsWith('.part')) await writeFile(join(volume, 'ingest', name), Buffer.alloc(350_000, 9));
      check((await trial.sandbox.run(['pull', '--quiet'], env)).code === 0, 'the next run failed');
      const after = await survey(volume, model.manifest.files);
      check(after.torn.length === 0 && after.whole.size === 3, 'not whole');
      check(after.strays.length === 0, `left: ${after.strays.join()}`);
    });
    await trial.attempt('killed in mid-write; then another model is wanted', async () => {
      const { volume, origin } = await killedInDownload(trial);
      const other = await makeModel(trial, 50_000);
      serve(origin, other);
      const env = { ...hubEnv(origin, other), MODEL_CACHE_DIR: volume };
      check((await trial.sandbox.run(['pull', '--quiet'], env)).code === 0, 'the next run failed');
      check((await readdir(join(volume, 'ingest'))).length === 0, 'the old partial was not swept');
    });
  }
}

async function crashLoop(trial: Trial): Promise<void> {
  const rounds = trial.short ? 5 : 20;
  const scenes = trial.short
    ? [await firstBoot(trial, 200_000)]
    : [await firstBoot(trial, 1_000_000), await repair(trial, 1_000_000)];
  for (const scene of scenes) {
    const origin = await trial.sandbox.origin();
    for (const model of scene.models) serve(origin, model);
    const { stage } = await import('../crash-scene.js');
    const volume = join(await trial.sandbox.folder(), 'volume');
    await stage(scene, volume);
    const env = {
      ...scene.env,
      MODEL_CACHE_DIR: volume,
      MODEL_SOURCES: 'hub',
      HF_ENDPOINT: origin.url,
      HF_HUB_OFFLINE: 'false',
    };
    const total = scene.manifest.files.reduce((sum, { size }) => sum + size, 0);
    for (let round = 0; round < rounds; round += 1) {
      await trial.attempt(`${scene.name}, crash ${round + 1} in a row`, async () => {
        const step = trial.random.integer(2, 25);
        await trial.sandbox.run(scene.args, { ...env, ...crashPoint({ at: step }) });
        const { strayBytes } = await survey(volume, scene.manifest.files);
        trial.left(strayBytes);
        check(strayBytes <= 2 * total + 50_000, `${strayBytes} bytes of leftovers for a model of ${total}`);
      });
    }
    await trial.attempt(`${scene.name}, the boot after ${rounds} crashes`, async () => {
      check((await trial.sandbox.run(scene.args, env)).code === 0, 'failed');
      const after = await survey(volume, scene.manifest.files);
      check(after.torn.length === 0 && after.whole.size === 3, 'not whole');
      check(after.strays.length <= scene.maxStrays, `left: ${after.strays.join()}`);
    });
  }
}

export const CRASH: readonly Row[] = [
  { number: 13, long: true, fault: 'SIGKILL at each step and system call', run: killedEverywhere },
  { number: 14, fault: 'killed in mid-write', run: partialFiles },
  {
    number: 15,
    fault: 'killed in mid-repair',
    async run(trial) {
      await crashEverywhere(trial, await repair(trial, trial.short ? 60_000 : 200_000), FAIL_POINT, {
        stride: trial.short ? 12 : 1,
      });
    },
  },
  { number: 17, fault: 'crash loop', run: crashLoop },
];
