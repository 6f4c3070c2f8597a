import { expect, it } from 'vitest';
import { layoutOf } from '../../src/cache/layout.js';
import { loadManifest, type Manifest } from '../../src/cache/manifest.js';
import { builtInManifest } from '../../src/config/program-files.js';
import { backgroundVectors, formerModels, routeCaches } from '../../src/daemon/model.js';
import { temporaryFolder } from '../support/volume.js';

const OTHER_DIGEST = `sha256:${'0'.repeat(64)}`;

it('keeps vectors for the model that made them, and for no other model or dimension', async () => {
  const q8 = await loadManifest(builtInManifest('q8'));
  const layout = layoutOf(await temporaryFolder());
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
  const layout = layoutOf(await temporaryFolder());
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
