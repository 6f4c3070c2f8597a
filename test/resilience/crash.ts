import { cp, mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { expect } from 'vitest';
import { blobPath, layoutOf } from '../../src/cache/layout.js';
import { type Manifest, parseManifest } from '../../src/cache/manifest.js';
import { crashPoint } from '../support/crash-point-env.js';
import type { Origin } from '../support/origin.js';
import type { Ended } from '../support/run.js';
import { smallModel } from '../support/small-model.js';
import type { Box } from './box.js';
import { bytesToFetch, flipBit, survey } from './rot.js';

/** A model of random bytes, with the manifest that pins it and the file that holds the manifest. */
export interface SmallModel {
  readonly manifest: Manifest;
  readonly files: ReadonlyMap<string, Buffer>;
  readonly manifestFile: string;
}

/** A command that changes a volume, to be killed at each of its steps. */
export interface Scene {
  readonly name: string;
  /** The volume as the command finds it; it is copied for each crash. */
  readonly before: string;
  readonly args: readonly string[];
  /** The model that the command fetches from the origin. */
  readonly model: SmallModel;
  /** Blobs that are bad before, and may be so until they are replaced. */
  readonly spoiled?: readonly string[];
  /** Another model on the volume, which must stay whole. */
  readonly other?: SmallModel;
  /** Whether the command removes the other model instead. */
  readonly prunes?: true;
  /** Files that may remain besides what belongs there: evidence with its note, the other model. */
  readonly maxStrays: number;
}

/** Makes a model; `like` shares its tokenizer with it, as another revision does. */
export async function makeModel(box: Box, modelBytes: number, like?: SmallModel): Promise<SmallModel> {
  const made = smallModel(modelBytes, (length) => box.random.bytes(length));
  if (!like) return { ...made, manifestFile: await box.manifestFile(made.manifest) };
  const shared = like.manifest.files.find(({ path }) => path === 'tokenizer.json');
  const { digest: _, ...rest } = made.manifest;
  const files = rest.files.map((file) => (file.path === shared?.path ? shared : file));
  const manifest = parseManifest(
    JSON.stringify({ ...rest, revision: 'b'.repeat(40), files }),
    'second revision',
  );
  const bytes = like.files.get('tokenizer.json') ?? Buffer.alloc(0);
  return {
    manifest,
    files: new Map(made.files).set('tokenizer.json', bytes),
    manifestFile: await box.manifestFile(manifest),
  };
}

/** Lets an origin answer like a hub that has the model. */
export function serve(origin: Origin, { manifest, files }: SmallModel): void {
  for (const [path, bytes] of files)
    origin.put(`/${manifest.repo}/resolve/${manifest.revision}/${path}`, bytes);
}

/** Returns the settings of a command that fetches a model from a hub to a volume. */
export function hubEnv(origin: Origin, { manifestFile }: SmallModel, volume: string): Record<string, string> {
  return {
    MODEL_CACHE_DIR: volume,
    MODEL_MANIFEST: manifestFile,
    MODEL_SOURCES: 'hub',
    HF_ENDPOINT: origin.url,
    HF_HUB_OFFLINE: 'false',
  };
}

/** Runs `pull` and expects that it succeeds. */
export async function pull(box: Box, env: Record<string, string>): Promise<Ended> {
  const ended = await box.run(['pull', '--quiet'], env);
  expect(ended).toMatchObject({ code: 0 });
  return ended;
}

async function filled(box: Box, ...models: readonly SmallModel[]): Promise<string> {
  const volume = await box.noVolume();
  const origin = await box.origin();
  for (const model of models) {
    serve(origin, model);
    await pull(box, hubEnv(origin, model, volume));
  }
  return volume;
}

/** The ways in which a command changes a volume. */
export const SCENES = {
  async 'first boot'(box: Box, bytes: number): Promise<Scene> {
    const model = await makeModel(box, bytes);
    return { name: 'first boot', before: '', args: ['pull', '--quiet'], model, maxStrays: 0 };
  },
  async repair(box: Box, bytes: number): Promise<Scene> {
    const model = await makeModel(box, bytes);
    const before = await filled(box, model);
    const spoiled = model.manifest.files.slice(0, 2).map(({ sha256 }) => sha256);
    for (const sha256 of spoiled) await flipBit(blobPath(layoutOf(before), sha256), 50);
    const args = ['verify', '--repair', '--quiet'];
    return { name: 'repair', before, args, model, spoiled, maxStrays: 4 };
  },
  async 'switch of manifest'(box: Box, bytes: number): Promise<Scene> {
    const other = await makeModel(box, bytes);
    const model = await makeModel(box, bytes, other);
    const before = await filled(box, other);
    return { name: 'switch of manifest', before, args: ['pull', '--quiet'], model, other, maxStrays: 2 };
  },
  async prune(box: Box, bytes: number): Promise<Scene> {
    const model = await makeModel(box, bytes);
    const other = await makeModel(box, bytes, model);
    const before = await filled(box, other, model);
    const args = ['prune', '--drop-builtin', '--ignore-notes', '--partials', '--quarantine'];
    return { name: 'prune', before, args, model, other, prunes: true, maxStrays: 0 };
  },
} as const;

/** Copies the volume that a scene begins with; a first boot begins with none. */
export async function stage({ before }: Scene, volume: string): Promise<void> {
  await rm(volume, { recursive: true, force: true });
  if (before === '') await mkdir(volume, { recursive: true });
  else await cp(before, volume, { recursive: true });
}

/** A way to kill a process at its `step`-th occasion (from 1). */
export interface Killer {
  env(step: number): Readonly<Record<string, string>>;
  /** Prefix of the program on the command line. */
  prefix(step: number, volume: string, scene: Scene): readonly string[];
}

/** SIGKILL before the n-th change of the disk. */
export const DISK_CHANGE: Killer = { env: (at) => crashPoint({ at }), prefix: () => [] };

/** SIGKILL at the n-th of these system calls. One pool thread, since strace counts per thread. */
export function systemCall(names: string): Killer {
  const calls = names.replaceAll(/\b(?=\w)/g, '?').replaceAll(' ', ',');
  return {
    env: () => ({ UV_THREADPOOL_SIZE: '1' }),
    prefix: (step, volume, { model }) => {
      const layout = layoutOf(volume);
      // Node.js opens hundreds of files of its own; only those on the volume count.
      const paths = names.startsWith('open')
        ? [layout.root, layout.blobs, layout.ingest, layout.quarantine, layout.state].concat(
            model.manifest.files.map(({ sha256 }) => blobPath(layout, sha256)),
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

/** How {@link crashEverywhere} chooses its steps. */
export interface CrashOptions {
  readonly stride?: number;
  /** These steps instead of every one. */
  readonly steps?: readonly number[];
  /** Returns the step at which the recovery is killed as well. */
  readonly second?: () => number;
}

/**
 * Kills a command at every step until it runs to its end; each time the next run has to recover, with no torn blob,
 * and fetch exactly the bytes that were lacking.
 */
export async function crashEverywhere(
  box: Box,
  scene: Scene,
  killer: Killer,
  { stride = 1, steps, second }: CrashOptions = {},
): Promise<void> {
  const origin = await box.origin();
  serve(origin, scene.model);
  const volume = join(await box.folder(), 'volume');
  let cycles = 0;
  const chosen = steps?.values();
  for (let step = 1; step < 2_000; step += stride) {
    const at = chosen ? chosen.next().value : step;
    if (at === undefined) break;
    const killed = await crashOnce(box, scene, { killer, step: at, volume, origin, second });
    cycles += 1;
    if (!killed && !steps) break;
  }
  box.note(`${cycles} cycles`);
}

interface Crash {
  readonly killer: Killer;
  readonly step: number;
  readonly volume: string;
  readonly origin: Origin;
  readonly second: (() => number) | undefined;
}

/** @returns whether the process was killed: it may have ended before that step */
async function crashOnce(box: Box, scene: Scene, crash: Crash): Promise<boolean> {
  const { killer, step, volume, origin, second } = crash;
  const at = `${scene.name}, killed at ${step}`;
  const { args, model, other, spoiled = [] } = scene;
  await stage(scene, volume);
  const env = hubEnv(origin, model, volume);
  const command = [...killer.prefix(step, volume, scene), process.execPath, 'dist/main.js'];
  const crashed = await box.run(args, { ...env, ...killer.env(step) }, command);
  const killed = crashed.signal === 'SIGKILL' || crashed.code === 137;
  if (!killed) expect(crashed, at).toMatchObject({ code: 0 });
  if (second) await box.run(args, { ...env, ...crashPoint({ at: second() }) });
  const between = await survey(volume, model.manifest);
  expect(
    between.torn.filter((sha256) => !spoiled.includes(sha256)),
    `${at}: torn blobs`,
  ).toEqual([]);
  const lacking = bytesToFetch(between, model.manifest.files);
  // Answers to the dead are still being sent; only requests of the next run count.
  const asked = origin.requests.length;
  expect(await box.run(args, env), `${at}: the next run`).toMatchObject({ code: 0 });
  const fetched = origin.requests.slice(asked).reduce((sum, { bytesSent }) => sum + bytesSent, 0);
  expect(fetched, `${at}: bytes fetched`).toBe(lacking);
  const after = await survey(volume, model.manifest);
  expect([after.torn, after.whole.size], at).toEqual([[], model.manifest.files.length]);
  expect(after.strays.length, `${at}: ${after.strays.join()}`).toBeLessThanOrEqual(scene.maxStrays);
  if (other) {
    const { whole } = await survey(volume, other.manifest);
    // They share the tokenizer.
    expect(whole.size, `${at}: the other model`).toBe(scene.prunes ? 1 : other.manifest.files.length);
  }
  return killed;
}
