import { createHash } from 'node:crypto';
import { constants } from 'node:fs';
import { access, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { AppError, errnoOf, messageOf } from '../shared/errors.js';
import {
  asVolumeError,
  ensureDirectory,
  type Fingerprint,
  fingerprintOf,
  hashInto,
  kindOf,
  namesIn,
  openRegular,
  readHashed,
  remove,
  spaceOf,
  statOf,
} from './disk.js';
import { IngestWriter, isHeld } from './ingest.js';
import { blobPath, foldersOf, type Layout, layoutOf, parseIngestName } from './layout.js';
import type { PinnedFile } from './manifest.js';
import { isMount } from './mount.js';
import { ownerState } from './owner.js';
import {
  emptyQuarantine,
  listQuarantine,
  type QuarantineEntry,
  quarantinedBytes,
  setAside,
} from './quarantine.js';

/** What a full look at one blob found. */
export type Verdict =
  | { readonly state: 'verified'; readonly fingerprint: Fingerprint }
  | { readonly state: 'missing' }
  | { readonly state: 'corrupt'; readonly reason: string };

/** The volume as an operator asks about it. */
export interface VolumeFacts {
  readonly path: string;
  /** Whether a file system is mounted exactly there; without one, a container's cache is gone with it. */
  readonly mount: boolean;
  readonly writable: boolean;
  readonly freeBytes: number | undefined;
  readonly totalBytes: number | undefined;
}

/** Sizes in bytes. */
export interface VolumeSpace {
  readonly freeBytes: number;
  readonly totalBytes: number;
}

/** What a fresh volume, or an empty folder under version control, may hold. */
const HARMLESS = /^(lost\+found|README.*|\.git(ignore|keep)|\..*)$/i;

/** Room that is left free on the volume besides the files themselves, for notes and state. */
export const RESERVE_BYTES = 1 << 20;

/**
 * The verified, content-addressed store on a volume. It never believes a name, a size or a date: a blob is
 * what its digest says, or it is corrupt. It has no memory of its own, so that any number of processes may
 * share a volume.
 */
export class ContentStore {
  readonly layout: Layout;

  readonly #mustBeMount: boolean;

  /**
   * @param root the volume's absolute path
   * @param mustBeMount whether a folder that is not a mount point is refused
   */
  constructor(root: string, mustBeMount = false) {
    this.layout = layoutOf(root);
    this.#mustBeMount = mustBeMount;
  }

  /**
   * Makes the folders; whatever else stands in a folder's place (a link could lead anywhere) is moved away.
   * @returns what was moved away, in words
   * @throws AppError `volume_…`, naming the remedy
   */
  async prepare(): Promise<string[]> {
    const moved: string[] = [];
    try {
      // The mount point itself may be a link: that is the operator's choice.
      if (this.#mustBeMount) await this.#checkMount();
      const root = await statOf(this.layout.root);
      if (root) await this.#checkOwnership();
      else await ensureDirectory(this.layout.root);
      for (const folder of foldersOf(this.layout)) {
        const intruder = await ensureDirectory(folder);
        if (!intruder) continue;
        const aside = `${folder}.found-${Date.now()}`;
        await rename(folder, aside);
        await ensureDirectory(folder);
        moved.push(`${folder} was a ${kindOf(intruder)}; it is now ${aside}`);
      }
      await access(this.layout.ingest, constants.W_OK);
    } catch (error) {
      throw asVolumeError(error, `cannot use the volume ${this.layout.root}`);
    }
    return moved;
  }

  /**
   * Reads the whole blob and compares it with its pin.
   * @param keep is given the very buffer that was hashed, where that is the pinned one
   * @throws AppError `volume_unavailable` when the volume itself cannot be asked
   */
  async verify(file: PinnedFile, keep?: (bytes: Buffer) => void): Promise<Verdict> {
    return this.#examine(file, async (handle) => {
      if (keep) {
        const { bytes, sha256 } = await readHashed(handle, file.size);
        if (sha256 === file.sha256) keep(bytes);
        return sha256;
      }
      const hash = createHash('sha256');
      await hashInto(hash, handle, 0, file.size);
      return hash.digest('hex');
    });
  }

  /**
   * The verified bytes of a blob: the very buffer that was hashed.
   * @throws AppError `blob_missing`, `blob_corrupt`, `volume_unavailable`
   */
  async read(file: PinnedFile): Promise<Buffer> {
    let bytes: Buffer = Buffer.alloc(0);
    const verdict = await this.verify(file, (verified) => {
      bytes = verified;
    });
    if (verdict.state === 'missing') throw new AppError('blob_missing', `${file.path}: not on the volume`);
    if (verdict.state === 'corrupt') throw new AppError('blob_corrupt', `${file.path}: ${verdict.reason}`);
    return bytes;
  }

  /** Whether the blob still looks as it did when it had this fingerprint. */
  async isUntouched(file: PinnedFile, fingerprint: Fingerprint): Promise<boolean> {
    const stat = await statOf(blobPath(this.layout, file.sha256)).catch(() => undefined);
    return stat !== undefined && fingerprintOf(stat) === fingerprint;
  }

  /** Opens the writer of a blob; see {@link IngestWriter}. */
  ingest(file: PinnedFile, signal: AbortSignal): Promise<IngestWriter> {
    return IngestWriter.open(this.layout, file, signal);
  }

  /** Sets a corrupt blob aside; see `quarantine.ts`. */
  async quarantine(file: PinnedFile, reason: string): Promise<QuarantineEntry> {
    try {
      return await setAside(this.layout, file, reason);
    } catch (error) {
      throw asVolumeError(error, `cannot quarantine ${file.path}`);
    }
  }

  /** What is in quarantine, the newest first. */
  quarantined(): Promise<QuarantineEntry[]> {
    return listQuarantine(this.layout);
  }

  /**
   * Makes sure that `bytes` more fit on the volume, giving up the evidence in quarantine if need be.
   * @throws AppError `volume_full`
   */
  async makeRoom(bytes: number): Promise<void> {
    const needed = bytes + RESERVE_BYTES;
    const free = await this.#freeBytes();
    if (free >= needed) return;
    // Evidence is given up only where that is enough; besides, it may be a second name of what stays.
    if (free + (await quarantinedBytes(this.layout)) >= needed) {
      await emptyQuarantine(this.layout);
      if ((await this.#freeBytes()) >= needed) return;
    }
    throw new AppError(
      'volume_full',
      `the volume ${this.layout.root} has ${free} bytes free and ${needed} are needed; enlarge it or free space on it`,
      { retryable: true },
    );
  }

  /**
   * Removes what interrupted writes left behind and nobody holds or can use: temporary files, and partials of
   * blobs that are whole or not wanted.
   * @param wanted digests (hex) whose partials are worth keeping
   * @returns the names removed
   */
  async sweep(wanted: ReadonlySet<string>): Promise<string[]> {
    const removed: string[] = [];
    for (const name of await namesIn(this.layout.ingest)) {
      const parsed = parseIngestName(name);
      const path = join(this.layout.ingest, name);
      if (!parsed || (parsed.kind === 'part' && wanted.has(parsed.subject))) continue;
      // Our own temporary file lives for milliseconds; this may be one of them.
      if (parsed.kind === 'tmp' && ownerState(parsed.owner) === 'self') continue;
      if (await isHeld(path, parsed.owner)) continue;
      await remove(path);
      removed.push(name);
    }
    return removed;
  }

  /** The volume's facts; never throws, since they are asked for when something is wrong. */
  async facts(): Promise<VolumeFacts> {
    const { root, ingest } = this.layout;
    const [mount, writable, space] = await Promise.all([
      isMount(root).catch(() => false),
      access(ingest, constants.W_OK).then(
        () => true,
        () => false,
      ),
      this.space(),
    ]);
    return { path: root, mount, writable, freeBytes: space?.freeBytes, totalBytes: space?.totalBytes };
  }

  /** How large the volume is and how much of it is free; `undefined` when it does not tell. */
  space(): Promise<VolumeSpace | undefined> {
    return spaceOf(this.layout.root).catch(() => undefined);
  }

  async #checkMount(): Promise<void> {
    const { root } = this.layout;
    if (await isMount(root)) return;
    throw new AppError(
      'volume_not_mounted',
      `${root} is not a mounted volume, and what is written there would be lost with the container; ` +
        `attach a volume at ${root}, or set REQUIRE_MOUNT=false if that is what you want`,
      { retryable: true },
    );
  }

  /** A folder full of other things was named by mistake more often than on purpose. */
  async #checkOwnership(): Promise<void> {
    const { root } = this.layout;
    const names = await namesIn(root);
    const ours = new Set(['blobs', 'ingest', 'quarantine', 'vectors', 'state.json']);
    if (names.some((name) => ours.has(name))) return;
    const strangers = names.filter((name) => !HARMLESS.test(name));
    if (strangers.length === 0) return;
    throw new AppError(
      'volume_foreign',
      `${root} holds other things (${strangers.slice(0, 3).join(', ')}${strangers.length > 3 ? ', …' : ''}) ` +
        'and nothing of this program; set MODEL_CACHE_DIR to a folder of its own',
    );
  }

  async #freeBytes(): Promise<number> {
    try {
      return (await spaceOf(this.layout.root)).freeBytes;
    } catch (error) {
      throw asVolumeError(error, `cannot measure the volume ${this.layout.root}`);
    }
  }

  async #examine(
    file: PinnedFile,
    digestOf: (handle: Awaited<ReturnType<typeof openRegular>>['file']) => Promise<string>,
  ): Promise<Verdict> {
    const path = blobPath(this.layout, file.sha256);
    let opened: Awaited<ReturnType<typeof openRegular>>;
    try {
      opened = await openRegular(path);
    } catch (error) {
      return this.#whyUnopened(path, error);
    }
    try {
      const { stat } = opened;
      if (stat.size !== BigInt(file.size)) {
        return { state: 'corrupt', reason: `size is ${stat.size}, pinned is ${file.size}` };
      }
      const actual = await digestOf(opened.file);
      if (actual !== file.sha256) return { state: 'corrupt', reason: `sha256 is ${actual}` };
      return { state: 'verified', fingerprint: fingerprintOf(stat) };
    } catch (error) {
      // A sector that cannot be read is corruption; running out of descriptors or memory is not.
      if (errnoOf(error) === 'EIO') return { state: 'corrupt', reason: messageOf(error) };
      throw asVolumeError(error, `cannot read ${path}`);
    } finally {
      await opened.file.close();
    }
  }

  async #whyUnopened(path: string, error: unknown): Promise<Verdict> {
    if (error instanceof AppError) return { state: 'corrupt', reason: error.message };
    switch (errnoOf(error)) {
      case 'ENOENT':
      case 'ENOTDIR':
        return { state: 'missing' };
      case 'ELOOP':
        return { state: 'corrupt', reason: `${path} is a symbolic link, not a file` };
      case 'ENXIO':
        return { state: 'corrupt', reason: `${path} is a socket or device, not a file` };
      case 'EACCES':
      case 'EIO':
        return { state: 'corrupt', reason: `unreadable: ${messageOf(error)}` };
      default:
        throw asVolumeError(error, `cannot open ${path}`);
    }
  }
}
