import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { VolumeWatch } from '../../../src/telemetry/metrics/cache.js';

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

it('tells what it saw last while the volume hangs, for a while, and looks no second time until it has an answer', async () => {
  const space = { freeBytes: 1, totalBytes: 2 };
  let answer: (() => void) | undefined;
  let looks = 0;
  const watch = new VolumeWatch({
    space: async () => {
      looks += 1;
      if (looks > 1) await new Promise<void>((resolve) => (answer = resolve));
      return { ...space, freeBytes: looks };
    },
    quarantined: async () => ['one'],
  });
  await vi.advanceTimersByTimeAsync(0);
  expect(watch.seen.space).toEqual(space);
  expect(watch.seen.quarantined).toBe(1);
  await vi.advanceTimersByTimeAsync(15_000);
  expect(looks).toBe(2);
  expect(watch.seen.space).toEqual(space);
  await vi.advanceTimersByTimeAsync(15_000);
  expect(looks).toBe(2);
  expect(watch.seen.space).toBeUndefined();
  expect(watch.seen.quarantined).toBeUndefined();
  answer?.();
  await vi.advanceTimersByTimeAsync(0);
  expect(watch.seen.space?.freeBytes).toBe(2);
  await vi.advanceTimersByTimeAsync(5_000);
  expect(looks).toBe(3);
});
