import { chmod, mkdir, writeFile } from 'node:fs/promises';
import { basename, dirname, join, relative } from 'node:path';
import { type DiskChange, observeDisk } from './disk-changes.mjs';

/**
 * Possible contents of a disk after the power went: a model of a file system that promises no more than POSIX does.
 * Bytes are durable from the next `sync` of their file on, and an entry of a folder from the next
 * `sync-directory` on; before that, each may or may not have reached the disk, whatever came after it.
 */
export interface DiskState {
  /** Path below the root → bytes, or `undefined` for a folder. */
  readonly entries: ReadonlyMap<string, Uint8Array | undefined>;
  /** The losses, for the message of a failing test. */
  readonly story: string;
}

interface Inode {
  readonly folder: boolean;
  durable: Uint8Array;
  readonly pending: Write[];
}

type Write = { readonly offset: number; readonly bytes: Uint8Array } | { readonly size: number };

interface EntryChange {
  readonly path: string;
  /** `undefined`: the name goes away. */
  readonly inode: Inode | undefined;
}

/** Fate of bytes that were never synced. */
type Fate = 'kept' | 'lost' | 'half' | 'zeroed';
const FATES: readonly Fate[] = ['kept', 'lost', 'half', 'zeroed'];

/**
 * Of the latest unsynced entries this many are kept or lost each by itself, in every combination; the older ones,
 * such as partial files that were renamed away long ago, are kept or lost together.
 */
const INDEPENDENT = 7;

/** Every state that the disk may be in when the power goes before change `crashAt` (0-based) is made. */
export function* statesAfterPowerLoss(
  changes: readonly DiskChange[],
  crashAt: number,
  root: string,
): Generator<DiskState> {
  const disk = new Disk(root);
  for (const change of changes.slice(0, crashAt)) disk.apply(change);
  yield* disk.states(`power lost before change ${crashAt} (${changes[crashAt]?.op ?? 'none'})`);
}

class Disk {
  readonly #root: string;
  /** The file system as a running program sees it. */
  readonly #seen = new Map<string, Inode>();
  readonly #durable = new Map<string, Inode>();
  #pending: EntryChange[] = [];

  constructor(root: string) {
    this.#root = root;
  }

  apply(change: DiskChange): void {
    const path = relative(this.#root, change.path);
    switch (change.op) {
      case 'create':
        this.#enter(path, { folder: false, durable: new Uint8Array(0), pending: [] });
        return;
      case 'mkdir': {
        const above = dirname(path);
        if (above !== '.' && !this.#seen.has(above)) throw new Error(`no folder ${above}`);
        this.#enter(path, { folder: true, durable: new Uint8Array(0), pending: [] });
        return;
      }
      case 'write':
        this.#inode(path).pending.push({ offset: change.offset, bytes: Uint8Array.from(change.bytes) });
        return;
      case 'truncate':
        this.#inode(path).pending.push({ size: change.size });
        return;
      case 'sync': {
        const inode = this.#inode(path);
        inode.durable = contentOf(inode, 'kept');
        inode.pending.length = 0;
        return;
      }
      case 'chmod':
        return;
      case 'link':
        this.#enter(relative(this.#root, change.to), this.#inode(path));
        return;
      case 'rename': {
        const inode = this.#inode(path);
        this.#leave(path);
        this.#enter(relative(this.#root, change.to), inode);
        return;
      }
      case 'remove':
        for (const known of [...this.#seen.keys()]) {
          if (known === path || known.startsWith(`${path}/`)) this.#leave(known);
        }
        return;
      case 'sync-directory': {
        const folder = path === '' ? '.' : path;
        for (const { path: entry, inode } of this.#pending.filter((one) => dirname(one.path) === folder)) {
          if (inode) this.#durable.set(entry, inode);
          else this.#durable.delete(entry);
        }
        this.#pending = this.#pending.filter((one) => dirname(one.path) !== folder);
        return;
      }
    }
  }

  *states(when: string): Generator<DiskState> {
    const cut = Math.max(0, this.#pending.length - INDEPENDENT);
    const groups = [this.#pending.slice(0, cut), ...this.#pending.slice(cut).map((one) => [one])];
    if (cut === 0) groups.shift();
    const dirty = [...new Set([...this.#seen.values(), ...this.#durable.values()])].some(
      ({ pending }) => pending.length > 0,
    );
    for (let mask = 0; mask < 2 ** groups.length; mask += 1) {
      const entries = new Map(this.#durable);
      const lost: string[] = [];
      for (const [index, group] of groups.entries()) {
        for (const { path, inode } of group) {
          if ((mask & (1 << index)) === 0) lost.push(`${inode ? '+' : '-'}${path}`);
          else if (inode) entries.set(path, inode);
          else entries.delete(path);
        }
      }
      for (const fate of dirty ? FATES : FATES.slice(0, 1)) {
        yield {
          entries: reachable(entries, fate),
          story: `${when}; entries lost: ${lost.join(' ') || 'none'}; unsynced bytes ${fate}`,
        };
      }
    }
  }

  #inode(path: string): Inode {
    const inode = this.#seen.get(path);
    if (!inode) throw new Error(`no entry ${path}`);
    return inode;
  }

  #enter(path: string, inode: Inode): void {
    this.#seen.set(path, inode);
    this.#pending.push({ path, inode });
  }

  #leave(path: string): void {
    this.#seen.delete(path);
    this.#pending.push({ path, inode: undefined });
  }
}

/** Entries that are reachable from the root: an entry in a folder that was lost is lost with it. */
function reachable(entries: ReadonlyMap<string, Inode>, fate: Fate): Map<string, Uint8Array | undefined> {
  const found = new Map<string, Uint8Array | undefined>();
  for (const [path, inode] of [...entries].sort(([a], [b]) => (a < b ? -1 : 1))) {
    const above = dirname(path);
    if (above !== '.' && !(found.has(above) && found.get(above) === undefined)) continue;
    found.set(path, inode.folder ? undefined : contentOf(inode, fate));
  }
  return found;
}

function contentOf({ durable, pending }: Inode, fate: Fate): Uint8Array {
  if (fate === 'lost') return durable;
  const writes = fate === 'half' ? pending.slice(0, Math.ceil(pending.length / 2)) : pending;
  let bytes = durable;
  for (const write of writes) {
    const size = 'size' in write ? write.size : Math.max(bytes.length, write.offset + write.bytes.length);
    const next = new Uint8Array(size);
    next.set(bytes.subarray(0, size));
    if (!('size' in write) && fate !== 'zeroed') next.set(write.bytes, write.offset);
    bytes = next;
  }
  return bytes;
}

/** Puts a state onto a real disk, below `root`. Blobs are read-only there, as they were. */
export async function materialize({ entries }: DiskState, root: string): Promise<void> {
  await mkdir(root, { recursive: true });
  for (const [path, bytes] of entries) {
    const target = join(root, path);
    if (bytes === undefined) {
      await mkdir(target, { recursive: true });
      continue;
    }
    await writeFile(target, bytes);
    if (/^[0-9a-f]{64}$/.test(basename(path))) await chmod(target, 0o444);
  }
}

/** All changes at or below `root` that `work` makes. */
export async function recordChanges(root: string, work: () => Promise<unknown>): Promise<DiskChange[]> {
  const changes: DiskChange[] = [];
  const end = observeDisk(root, (change) =>
    changes.push('bytes' in change ? { ...change, bytes: Uint8Array.from(change.bytes) } : change),
  );
  try {
    await work();
  } finally {
    end();
  }
  return changes;
}
