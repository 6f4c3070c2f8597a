import { readdirSync, readFileSync } from 'node:fs';

/**
 * Memory in MB of these processes: their proportional set size, in which shared pages are counted once among those
 * who share them, and the pages that are theirs alone. A process that has ended counts nothing.
 */
export function memoryOf(pids: readonly number[]): { readonly pss: number; readonly own: number } {
  let pss = 0;
  let own = 0;
  for (const pid of pids) {
    const rollup = readProc(`/proc/${pid}/smaps_rollup`);
    const kilobytes = (field: string): number =>
      Number(new RegExp(`^${field}:\\s+(\\d+)`, 'm').exec(rollup)?.[1] ?? 0);
    pss += kilobytes('Pss') / 1_000;
    own += (kilobytes('Private_Clean') + kilobytes('Private_Dirty')) / 1_000;
  }
  return { pss, own };
}

/** A process and its children. */
export function familyOf(pid: number): number[] {
  const numbers = readdirSync('/proc').filter((entry) => /^\d+$/.test(entry));
  const children = numbers.filter((entry) => {
    const stat = readProc(`/proc/${entry}/stat`);
    return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]) === pid;
  });
  return [pid, ...children.map(Number)];
}

function readProc(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    // It has ended meanwhile.
    return '';
  }
}
