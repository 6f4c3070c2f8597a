import { readdirSync, readFileSync } from 'node:fs';

/** What a process holds. */
export interface ProcessSize {
  readonly rssBytes: number;
  readonly descriptors: number;
}

/** Reads it from the kernel. */
export function sizeOf(pid: number): ProcessSize {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  return {
    rssBytes: Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1] ?? Number.NaN) * 1_024,
    descriptors: readdirSync(`/proc/${pid}/fd`).length,
  };
}

/** Its direct children that live. */
export function childrenOf(pid: number): number[] {
  return readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').split(' ').filter(Boolean).map(Number);
}
