import { expect, it } from 'vitest';
import { mapConcurrent } from '../../src/shared/concurrent.js';

it('gives way to other work where no item waits for anything', async () => {
  let turns = 0;
  let done = false;
  const count = (): void => {
    turns += 1;
    if (!done) setImmediate(count);
  };
  setImmediate(count);
  const items = Array.from({ length: 40 }, (_, index) => index);
  const results = await mapConcurrent(items, 4, async (item) => {
    const until = performance.now() + 2;
    while (performance.now() < until);
    return item;
  });
  done = true;
  expect(results).toEqual(items);
  expect(turns).toBeGreaterThan(2);
});

it('lets many items listen to its signal without a warning', async () => {
  const warnings: Error[] = [];
  const onWarning = (warning: Error) => void warnings.push(warning);
  process.on('warning', onWarning);
  const items = Array.from({ length: 40 }, (_, index) => index);
  await mapConcurrent(items, 40, (_, signal) => {
    signal.addEventListener('abort', () => {});
    return new Promise((resolve) => setImmediate(resolve));
  });
  process.off('warning', onWarning);
  expect(warnings).toEqual([]);
});
