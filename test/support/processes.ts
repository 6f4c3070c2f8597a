import type { ChildProcess } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import type { WorkerPool } from '../../src/inference/pool.js';

/** The kernel counts CPU time in ticks of this many milliseconds. */
const TICK_MS = 10;

/** Memory and descriptors of a process. */
export interface ProcessSize {
  readonly rssBytes: number;
  readonly descriptors: number;
}

/** Returns the size of a process, from /proc; zeros when it has ended. */
export function sizeOf(pid: number): ProcessSize {
  return { rssBytes: 1_024 * fieldOf(readProc(pid, 'status'), 'VmRSS'), descriptors: descriptorsOf(pid) };
}

/** Returns the memory of processes in MB: their proportional set size, which counts shared pages once. */
export function memoryOf(pids: readonly number[]): number {
  return pids.reduce((sum, pid) => sum + fieldOf(readProc(pid, 'smaps_rollup'), 'Pss') / 1_000, 0);
}

/** Returns the direct children of a process. */
export function childrenOf(pid: number): number[] {
  return readProc(pid, `task/${pid}/children`).split(' ').filter(Boolean).map(Number);
}

/**
 * Returns the CPU time that a process has used so far, in milliseconds; 0 when it has ended.
 */
export function cpuMsOf(pid: number): number {
  const ticks = statOf(pid).slice(11, 13);
  return ticks.reduce((sum, count) => sum + Number(count), 0) * TICK_MS;
}

/** Returns the same by the scheduler's own clock, which has no ticks, of all threads that still run. */
export function exactCpuMsOf(pid: number): number {
  let ms = 0;
  for (const thread of readdirSync(`/proc/${pid}/task`)) {
    try {
      const [ran] = readFileSync(`/proc/${pid}/task/${thread}/schedstat`, 'utf8').split(' ');
      ms += Number(ran) / 1e6;
    } catch {
      // It has ended.
    }
  }
  return ms;
}

/** Returns the process ids of a pool's present workers. */
export function pidsOf(pool: WorkerPool): number[] {
  return pool.status().workers.flatMap(({ pid }) => (pid === null ? [] : [pid]));
}

/** Whether a process runs; one that is dead and merely waits for its parent to take notice does not. */
export function isAlive(pid: number): boolean {
  return /^[^ZX]/.test(statOf(pid)[0] ?? '');
}

/** Sends a signal; a process that has ended is left alone. */
export function kill(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch {
    // It has ended.
  }
}

/** Kills a process that leads a group, and what it has started there, also where it has ended itself. */
export function killGroup({ pid }: ChildProcess): void {
  if (pid !== undefined) kill(-pid, 'SIGKILL');
}

/** Fields of /proc/PID/stat, from the state on. */
function statOf(pid: number): string[] {
  const stat = readProc(pid, 'stat');
  return stat === '' ? [] : stat.slice(stat.lastIndexOf(')') + 2).split(' ');
}

function descriptorsOf(pid: number): number {
  try {
    return readdirSync(`/proc/${pid}/fd`).length;
  } catch {
    return 0;
  }
}

function fieldOf(text: string, name: string): number {
  return Number(new RegExp(`^${name}:\\s+(\\d+) kB$`, 'm').exec(text)?.[1] ?? 0);
}

function readProc(pid: number, file: string): string {
  try {
    return readFileSync(`/proc/${pid}/${file}`, 'utf8');
  } catch {
    return '';
  }
}
