import { mkdir, readdir, rm, symlink, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { type Layout, layoutOf } from '../../src/cache/layout.js';
import { loadManifest, type Manifest } from '../../src/cache/manifest.js';
import { builtInManifest } from '../../src/config/program-files.js';
import { backgroundVectors, formerModels, routeCaches } from '../../src/daemon/model.js';
import { temporaryFolder } from '../support/volume.js';

/** The layout of a volume whose folders a verification has made. */
async function preparedLayout(): Promise<Layout> {
  const layout = layoutOf(await temporaryFolder());
  for (const folder of [layout.vectors, layout.ingest]) await mkdir(folder, { recursive: true });
  return layout;
}

const OTHER_DIGEST = `sha256:${'0'.repeat(64)}`;

it('keeps vectors for the model that made them, and for no other model or dimension', async () => {
  const q8 = await loadManifest(builtInManifest('q8'));
  const layout = await preparedLayout();
  const vector = new Float32Array(384).fill(1 / Math.sqrt(384));
  await routeCaches(layout, q8).cache.put(new Map([['hello', vector]]));
  const found = async (manifest: Manifest) =>
    (await routeCaches(layout, manifest).cache.get(['hello'])).vectors;
  expect(await found(q8)).toEqual(new Map([['hello', vector]]));
  expect(await found({ ...q8, digest: OTHER_DIGEST })).toEqual(new Map());
  expect(await found({ ...q8, embedding: { ...q8.embedding, dimension: 383 } })).toEqual(new Map());
});

it('names the models that left vectors on the volume, until this model has its own', async () => {
  const [q8, dynamic] = await Promise.all([
    loadManifest(builtInManifest('q8')),
    loadManifest(builtInManifest('q8-dynamic')),
  ]);
  const layout = await preparedLayout();
  const vectors = new Map([['hello', new Float32Array(384).fill(1 / Math.sqrt(384))]]);
  expect(await formerModels(layout, q8)).toEqual([]);
  await routeCaches(layout, dynamic, 'commands').cache.put(vectors);
  expect(await formerModels(layout, q8)).toEqual([]);
  await routeCaches(layout, dynamic).cache.put(vectors);
  expect(await formerModels(layout, q8)).toEqual([dynamic.digest]);
  expect(await formerModels(layout, dynamic)).toEqual([]);
  await routeCaches(layout, q8).cache.put(vectors);
  expect(await formerModels(layout, q8)).toEqual([]);
});

it('has background vectors for the built-in models only', async () => {
  const q8 = await loadManifest(builtInManifest('q8'));
  expect((await backgroundVectors(q8))?.length).toBeGreaterThan(100 * 384);
  expect(await backgroundVectors({ ...q8, digest: OTHER_DIGEST })).toBeUndefined();
  expect(await backgroundVectors({ ...q8, variant: 'own' })).toBeUndefined();
});

it('reads no file that is larger than a set can need, and writes through no link', async () => {
  const q8 = await loadManifest(builtInManifest('q8'));
  const layout = await preparedLayout();
  for (const name of ['', '.heads', '.head-texts']) {
    const path = join(layout.vectors, `${q8.digest.slice(7)}${name}.bin`);
    await writeFile(path, '');
    await truncate(path, 2 ** 30);
  }
  const { cache, auxiliary, heads } = routeCaches(layout, q8);
  const fault = expect.stringContaining('can be needed');
  expect(await cache.get(['hello'])).toEqual({ vectors: new Map(), fault });
  expect(await auxiliary.get(['hello'])).toEqual({ vectors: new Map(), fault });
  expect(await heads.get('key')).toEqual({ fault });

  const outside = await temporaryFolder();
  await rm(layout.vectors, { recursive: true });
  await symlink(outside, layout.vectors);
  const vector = new Float32Array(384).fill(1 / Math.sqrt(384));
  await expect(cache.put(new Map([['hello', vector]]))).rejects.toMatchObject({ code: 'volume_unavailable' });
  await expect(heads.put('0'.repeat(64), new Uint8Array(8))).rejects.toMatchObject({
    code: 'volume_unavailable',
  });
  expect(await readdir(outside)).toEqual([]);
});
