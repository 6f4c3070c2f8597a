import { constants } from 'node:fs';
import { access, readdir, readFile, realpath } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { type ErrorCode, errnoOf } from '../shared/errors.js';
import { spaceOf, statOf } from './disk.js';
import { foldersOf, type Layout } from './layout.js';

/** Room that is left free on the volume besides the files themselves, for notes and state. */
export const RESERVE_BYTES = 1 << 20;

/** Where a file system is mounted, and its type (`ext4`, `tmpfs`, …). */
export interface Mount {
  readonly point: string;
  readonly type: string;
}

/**
 * The mount that holds `path`, or that would hold it once it is made; `undefined` for the root file system, and where
 * the kernel does not tell. Links are followed: a link to a mount point leads onto that mount.
 */
export async function mountOf(path: string): Promise<Mount | undefined> {
  let real = path;
  let below = '';
  for (;;) {
    try {
      real = join(await realpath(real), below);
      break;
    } catch (error) {
      if (errnoOf(error) !== 'ENOENT' || dirname(real) === real) throw error;
      below = join(real.slice(dirname(real).length).replace(/^\//, ''), below);
      real = dirname(real);
    }
  }
  return findMount(await readFile('/proc/self/mountinfo', 'utf8').catch(() => ''), real);
}

/** Whether something is mounted at this very path; links are followed. */
export async function isMountPoint(path: string): Promise<boolean> {
  const real = await realpath(path).catch(() => path);
  return (await mountOf(real).catch(() => undefined))?.point === real;
}

/** The longest entry above `real` in the kernel's table; the last of two is on top. `undefined` where that is `/`. */
export function findMount(table: string, real: string): Mount | undefined {
  let found: Mount = { point: '/', type: '' };
  for (const line of table.split('\n')) {
    // The table writes a space in a path as `\040`; optional fields end with a dash.
    const point = (line.split(' ')[4] ?? '').replace(/\\(\d{3})/g, (_, octal: string) =>
      String.fromCharCode(Number.parseInt(octal, 8)),
    );
    if (point === '' || (real !== point && !real.startsWith(point === '/' ? '/' : `${point}/`))) continue;
    if (point.length >= found.point.length)
      found = { point, type: line.split(' - ')[1]?.split(' ')[0] ?? '' };
  }
  return found.point === '/' ? undefined : found;
}

/**
 * Whether a volume's problem looks resolved. It is a cheap look that writes nothing, for deciding when an attempt
 * is worth making; the attempt itself finds out.
 * @param bytes how much has to fit on the volume
 */
async function looksResolved(layout: Layout, code: ErrorCode, bytes: number): Promise<boolean> {
  try {
    switch (code) {
      case 'volume_not_mounted':
        return (await mountOf(layout.root)) !== undefined;
      case 'volume_full':
        return (await spaceOf(layout.root)).freeBytes >= bytes + RESERVE_BYTES;
      case 'volume_read_only':
        for (const folder of [layout.root, ...foldersOf(layout)]) {
          if (await statOf(folder)) await access(folder, constants.W_OK);
        }
        return true;
      default:
        await readdir(layout.root);
        return true;
    }
  } catch (error) {
    // A missing folder can be made.
    return errnoOf(error) === 'ENOENT';
  }
}

/**
 * Looks at a volume in trouble once in a while, so that it recovers as soon as that is possible and not only after
 * the pause that failed attempts have grown to. A problem that a look never sees (a quota, say) is left to the growing
 * pauses: otherwise it would be attempted at each look.
 * @param bytes how much has to fit on the volume
 * @param onResolved called once, when the problem was seen and then is seen to be resolved
 * @returns a function that ends this
 */
export function probeRecovery(
  layout: Layout,
  everyMs: number,
  problem: { readonly code: ErrorCode; readonly bytes: number },
  onResolved: () => void,
): () => void {
  let stopped = false;
  let seen = false;
  const look = async (): Promise<void> => {
    const resolved = await looksResolved(layout, problem.code, problem.bytes);
    if (stopped) return;
    if (resolved && seen) {
      stopped = true;
      return onResolved();
    }
    seen ||= !resolved;
    setTimeout(() => void (stopped || look()), everyMs).unref();
  };
  void look();
  return () => {
    stopped = true;
  };
}
