import { appendFile, mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { goldenAnswers } from '../../campaign/load.js';
import { check, type Trial } from '../../campaign/trial.js';
import { blobPath, layoutOf } from '../../src/cache/layout.js';
import { loadManifest, type Manifest } from '../../src/cache/manifest.js';
import { builtInManifest } from '../../src/config/program-files.js';
import { crashPoint } from '../../test/support/crash-point-env.js';
import { flipBit } from '../rot.js';
import { survey } from '../volume.js';

/** What a volume looks like before a daemon boots on it. */
interface Beginning {
  readonly name: string;
  make(trial: Trial, manifest: Manifest): Promise<string>;
}

const BEGINNINGS: readonly Beginning[] = [
  {
    name: 'first boot of the daemon',
    async make(trial) {
      const volume = join(await trial.sandbox.folder(), 'volume');
      await mkdir(volume);
      return volume;
    },
  },
  {
    name: 'repair boot of the daemon',
    async make(trial, manifest) {
      const volume = await trial.sandbox.filledVolume();
      for (const { sha256 } of manifest.files.slice(0, 3))
        await flipBit(blobPath(layoutOf(volume), sha256), 50);
      return volume;
    },
  },
];

/**
 * The real daemon with the real model, killed before its disk changes: before each that is no write (the writes of
 * a blob differ in their offset only), and before some of the writes. Afterwards it has to serve the golden answers.
 */
export async function daemonCrashes(trial: Trial): Promise<void> {
  const manifest = await loadManifest(builtInManifest('q8'));
  for (const beginning of BEGINNINGS) {
    const steps = await stepsOf(trial, beginning, manifest);
    const lane = async (): Promise<void> => {
      for (let step = steps.shift(); step !== undefined; step = steps.shift()) {
        const at = step;
        await trial.attempt(`${beginning.name}, killed at ${at}`, () =>
          crash(trial, beginning, manifest, at),
        );
      }
    };
    trial.note(
      `${beginning.name}: killed at ${steps.length} steps, real model, then asked for the golden answers`,
    );
    await Promise.all([lane(), lane()]);
  }
}

async function stepsOf(trial: Trial, beginning: Beginning, manifest: Manifest): Promise<number[]> {
  const trace = join(await trial.sandbox.folder(), 'trace');
  await appendFile(trace, '');
  const volume = await beginning.make(trial, manifest);
  const daemon = await trial.sandbox.daemon({
    MODEL_CACHE_DIR: volume,
    ...crashPoint({ trace }),
  });
  await daemon.ready(60_000);
  await daemon.stop();
  const changes = (await readFile(trace, 'utf8'))
    .trimEnd()
    .split('\n')
    .map((line) => line.split(' '));
  const writes = changes.filter(([, op]) => op === 'write').map(([step]) => Number(step));
  const others = changes.filter(([, op]) => op !== 'write').map(([step]) => Number(step));
  const some = Array.from({ length: 8 }, () => trial.random.pick(writes));
  return [...new Set([...others, ...some])].sort((a, b) => a - b);
}

async function crash(trial: Trial, beginning: Beginning, manifest: Manifest, step: number): Promise<void> {
  const volume = await beginning.make(trial, manifest);
  const env = { MODEL_CACHE_DIR: volume };
  try {
    const first = await trial.sandbox.daemon({ ...env, ...crashPoint({ at: step }) });
    // It ends itself at the step; a run with fewer steps than the traced one becomes ready and is ended here.
    await Promise.race([
      new Promise((resolve) => first.child.once('exit', resolve)),
      first.ready(60_000),
    ]).catch(() => undefined);
    await first.stop('SIGKILL');
  } catch {
    // Killed before it listened.
  }
  if (beginning.name.startsWith('first')) {
    const { torn } = await survey(volume, manifest.files);
    check(torn.length === 0, `torn: ${torn.join()}`);
  }
  const startedAt = performance.now();
  const next = await trial.sandbox.daemon(env);
  await next.ready(60_000);
  trial.healed(performance.now() - startedAt);
  check(
    JSON.stringify(await goldenAnswers(next.url)) === JSON.stringify(trial.sandbox.golden),
    'other answers',
  );
  const after = await survey(volume, manifest.files);
  check(after.torn.length === 0 && after.whole.size === manifest.files.length, 'not whole');
  check(
    after.strays.every((path) => path.startsWith('quarantine/')),
    `left: ${after.strays.join()}`,
  );
  trial.left(after.strayBytes);
  await next.stop();
}
