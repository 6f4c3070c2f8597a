import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { check, type Trial } from '../campaign/trial.js';
import { layoutOf } from '../src/cache/layout.js';
import { crashPoint } from '../test/support/crash-point-env.js';
import type { Origin } from '../test/support/origin.js';
import { type Scene, serve, stage } from './crash-scene.js';
import { bytesToFetch, type Survey, survey } from './volume.js';

/** How a scene's process is killed at its `step`-th occasion (from 1). */
export interface Killer {
  readonly name: string;
  readonly env: (step: number) => Readonly<Record<string, string>>;
  /** What stands before the program on the command line. */
  readonly prefix: (step: number, volume: string, scene: Scene) => readonly string[];
}

/** The fail point: SIGKILL before the n-th change of the disk. */
export const FAIL_POINT: Killer = {
  name: 'disk change',
  env: (step) => crashPoint({ at: step }),
  prefix: () => [],
};

/** SIGKILL at the n-th call of a system call. One pool thread, since strace counts per thread. */
export function systemCall(names: string): Killer {
  const calls = names
    .split(' ')
    .map((name) => `?${name}`)
    .join(',');
  return {
    name: names,
    env: () => ({ UV_THREADPOOL_SIZE: '1' }),
    prefix: (step, volume, { manifest }) => {
      const layout = layoutOf(volume);
      // Node.js opens hundreds of files of its own; only those on the volume count.
      const paths = names.startsWith('open')
        ? [layout.root, layout.blobs, layout.ingest, layout.quarantine, layout.state].concat(
            manifest.files.map(({ sha256 }) => join(layout.blobs, sha256)),
          )
        : [];
      return [
        ...['strace', '-f', '-qq', '-o', '/dev/null', '-e', `trace=${calls}`],
        ...['-e', `inject=${calls}:signal=KILL:when=${step}`],
        ...paths.flatMap((path) => ['-P', path]),
      ];
    },
  };
}

/** Kills a scene at every step until it runs to its end, and lets each recover. Returns the number of cycles. */
export async function crashEverywhere(
  trial: Trial,
  scene: Scene,
  killer: Killer,
  options: {
    readonly lanes?: number;
    readonly stride?: number;
    /** These steps instead of each one. */
    readonly steps?: readonly number[];
    /** At which step of its recovery it is killed once more. */
    readonly second?: () => number;
  } = {},
): Promise<number> {
  const { lanes = 3, stride = 1, second } = options;
  const chosen = options.steps && [...options.steps];
  const folder = await trial.sandbox.folder();
  let next = 1;
  let ended = false;
  let cycles = 0;
  const lane = async (index: number): Promise<void> => {
    const origin = await trial.sandbox.origin();
    for (const model of scene.models) serve(origin, model);
    for (;;) {
      const step = chosen ? chosen.shift() : next;
      next += stride;
      if (step === undefined || (ended && !chosen)) return;
      const volume = join(folder, `lane-${index}`, 'volume');
      await mkdir(join(folder, `lane-${index}`), { recursive: true });
      await trial.attempt(`${scene.name}, killed at ${killer.name} ${step}`, async () => {
        ended ||= !(await crashOnce(trial, scene, killer, { step, volume, origin, second }));
        cycles += 1;
      });
      // A scene that never ends is one whose killer never misses.
      if (step > 2_000) throw new Error(`${scene.name}: still killed at step ${step}`);
    }
  };
  await Promise.all(Array.from({ length: lanes }, (_, index) => lane(index)));
  return cycles;
}

interface Crash {
  readonly step: number;
  readonly volume: string;
  readonly origin: Origin;
  readonly second: (() => number) | undefined;
}

/** @returns whether the process was killed at all: it may have ended before that step */
async function crashOnce(
  trial: Trial,
  scene: Scene,
  killer: Killer,
  { step, volume, origin, second }: Crash,
): Promise<boolean> {
  await stage(scene, volume);
  const env = {
    ...scene.env,
    MODEL_CACHE_DIR: volume,
    MODEL_SOURCES: 'hub',
    HF_ENDPOINT: origin.url,
    HF_HUB_OFFLINE: 'false',
  };
  const command = [...killer.prefix(step, volume, scene), process.execPath, 'dist/main.js'];
  const crashed = await trial.sandbox.run(scene.args, { ...env, ...killer.env(step) }, command);
  const killed = crashed.signal === 'SIGKILL' || crashed.code === 137;
  check(killed || crashed.code === 0, () => `ended with ${crashed.code}: ${crashed.stderr}`);
  if (second) await trial.sandbox.run(scene.args, { ...env, ...killer.env(second()) });
  const between = await survey(volume, scene.manifest.files);
  noHarm(scene, between, 'after the crash');
  await wholeToo(scene, volume);
  const expected = bytesToFetch(between, scene.manifest);
  // Answers to the dead are still on their way; only what the next run asks for counts.
  const asked = origin.requests.length;
  const startedAt = performance.now();
  const recovered = await trial.sandbox.run(scene.args, env);
  const ms = performance.now() - startedAt;
  check(recovered.code === 0, () => `the next run ended with ${recovered.code}: ${recovered.stderr}`);
  if (killed) trial.healed(ms);
  const fetched = origin.requests.slice(asked).reduce((sum, { bytesSent }) => sum + bytesSent, 0);
  check(fetched === expected, `fetched ${fetched} bytes, ${expected} were lacking`);
  await settled(trial, scene, volume);
  check(ms < 15_000, `the next run took ${Math.round(ms)} ms`);
  return killed;
}

/** Every blob is absent, whole, or as bad as it was before. */
function noHarm(scene: Scene, { torn }: Survey, when: string): void {
  const harmed = torn.filter((sha256) => !scene.spoiled.has(sha256));
  check(harmed.length === 0, `${when}: torn blobs ${harmed.join(', ')}`);
}

async function wholeToo({ alsoWhole }: Scene, volume: string): Promise<void> {
  if (!alsoWhole) return;
  const { whole } = await survey(volume, alsoWhole.files);
  check(
    whole.size === new Set(alsoWhole.files.map(({ sha256 }) => sha256)).size,
    'the other model was harmed',
  );
}

async function settled(trial: Trial, scene: Scene, volume: string): Promise<void> {
  const after = await survey(volume, scene.manifest.files);
  check(after.torn.length === 0, 'a blob is still torn');
  check(after.whole.size === new Set(scene.manifest.files.map(({ sha256 }) => sha256)).size, 'not whole');
  await wholeToo(scene, volume);
  const blobs = await survey(
    volume,
    (scene.gone ?? []).map((sha256) => ({ path: sha256, size: 0, sha256 })),
  );
  check(blobs.whole.size === 0, 'what was to be pruned is still there');
  check(after.strays.length <= scene.maxStrays, () => `left behind: ${after.strays.join(', ')}`);
  trial.left(scene.alsoWhole ? 0 : after.strayBytes);
}
