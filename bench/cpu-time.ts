import { readFileSync } from 'node:fs';

/** The kernel counts a process's time in ticks of this many milliseconds. */
const TICK_MS = 10;

/** CPU time that a process has taken so far, in milliseconds. A process that has ended counts nothing. */
export function cpuTimeOf(pid: number): number {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return (Number(fields[11]) + Number(fields[12])) * TICK_MS;
  } catch {
    return 0;
  }
}
