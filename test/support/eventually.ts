import { vi } from 'vitest';

/** Longer than a test may take: what waits for it hangs. */
export const ENDLESS_MS = 600_000;

/** Waits until `check` throws nothing, for as long as a busy machine may take; Vitest's own patience is a second. */
export function eventually<T>(check: () => T | Promise<T>): Promise<T> {
  return vi.waitFor(check, { timeout: 20_000, interval: 20 });
}
