import { vi } from 'vitest';

/** Waits until `check` throws nothing, for as long as a busy machine may take; Vitest's own patience is a second. */
export function eventually<T>(check: () => T | Promise<T>): Promise<T> {
  return vi.waitFor(check, { timeout: 20_000, interval: 20 });
}
