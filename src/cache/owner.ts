import { createHash } from 'node:crypto';
import { readFileSync, readlinkSync } from 'node:fs';
import { hostname } from 'node:os';

/**
 * Owner of a partial file, as part of its name: `<place>-<pid>-<start>`. `place` stands for this boot of
 * this host and its process namespace, where a pid means something; `start` tells apart two processes that
 * had the same pid, as every restarted container's first process has.
 */
export const OWNER = ownerToken();

function ownerToken(): string {
  const place = createHash('sha256')
    .update([hostname(), tryRead('/proc/sys/kernel/random/boot_id'), tryLink('/proc/self/ns/pid')].join('\n'))
    .digest('hex')
    .slice(0, 12);
  return `${place}-${process.pid}-${startOf(process.pid) ?? 0}`;
}

/**
 * Whether the process behind an owner token is alive: `dead` and `alive` are certain, `unknown` is any owner
 * in another place (another host, boot or container). A token may have a further `-<n>`, to tell apart several
 * files of one owner.
 */
export function ownerState(token: string): 'self' | 'alive' | 'dead' | 'unknown' {
  const [place, pid, start] = token.split('-');
  if ([place, pid, start].join('-') === OWNER) return 'self';
  if (place === undefined || pid === undefined || place !== OWNER.split('-')[0]) return 'unknown';
  try {
    process.kill(Number(pid), 0);
  } catch (error) {
    // EPERM means that the process exists and belongs to another user.
    if (!(error instanceof Error && 'code' in error && error.code === 'EPERM')) return 'dead';
  }
  const running = startOf(Number(pid));
  return running !== undefined && String(running) !== start ? 'dead' : 'alive';
}

/** Clock ticks between the kernel's start and the process's; `undefined` where /proc does not tell. */
function startOf(pid: number): number | undefined {
  const stat = tryRead(`/proc/${pid}/stat`);
  // The second field is the command in brackets and may hold anything; count from its end.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const ticks = Number(fields[19]);
  return Number.isSafeInteger(ticks) ? ticks : undefined;
}

function tryRead(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

function tryLink(path: string): string {
  try {
    return readlinkSync(path);
  } catch {
    return '';
  }
}
