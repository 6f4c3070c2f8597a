import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect } from 'vitest';
import { blobPath, layoutOf } from '../../src/cache/layout.js';
import { crashPoint } from '../support/crash-point-env.js';
import { eventually } from '../support/eventually.js';
import { has } from '../support/tools.js';
import { type Box, count, it, LONG, longIt, manifest, some } from './box.js';
import {
  crashEverywhere,
  DISK_CHANGE,
  hubEnv,
  makeModel,
  pull,
  SCENES,
  type SmallModel,
  serve,
  stage,
  systemCall,
} from './crash.js';
import { bytesToFetch, flipBit, survey } from './rot.js';

type SceneName = keyof typeof SCENES;
const NAMES = Object.keys(SCENES) as SceneName[];
/** Kills of the daemon with the real model, in each of its two tests. */
const DAEMON_KILLS = Number(process.env.CRASH_DAEMON_KILLS ?? 40);

/** Every system call that changes something on a volume; their names differ between machines. */
const SYSTEM_CALLS = [
  'pwrite64',
  'fsync fdatasync',
  'rename renameat renameat2',
  'link linkat',
  'unlink unlinkat',
  'mkdir mkdirat',
  'chmod fchmod fchmodat',
  'openat',
];

describe('a command that is killed leaves a volume from which the next run recovers', () => {
  it.concurrent.for(NAMES)('%s, before each change of the disk', async (name, { box }) => {
    const scene = await SCENES[name](box, count(60_000, 300_000));
    await crashEverywhere(box, scene, DISK_CHANGE, { stride: count(12, 1) });
  });

  it.concurrent.for(some(NAMES.slice(0, 3), 1))('%s, twice, at random', async (name, { box }) => {
    const steps = Array.from({ length: count(3, 80) }, () => box.random.integer(1, 45));
    const second = (): number => box.random.integer(1, 30);
    await crashEverywhere(box, await SCENES[name](box, 300_000), DISK_CHANGE, { steps, second });
  });

  longIt.concurrent('a first boot with a larger model', async ({ box }) =>
    crashEverywhere(box, await SCENES['first boot'](box, 12_000_000), DISK_CHANGE),
  );

  it
    .runIf(LONG && has('strace'))
    .concurrent.for(NAMES.flatMap((name) => SYSTEM_CALLS.map((calls) => [name, calls] as const)))(
    '%s, at each %s',
    async ([name, calls], { box }) =>
      crashEverywhere(box, await SCENES[name](box, 300_000), systemCall(calls)),
  );
});

/** Kills a pull in the middle of a download, and returns the volume with its partial file. */
async function killedInDownload(box: Box) {
  const model = await makeModel(box, 400_000);
  const origin = await box.origin();
  serve(origin, model);
  const volume = await box.noVolume();
  const env = hubEnv(origin, model, volume);
  const path = `/${model.manifest.repo}/resolve/${model.manifest.revision}/onnx/model.onnx`;
  const afterBytes = box.random.integer(70_000, 390_000);
  origin.fault(path, { kind: 'stall', afterBytes });
  const { child, ended } = box.start(['pull', '--quiet'], env);
  await eventually(
    async () => {
      const { partials } = await survey(volume, model.manifest);
      expect(Math.max(0, ...partials.values())).toBeGreaterThanOrEqual(afterBytes);
    },
    { within: 60_000 },
  );
  child.kill('SIGKILL');
  await ended;
  origin.heal();
  return { model, origin, volume, env };
}

async function expectWhole(
  volume: string,
  { manifest: { files } }: SmallModel,
  maxStrays = 0,
): Promise<void> {
  const { torn, whole, strays } = await survey(volume, { files });
  expect([torn, whole.size]).toEqual([[], files.length]);
  expect(strays.length, strays.join()).toBeLessThanOrEqual(maxStrays);
}

describe('a partial file of a process that was killed', () => {
  it.concurrent('is resumed', async ({ box }) => {
    const { model, origin, volume, env } = await killedInDownload(box);
    const between = await survey(volume, model.manifest);
    const lacking = bytesToFetch(between, model.manifest.files);
    const sent = origin.bytesSent;
    await pull(box, env);
    expect(origin.bytesSent - sent).toBe(lacking);
    await expectWhole(volume, model);
  });

  it.concurrent('is thrown away where it has gone bad', async ({ box }) => {
    const { model, volume, env } = await killedInDownload(box);
    const partials = (await readdir(join(volume, 'ingest'))).filter((name) => name.endsWith('.part'));
    expect(partials).not.toEqual([]);
    for (const name of partials) await writeFile(join(volume, 'ingest', name), Buffer.alloc(350_000, 9));
    await pull(box, env);
    await expectWhole(volume, model);
  });

  it.concurrent('is removed when another model is wanted', async ({ box }) => {
    const { volume, origin } = await killedInDownload(box);
    const other = await makeModel(box, 50_000);
    serve(origin, other);
    await pull(box, hubEnv(origin, other, volume));
    expect(await readdir(join(volume, 'ingest'))).toEqual([]);
  });
});

it.concurrent.for(some(NAMES.slice(0, 2), 1))(
  'a crash loop does not fill the volume: %s',
  async (name, { box }) => {
    const scene = await SCENES[name](box, count(200_000, 1_000_000));
    const origin = await box.origin();
    serve(origin, scene.model);
    const volume = await box.noVolume();
    await stage(scene, volume);
    const env = hubEnv(origin, scene.model, volume);
    const total = scene.model.manifest.files.reduce((sum, { size }) => sum + size, 0);
    for (let round = 0; round < count(5, 20); round += 1) {
      await box.run(scene.args, { ...env, ...crashPoint({ at: box.random.integer(2, 25) }) });
      const { strayBytes } = await survey(volume, scene.model.manifest);
      expect(strayBytes).toBeLessThanOrEqual(2 * total + 50_000);
    }
    expect(await box.run(scene.args, env)).toMatchObject({ code: 0 });
    await expectWhole(volume, scene.model, scene.maxStrays);
  },
);

/**
 * The real daemon with the real model, killed before changes of the disk that are spread over all that are no write
 * (the writes of a blob differ in their offset only), and before some of the writes. Afterwards it has to give the
 * golden answers.
 */
describe('the daemon that is killed before a change of the disk serves after the next boot', () => {
  longIt.concurrent.for(['first boot', 'repair'] as const)('%s', async (name, { box }) => {
    const begin = async (): Promise<string> => {
      if (name === 'first boot') return box.folder();
      const volume = await box.filledVolume();
      for (const { sha256 } of manifest.files.slice(0, 3))
        await flipBit(blobPath(layoutOf(volume), sha256), 50);
      return volume;
    };
    const trace = join(await box.folder(), 'trace');
    const traced = await box.daemon({ MODEL_CACHE_DIR: await begin(), ...crashPoint({ trace }) });
    await traced.ready(60_000);
    await traced.stop();
    const changes = (await readFile(trace, 'utf8'))
      .trimEnd()
      .split('\n')
      .map((line) => line.split(' '));
    const stepsOf = (isWrite: boolean): number[] =>
      changes.filter(([, op]) => (op === 'write') === isWrite).map(([step]) => Number(step));
    const others = stepsOf(false);
    const stride = Math.max(1, others.length / DAEMON_KILLS);
    const offset = box.random.integer(0, Math.ceil(stride) - 1);
    const spread = Array.from({ length: Math.ceil(others.length / stride) }, (_, index) =>
      Number(others[Math.min(others.length - 1, Math.floor(index * stride) + offset)]),
    );
    const writes = stepsOf(true);
    const steps = new Set([...spread, ...Array.from({ length: 8 }, () => box.random.pick(writes))]);
    box.note(`killed at ${steps.size} of ${changes.length} changes`);
    for (const at of steps) {
      const volume = await begin();
      const { child, ended } = box.start(['serve'], {
        MODEL_CACHE_DIR: volume,
        PORT: '0',
        ...crashPoint({ at }),
      });
      const timer = setTimeout(() => child.kill('SIGKILL'), 60_000);
      await ended;
      clearTimeout(timer);
      if (name === 'first boot') expect((await survey(volume, manifest)).torn).toEqual([]);
      const next = await box.daemon({ MODEL_CACHE_DIR: volume });
      await next.ready(60_000);
      await box.expectGolden(next);
      const { torn, whole, strays } = await survey(volume, manifest);
      expect([torn, whole.size], `step ${at}`).toEqual([[], manifest.files.length]);
      expect(strays.filter((path) => !path.startsWith('quarantine/'))).toEqual([]);
      await next.stop();
    }
  });
});
