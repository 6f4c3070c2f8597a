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
