import { expect, it } from 'vitest';
import { SharedCache } from '../../src/shared/shared-cache.js';

it('keeps a value that weighs nothing', async () => {
  const cache = new SharedCache<object>(2, 10);
  let made = 0;
  const make = async (): Promise<object> => ({ made: ++made });
  const first = await cache.get('a', 0, make);
  expect(await cache.get('a', 0, make)).toBe(first);
});
