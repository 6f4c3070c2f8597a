import { describe, expect, it } from 'vitest';
import { mapConcurrent, Turns } from '../../src/shared/concurrent.js';

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

describe('turns', () => {
  /** Takes up this turn. */
  const work = (ms: number): void => {
    for (const until = performance.now() + ms; performance.now() < until; );
  };

  it('are over when their time is, and the next one begins anew', async () => {
    const turns = new Turns();
    expect(turns.over).toBe(false);
    work(10);
    expect(turns.over).toBe(true);
    await new Promise((resolve) => setImmediate(resolve));
    expect(turns.over).toBe(false);
  });

  it('let what else arrives go first, and those who wait go on in their order', async () => {
    const turns = new Turns();
    const order: string[] = [];
    const pieces = ['a', 'b', 'c'].map(async (name) => {
      if (turns.over) await turns.next('client');
      order.push(name);
      work(10);
    });
    // As it would be read from a socket: after the first piece has used the turn, before the last one.
    setImmediate(() => order.push('probe'));
    expect([turns.waiting('client'), turns.waiting('another')]).toEqual([2, 0]);
    await Promise.all(pieces);
    await new Promise((resolve) => setImmediate(resolve));
    expect(turns.waiting('client')).toBe(0);
    expect(order.indexOf('probe')).toBeLessThan(order.indexOf('c'));
    expect(order.filter((name) => name !== 'probe')).toEqual(['a', 'b', 'c']);
  });
});
