import { readFileSync } from 'node:fs';
import { beforeAll, describe, expect, it } from 'vitest';
import { layoutOf } from '../../src/cache/layout.js';
import { loadManifest, type Manifest } from '../../src/cache/manifest.js';
import { builtInManifest } from '../../src/config/program-files.js';
import { routeCaches, shippedRoutes } from '../../src/daemon/route-caches.js';
import { parseRouteSet } from '../../src/routes/routes.js';
import { textDigest } from '../../src/scoring/vector-codec.js';
import { temporaryFolder } from '../support/volume.js';

const set = parseRouteSet(readFileSync('routes/default.yaml', 'utf8'), { origin: 'default.yaml' });
const utterances = set.routes.flatMap((route) => route.utterances);
let q8: Manifest;
beforeAll(async () => {
  q8 = await loadManifest(builtInManifest('q8'));
});

describe('an empty volume', () => {
  it('knows the vectors of the default routes, which come with the program', async () => {
    const { cache } = routeCaches(layoutOf(await temporaryFolder()), q8);
    const { vectors, fault } = await cache.get([...utterances, 'an utterance of somebody else']);
    expect(fault).toBeUndefined();
    expect([...vectors.keys()].sort()).toEqual([...new Set(utterances)].sort());
  });

  it('knows nothing for another model, variant or dimension', async () => {
    const others: Partial<Manifest>[] = [
      { digest: `sha256:${textDigest('another model')}` },
      { variant: 'fp32' },
      { variant: 'somebodys' },
      { embedding: { ...q8.embedding, dimension: 383 } },
    ];
    const layout = layoutOf(await temporaryFolder());
    for (const other of others) {
      const { vectors } = await routeCaches(layout, { ...q8, ...other }).cache.get(utterances);
      expect(vectors.size).toBe(0);
    }
  });
});

it('what comes with the program is never written by it', async () => {
  const { vectors, heads } = shippedRoutes(q8);
  await expect(vectors.put(new Map())).rejects.toThrow('is not written');
  await expect(heads.put(textDigest('key'), new Uint8Array(1))).rejects.toThrow('is not written');
});
