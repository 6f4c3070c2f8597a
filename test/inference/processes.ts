import { readFileSync } from 'node:fs';
import type { WorkerPool } from '../../src/inference/pool.js';

/** Whether a process runs; one that is dead and merely waits for its parent to take notice does not. */
export function isAlive(pid: number): boolean {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    return !/^[ZX]/.test(stat.slice(stat.lastIndexOf(')') + 2));
  } catch {
    return false;
  }
}

/** The process ids of a pool's present workers. */
export function pidsOf(pool: WorkerPool): number[] {
  return pool.status().workers.flatMap(({ pid }) => (pid === null ? [] : [pid]));
}

/** Waits until `condition` holds. */
export async function until(condition: () => boolean, what: string, timeoutMs = 15_000): Promise<void> {
  const end = performance.now() + timeoutMs;
  while (!condition()) {
    if (performance.now() > end) throw new Error(`waited ${timeoutMs} ms for: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
