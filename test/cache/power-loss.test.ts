import { createHash } from 'node:crypto';
import { chmod, mkdir, readdir, writeFile } from 'node:fs/promises';
import { basename, dirname, join, relative } from 'node:path';
import { describe, expect, it } from 'vitest';
import { blobPath } from '../../src/cache/layout.js';
import { Reconciler } from '../../src/cache/reconciler.js';
import { ContentStore } from '../../src/cache/store.js';
import { type DiskChange, observeDisk } from '../support/disk-changes.mjs';
import { memorySource, recordingLog, smallModel, temporaryFolder } from '../support/volume.js';

/**
 * Possible contents of a disk after the power went: a model of a file system that promises no more than POSIX does.
 * Bytes are durable from the next `sync` of their file on, and an entry of a folder from the next
 * `sync-directory` on; before that, each may or may not have reached the disk, whatever came after it.
 */
interface DiskState {
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
function* statesAfterPowerLoss(
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
async function materialize({ entries }: DiskState, root: string): Promise<void> {
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
async function recordChanges(root: string, work: () => Promise<unknown>): Promise<DiskChange[]> {
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

const { manifest, files } = smallModel(3_000);
const [model] = manifest.files;
if (!model) throw new Error('no model');

async function reconcile(root: string) {
  const store = new ContentStore(root);
  const source = memorySource(files, { chunkBytes: 1_000 });
  const reconciler = new Reconciler({ manifest, store, sources: [source], log: recordingLog() });
  const report = await reconciler.request('boot');
  await reconciler.close();
  return { report, store, source };
}

/** The first boot on an empty volume. */
async function recordFirstBoot(): Promise<{ changes: DiskChange[]; root: string }> {
  const root = await temporaryFolder();
  const changes = await recordChanges(root, () => reconcile(root));
  return { changes, root };
}

/** Blobs in a state that are there and not what their name says. */
function tornBlobs({ entries }: DiskState): string[] {
  return [...entries].flatMap(([path, bytes]) => {
    const name = /^blobs\/sha256\/([0-9a-f]{64})$/.exec(path)?.[1];
    if (name === undefined || bytes === undefined) return [];
    return createHash('sha256').update(bytes).digest('hex') === name ? [] : [path];
  });
}

describe('power lost in a first boot', () => {
  it('leaves every blob absent or whole, in every state that the disk may be in', async () => {
    const { changes, root } = await recordFirstBoot();
    let states = 0;
    for (let crashAt = 0; crashAt <= changes.length; crashAt += 1) {
      for (const state of statesAfterPowerLoss(changes, crashAt, root)) {
        states += 1;
        expect(tornBlobs(state), state.story).toEqual([]);
      }
    }
    // Enough to be sure that something was enumerated.
    expect(states).toBeGreaterThan(changes.length);
  });

  it('is repaired by the next boot, in every such state', async () => {
    const { changes, root } = await recordFirstBoot();
    const seen = new Set<string>();
    for (let crashAt = 0; crashAt <= changes.length; crashAt += 1) {
      for (const state of statesAfterPowerLoss(changes, crashAt, root)) {
        const key = [...state.entries]
          .map(([path, bytes]) => `${path} ${bytes && createHash('sha1').update(bytes).digest('hex')}`)
          .join('\n');
        if (seen.has(key)) continue;
        seen.add(key);
        const folder = join(await temporaryFolder(), 'volume');
        await materialize(state, folder);
        const { report, store } = await reconcile(folder);
        expect(report.whole, state.story).toBe(true);
        expect(report.corrupt, state.story).toEqual([]);
        expect(await readdir(store.layout.ingest), state.story).toEqual([]);
      }
    }
    expect(seen.size).toBeGreaterThan(30);
  });
});

describe('power lost in a repair', () => {
  it('leaves the bad blob or the good one, and its evidence does no harm', async () => {
    const root = await temporaryFolder();
    const build = await recordChanges(root, () => reconcile(root));
    const blob = blobPath(new ContentStore(root).layout, model.sha256);
    await chmod(blob, 0o644);
    await writeFile(blob, 'rot');
    const rot: DiskChange[] = [
      { op: 'truncate', path: blob, size: 0 },
      { op: 'write', path: blob, offset: 0, bytes: Buffer.from('rot') },
      { op: 'sync', path: blob },
    ];
    const repair = await recordChanges(root, () => reconcile(root));
    const changes = [...build, ...rot, ...repair];
    const seen = new Set<string>();
    for (let crashAt = build.length + rot.length; crashAt <= changes.length; crashAt += 1) {
      for (const state of statesAfterPowerLoss(changes, crashAt, root)) {
        const bytes = state.entries.get(`blobs/sha256/${model.sha256}`);
        expect(bytes, state.story).toBeDefined();
        const key = `${[...state.entries.keys()].join()} ${bytes?.length}`;
        if (seen.has(key)) continue;
        seen.add(key);
        const folder = join(await temporaryFolder(), 'volume');
        await materialize(state, folder);
        expect((await reconcile(folder)).report.whole, state.story).toBe(true);
      }
    }
    expect(seen.size).toBeGreaterThan(3);
  });
});

describe('the model of the disk can find a wrong order', () => {
  it('data synced after the rename: a torn blob', async () => {
    const { changes, root } = await recordFirstBoot();
    // A file keeps its inode when it is renamed, so the late sync names it as it is called then.
    const late = changes.filter((change) => !(change.op === 'sync' && change.path.endsWith('.part')));
    let torn = 0;
    for (let crashAt = 0; crashAt <= late.length; crashAt += 1) {
      for (const state of statesAfterPowerLoss(late, crashAt, root)) torn += tornBlobs(state).length;
    }
    expect(torn).toBeGreaterThan(0);
  });

  it('no folder synced: a blob that was published may be gone', async () => {
    const { changes, root } = await recordFirstBoot();
    const blobs = join(root, 'blobs', 'sha256');
    const never = changes.filter((change) => !(change.op === 'sync-directory' && change.path === blobs));
    const last = [...statesAfterPowerLoss(never, never.length, root)];
    expect(last.some(({ entries }) => !entries.has(`blobs/sha256/${model.sha256}`))).toBe(true);
    const kept = [...statesAfterPowerLoss(changes, changes.length, root)];
    expect(kept.every(({ entries }) => entries.has(`blobs/sha256/${model.sha256}`))).toBe(true);
  });
});
