import { readFile } from 'node:fs/promises';

/** The mounted file system that a path is on. */
export interface Mount {
  /** Where it is mounted. */
  readonly point: string;
  /** `ext4`, `overlay`, `tmpfs`, … */
  readonly type: string;
}

/** The file system of `path` by the kernel's table; `undefined` where there is no such table. */
export async function mountOf(path: string, table = '/proc/self/mountinfo'): Promise<Mount | undefined> {
  let text: string;
  try {
    text = await readFile(table, 'utf8');
  } catch {
    return undefined;
  }
  let found: Mount | undefined;
  for (const line of text.split('\n')) {
    const fields = line.split(' ');
    const point = unescapePath(fields[4] ?? '');
    const type = fields[fields.indexOf('-') + 1] ?? '';
    const covers = point === '/' ? path.startsWith('/') : path === point || path.startsWith(`${point}/`);
    // Of several mounts on one point the last one is what is seen.
    if (point !== '' && covers && point.length >= (found?.point.length ?? 0)) found = { point, type };
  }
  return found;
}

function unescapePath(path: string): string {
  return path.replace(/\\(\d{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));
}
