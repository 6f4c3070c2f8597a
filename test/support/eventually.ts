import { setTimeout as sleep } from 'node:timers/promises';

/** Longer than a test may take: what waits for it hangs. */
export const ENDLESS_MS = 600_000;

/** Bounds of {@link eventually}, in milliseconds. */
export interface EventuallyOptions {
  /** When it gives up; default: 20 s, since the machine may be busy. */
  readonly within?: number;
  readonly every?: number;
}

/**
 * Repeats `check` until it does not throw, and returns its result. The only way to wait in tests and benchmarks.
 * @throws the last error of `check` when the time is up
 */
export async function eventually<T>(
  check: () => T | Promise<T>,
  { within = 20_000, every = 10 }: EventuallyOptions = {},
): Promise<T> {
  const end = performance.now() + within;
  for (;;) {
    try {
      return await check();
    } catch (error) {
      if (performance.now() > end) throw error;
    }
    await sleep(every);
  }
}
