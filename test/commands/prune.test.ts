import { readdir, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { layoutOf } from '../../src/cache/layout.js';
import { type Manifest, parseManifest } from '../../src/cache/manifest.js';
import { Origin } from '../support/origin.js';
import { pin, smallModel, temporaryFolder } from '../support/volume.js';
import { manifestFile, run, runJson } from './program.js';

/** Two models that differ in their weights only. */
const { manifest: first, files } = smallModel();
const otherWeights = Buffer.alloc(200_000, 3);
const second: Manifest = parseManifest(
  JSON.stringify({
    ...first,
    digest: undefined,
    variant: 'fp32',
    revision: 'b'.repeat(40),
    files: [pin('onnx/other.onnx', otherWeights), ...first.files.slice(1)],
    embedding: { ...first.embedding, model: 'onnx/other.onnx' },
  }),
  'second manifest',
);
const digests = {
  first: first.files[0]?.sha256 ?? '',
  second: second.files[0]?.sha256 ?? '',
  shared: first.files.slice(1).map(({ sha256 }) => sha256),
};

interface PruneReport {
  removed: { kind: string; name: string; bytes: number }[];
  bytes_freed: number;
  kept_by_notes: string[];
  kept_blobs: string[];
}

let fileOf = { first: '', second: '' };

/** A volume that holds both models, the first one pulled first. */
async function both() {
  const volume = await temporaryFolder();
  const origin = await Origin.start();
  onTestFinished(() => origin.close());
  for (const [path, bytes] of files) origin.put(`/${path}`, bytes);
  origin.put('/onnx/other.onnx', otherWeights);
  fileOf = { first: await manifestFile(first), second: await manifestFile(second) };
  const env = { MODEL_CACHE_DIR: volume, MODEL_SOURCES: 'mirror', MODEL_MIRRORS: origin.url };
  const pull = async (which: 'first' | 'second'): Promise<void> => {
    expect((await run(['pull'], { ...env, MODEL_MANIFEST: fileOf[which] })).code).toBe(0);
  };
  await pull('first');
  const afterFirst = origin.requests.length;
  await pull('second');
  return { volume, origin, env, pull, afterFirst };
}

async function blobs(volume: string): Promise<string[]> {
  return (await readdir(layoutOf(volume).blobs)).sort();
}

describe('switching between two manifests on one volume', () => {
  it('fetches shared blobs once, and rolls back without a request', async () => {
    const { origin, afterFirst, pull } = await both();
    const asked = origin.requests.slice(afterFirst).map(({ path }) => path);
    expect(asked.filter((path) => !path.includes('resolve'))).toEqual(['/onnx/other.onnx']);
    expect(asked.some((path) => path.includes('tokenizer'))).toBe(false);
    const before = origin.requests.length;
    await pull('first');
    await pull('second');
    expect(origin.requests.length).toBe(before);
  });
});

describe('prune', () => {
  it('says in a dry run what it would remove, and removes nothing', async () => {
    const { volume, env } = await both();
    const before = await blobs(volume);
    const { code, report } = await runJson<PruneReport>(
      ['prune', '--dry-run', '--manifest', fileOf.second],
      env,
    );
    expect(code).toBe(0);
    expect(report.removed).toMatchObject([{ kind: 'blob', name: digests.first, bytes: 300_000 }]);
    expect(report.bytes_freed).toBe(300_000);
    expect(await blobs(volume)).toEqual(before);
  });

  it('removes only what no kept manifest names', async () => {
    const { volume, env, origin, pull } = await both();
    const { code, stdout } = await run(['prune', '--manifest', fileOf.second], env);
    expect(code).toBe(0);
    expect(stdout).toMatch(/removed 1 file, 300\.0 kB/);
    expect(await blobs(volume)).toEqual([digests.second, ...digests.shared].sort());
    const before = origin.requests.length;
    await pull('second');
    expect(origin.requests.length).toBe(before);
    await pull('first');
    expect(origin.requests.length).toBeGreaterThan(before);
  });

  it('keeps what --keep names', async () => {
    const { volume, env } = await both();
    const before = await blobs(volume);
    const { report } = await runJson<PruneReport>(
      ['prune', '--manifest', fileOf.second, '--keep', fileOf.first, '--drop-builtin'],
      env,
    );
    expect(report.removed).toEqual([]);
    expect(await blobs(volume)).toEqual(before);
  });

  it('keeps what the last daemon used, though the settings of this shell name another model', async () => {
    const { volume, env } = await both();
    const args = ['prune', '--manifest', fileOf.first];
    const { report } = await runJson<PruneReport>(args, env);
    expect(report.removed).toEqual([]);
    expect(report.kept_by_notes).toEqual([digests.second]);
    const { report: told } = await runJson<PruneReport>([...args, '--ignore-notes'], env);
    expect(told.removed.map(({ name }) => name)).toEqual([digests.second]);
    expect(await blobs(volume)).toEqual([digests.first, ...digests.shared].sort());
  });

  it('removes partials and quarantine only with their options, and never a foreign file', async () => {
    const { volume, env } = await both();
    const layout = layoutOf(volume);
    const partial = join(layout.ingest, `${digests.first}.000000000000-1-1-0.part`);
    await writeFile(partial, 'half');
    await writeFile(join(layout.quarantine, `${digests.first}.1`), 'bad');
    await writeFile(join(layout.blobs, 'README'), 'mine');
    const args = ['prune', '--manifest', fileOf.second, '--keep', fileOf.first];
    expect((await runJson<PruneReport>(args, env)).report.removed).toEqual([]);
    // A process in another container may still be writing it.
    const flags = ['--partials', '--quarantine'];
    const held = await runJson<PruneReport>([...args, ...flags], env);
    expect(held.report.removed.map(({ kind }) => kind)).toEqual(['quarantine']);
    await utimes(partial, 1, 1);
    const { report } = await runJson<PruneReport>([...args, ...flags], env);
    expect(report.removed).toMatchObject([{ kind: 'partial', bytes: 4 }]);
    expect(await readdir(layout.quarantine)).toEqual([]);
    expect(await blobs(volume)).toContain('README');
  });

  it.each(['prune', 'verify', 'status'])(
    '%s fails on a folder that is not there, by its name',
    async (name) => {
      const folder = join(await temporaryFolder(), 'none');
      const { code, stderr } = await run([name, '--cache-dir', folder]);
      expect(code).toBe(1);
      expect(stderr).toBe(
        `ai-router ${name}: ${folder} does not exist; "ai-router pull" makes and fills it\n`,
      );
    },
  );
});
