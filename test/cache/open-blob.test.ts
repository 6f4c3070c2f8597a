import { expect, it } from 'vitest';
import { layoutOf } from '../../src/cache/layout.js';
import { BlobOpener } from '../../src/cache/open-blob.js';
import { smallModel, temporaryFolder } from '../support/volume.js';

it('gives each reader its turns', async () => {
  const { manifest, files } = smallModel(2_000_000);
  const [weights] = manifest.files;
  if (!weights) throw new Error('a model has files');
  const opener = new BlobOpener(layoutOf(await temporaryFolder()));
  opener.keep(weights, files.get(weights.path) ?? Buffer.alloc(0));
  const order: number[] = [];
  await Promise.all(
    [0, 1, 2].map(async (reader) => {
      const blob = await opener.open(weights);
      for await (const piece of blob.stream(0, blob.size)) {
        expect(piece.length).toBeGreaterThan(0);
        order.push(reader);
      }
    }),
  );
  expect(order).toEqual(Array.from(order.keys(), (turn) => turn % 3));
});
