import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { blobPath, layoutOf } from '../../src/cache/layout.js';
import { loadManifest } from '../../src/cache/manifest.js';
import { builtInManifest } from '../../src/config/program-files.js';
import { modelFiles, placesOf } from '../../src/daemon/read-model.js';
import { readPlaced } from '../../src/inference/read-placed.js';
import { temporaryFolder } from '../support/volume.js';

it('a model lies on the volume, and in the bundled copy only where that is a source', async () => {
  const manifest = await loadManifest(builtInManifest('q8'));
  const cacheDir = await temporaryFolder();
  const bundledDir = 'model';
  const blobs = modelFiles(manifest).map(({ sha256 }) => blobPath(layoutOf(cacheDir), sha256));

  const alone = placesOf(manifest, { cacheDir, bundledDir, sources: ['mirror', 'hub'] });
  expect(alone.files.map(({ paths }) => paths)).toEqual(blobs.map((path) => [path]));
  for (const file of alone.files) {
    await expect(readPlaced(file)).rejects.toMatchObject({ code: 'blob_missing' });
  }

  const places = placesOf(manifest, { cacheDir, bundledDir, sources: ['hub', 'bundled'] });
  expect(places).toMatchObject({ digest: manifest.digest, spec: manifest.embedding });
  for (const [index, { path }] of modelFiles(manifest).entries()) {
    expect(places.files[index]?.paths).toEqual([blobs[index], join(bundledDir, path)]);
    const bytes = await readPlaced(places.files[index] ?? { paths: [], size: 0, sha256: '' });
    expect(bytes.equals(await readFile(join(bundledDir, path)))).toBe(true);
  }
});
