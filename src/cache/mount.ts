import { readFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { statOf } from './disk.js';

/**
 * Whether `path` is where a file system is mounted. The kernel's table is asked first, since a bind mount has
 * its parent's device number; elsewhere that number decides.
 */
export async function isMount(path: string): Promise<boolean> {
  let table: string;
  try {
    table = await readFile('/proc/self/mountinfo', 'utf8');
  } catch {
    const [here, above] = await Promise.all([statOf(path), statOf(dirname(path))]);
    return here !== undefined && above !== undefined && here.dev !== above.dev;
  }
  return table.split('\n').some((line) => unescapeMount(line.split(' ')[4] ?? '') === path);
}

/** The table writes a space in a path as `\040`. */
function unescapeMount(path: string): string {
  return path.replace(/\\(\d{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));
}
