import { cp, mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Trial } from '../campaign/trial.js';
import { blobPath, layoutOf } from '../src/cache/layout.js';
import { type Manifest, parseManifest } from '../src/cache/manifest.js';
import type { Origin } from '../test/support/origin.js';
import { smallModel } from '../test/support/small-model.js';
import { flipBit } from './rot.js';

/** A model of random bytes, with the manifest that pins it and the file that holds the manifest. */
export interface SmallModel {
  readonly manifest: Manifest;
  readonly files: ReadonlyMap<string, Buffer>;
  readonly manifestFile: string;
}

/** A process that changes a volume, to be killed at each of its steps. */
export interface Scene {
  readonly name: string;
  /** The volume as the process finds it; it is copied for each crash. */
  readonly before: string;
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  /** What the process makes whole. */
  readonly manifest: Manifest;
  /** Blobs that are bad before, and may be so until they are replaced. */
  readonly spoiled: ReadonlySet<string>;
  /** Another model on the volume that must come to no harm. */
  readonly alsoWhole?: Manifest;
  /** Blobs that must be gone in the end. */
  readonly gone?: readonly string[];
  /** How many files may be left in the end besides what belongs there: evidence with its note. */
  readonly maxStrays: number;
  /** The models that an origin must have. */
  readonly models: readonly SmallModel[];
}

export async function makeModel(trial: Trial, modelBytes: number, like?: SmallModel): Promise<SmallModel> {
  const made = smallModel(modelBytes, (length) => trial.random.bytes(length));
  if (!like) return { ...made, manifestFile: await trial.sandbox.manifestFile(made.manifest) };
  // Another revision that shares its tokenizer with the first one.
  const shared = like.manifest.files.find(({ path }) => path === 'tokenizer.json');
  const bytes = like.files.get('tokenizer.json');
  const { digest: _, ...rest } = made.manifest;
  if (!shared || !bytes) throw new Error('no tokenizer to share');
  const manifest = parseManifest(
    JSON.stringify({
      ...rest,
      revision: 'b'.repeat(40),
      files: rest.files.map((file) => (file.path === 'tokenizer.json' ? shared : file)),
    }),
    'second revision',
  );
  const files = new Map(made.files).set('tokenizer.json', bytes);
  return { manifest, files, manifestFile: await trial.sandbox.manifestFile(manifest) };
}

/** Lets an origin answer like a hub that has the model. */
export function serve(origin: Origin, { manifest, files }: SmallModel): void {
  for (const [path, bytes] of files)
    origin.put(`/${manifest.repo}/resolve/${manifest.revision}/${path}`, bytes);
}

/** Settings of a command that fetches from a hub. */
export function hubEnv(
  origin: Origin,
  { manifestFile }: Pick<SmallModel, 'manifestFile'>,
): Record<string, string> {
  return {
    MODEL_MANIFEST: manifestFile,
    MODEL_SOURCES: 'hub',
    HF_ENDPOINT: origin.url,
    HF_HUB_OFFLINE: 'false',
  };
}

/** Fills a volume from an origin of its own. */
export async function fillFrom(trial: Trial, volume: string, model: SmallModel): Promise<void> {
  const origin = await trial.sandbox.origin();
  serve(origin, model);
  const { code, stderr } = await trial.sandbox.run(
    ['pull', '--quiet', '--cache-dir', volume],
    hubEnv(origin, model),
  );
  if (code !== 0) throw new Error(`pull failed: ${stderr}`);
}

export async function firstBoot(trial: Trial, modelBytes: number): Promise<Scene> {
  const model = await makeModel(trial, modelBytes);
  return {
    name: `first boot (${Math.round(modelBytes / 1_000)} kB)`,
    before: join(await trial.sandbox.folder(), 'nothing'),
    args: ['pull', '--quiet'],
    env: { MODEL_MANIFEST: model.manifestFile },
    manifest: model.manifest,
    spoiled: new Set(),
    maxStrays: 0,
    models: [model],
  };
}

export async function repair(trial: Trial, modelBytes: number): Promise<Scene> {
  const model = await makeModel(trial, modelBytes);
  const before = join(await trial.sandbox.folder(), 'volume');
  await fillFrom(trial, before, model);
  const spoiled = new Set<string>();
  for (const { sha256 } of model.manifest.files.slice(0, 2)) {
    await flipBit(blobPath(layoutOf(before), sha256), 50);
    spoiled.add(sha256);
  }
  return {
    name: 'repair',
    before,
    args: ['verify', '--repair', '--quiet'],
    env: { MODEL_MANIFEST: model.manifestFile },
    manifest: model.manifest,
    spoiled,
    // Two bad files and their notes.
    maxStrays: 4,
    models: [model],
  };
}

export async function switchOfManifest(trial: Trial, modelBytes: number): Promise<Scene> {
  const first = await makeModel(trial, modelBytes);
  const second = await makeModel(trial, modelBytes, first);
  const before = join(await trial.sandbox.folder(), 'volume');
  await fillFrom(trial, before, first);
  const old = first.manifest.files.filter(({ path }) => path !== 'tokenizer.json');
  return {
    name: 'switch of manifest',
    before,
    args: ['pull', '--quiet'],
    env: { MODEL_MANIFEST: second.manifestFile },
    manifest: second.manifest,
    spoiled: new Set(),
    alsoWhole: first.manifest,
    maxStrays: old.length,
    models: [second],
  };
}

export async function prune(trial: Trial, modelBytes: number): Promise<Scene> {
  const kept = await makeModel(trial, modelBytes);
  const old = await makeModel(trial, modelBytes, kept);
  const before = join(await trial.sandbox.folder(), 'volume');
  await fillFrom(trial, before, old);
  await fillFrom(trial, before, kept);
  return {
    name: 'prune',
    before,
    args: ['prune', '--drop-builtin', '--ignore-notes', '--partials', '--quarantine'],
    env: { MODEL_MANIFEST: kept.manifestFile },
    manifest: kept.manifest,
    spoiled: new Set(),
    gone: old.manifest.files.filter(({ path }) => path !== 'tokenizer.json').map(({ sha256 }) => sha256),
    maxStrays: 0,
    models: [kept],
  };
}

/** Copies the volume that a scene begins with; a first boot begins with none. */
export async function stage({ before }: Scene, volume: string): Promise<void> {
  await rm(volume, { recursive: true, force: true });
  await cp(before, volume, { recursive: true }).catch(() => mkdir(volume, { recursive: true }));
}
