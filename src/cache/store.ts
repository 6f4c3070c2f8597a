import { createHash } from 'node:crypto';
import { constants } from 'node:fs';
import { access, rename } from 'node:fs/promises';
import { join } from 'node:path';
import type { CacheStatus } from '../api/cache.js';
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
  removeFrom,
  spaceOf,
  statOf,
} from './disk.js';
import { IngestWriter, isHeld } from './ingest.js';
import { blobPath, foldersOf, type Layout, layoutOf, parseIngestName } from './layout.js';
import type { PinnedFile } from './manifest.js';
import { ownerState } from './owner.js';
import { emptyQuarantine, listQuarantine, quarantinedBytes, setAside } from './quarantine.js';
import { mountOf, RESERVE_BYTES } from './volume.js';

/** The outcome of a full look at one blob. */
export type Verdict =
  | { readonly state: 'verified'; readonly fingerprint: Fingerprint }
  | { readonly state: 'missing' }
  /** Without a fingerprint where it cannot be opened. */
  | { readonly state: 'corrupt'; readonly reason: string; readonly fingerprint?: Fingerprint };

/** The volume as an operator asks about it; `mount`: without one, a container's cache is gone with it. */
export type VolumeFacts = Omit<CacheStatus['volume'], 'problem'>;

/** Sizes in bytes. */
export interface VolumeSpace {
  readonly freeBytes: number;
  readonly totalBytes: number;
}

/**
 * The verified, content-addressed store on a volume. It never believes a name, a size or a date: a blob is
 * what its digest says, or it is corrupt. It has no memory of its own, so that any number of processes may
 * share a volume.
 */
export class ContentStore {
  readonly layout: Layout;
  /** Messages for the operator of what is odd about the volume, though it works. */
  readonly warnings = new Set<string>();
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
      await this.#checkMount();
      // The root itself may be a link: that is the operator's choice.
      if (!(await statOf(this.layout.root))) await ensureDirectory(this.layout.root);
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
    return IngestWriter.open(this.layout, file, signal, (message) => this.warnings.add(message));
  }

  /** Sets a corrupt blob aside; see `quarantine.ts`. */
  async quarantine(file: PinnedFile, reason: string): ReturnType<typeof setAside> {
    try {
      return await setAside(this.layout, file, reason);
    } catch (error) {
      throw asVolumeError(error, `cannot quarantine ${file.path}`);
    }
  }

  /** The newest entries in quarantine, the newest first. */
  async quarantined(): Promise<CacheStatus['quarantine']> {
    const entries = await listQuarantine(this.layout, 100);
    return entries.map(({ name, path = null, reason, at, bytes }) => ({ name, path, reason, at, bytes }));
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
   * Removes leftovers of interrupted writes that no process holds or can use: temporary files, and partials of
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
      await removeFrom(this.layout.ingest, name);
      removed.push(name);
    }
    return removed;
  }

  /** The volume's facts; never throws, since they are asked for when something is wrong. */
  async facts(): Promise<VolumeFacts> {
    const { root } = this.layout;
    const [mount, writable, space] = await Promise.all([
      mountOf(root).catch(() => undefined),
      this.#isWritable(),
      this.space(),
    ]);
    return {
      path: root,
      mount: mount !== undefined,
      writable,
      free_bytes: space?.freeBytes ?? null,
      total_bytes: space?.totalBytes ?? null,
    };
  }

  /** How large the volume is and how much of it is free; `undefined` when it does not tell. */
  space(): Promise<VolumeSpace | undefined> {
    return spaceOf(this.layout.root).catch(() => undefined);
  }

  async #checkMount(): Promise<void> {
    const { root } = this.layout;
    const mount = await mountOf(root);
    if (mount?.type === 'tmpfs') {
      this.warnings.add(
        `${root} is on a tmpfs at ${mount.point}: it is gone with the container or the machine`,
      );
    }
    if (mount || !this.#mustBeMount) return;
    throw new AppError(
      'volume_not_mounted',
      `${root} is on no mounted volume, and what is written there would be lost with the container; ` +
        `attach a volume at ${root} or above, or set REQUIRE_MOUNT=false if that is what you want`,
      { retryable: true },
    );
  }

  async #freeBytes(): Promise<number> {
    try {
      return (await spaceOf(this.layout.root)).freeBytes;
    } catch (error) {
      throw asVolumeError(error, `cannot measure the volume ${this.layout.root}`);
    }
  }

  #isWritable(): Promise<boolean> {
    const { ingest, blobs } = this.layout;
    return Promise.all([ingest, blobs].map((folder) => access(folder, constants.W_OK))).then(
      () => true,
      () => false,
    );
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
    const { stat } = opened;
    const fingerprint = fingerprintOf(stat);
    const corrupt = (reason: string): Verdict => ({ state: 'corrupt', reason, fingerprint });
    try {
      if (stat.size !== BigInt(file.size)) return corrupt(`size is ${stat.size}, pinned is ${file.size}`);
      const actual = await digestOf(opened.file);
      if (actual !== file.sha256) return corrupt(`sha256 is ${actual}, pinned is ${file.sha256}`);
      return { state: 'verified', fingerprint };
    } catch (error) {
      // A sector that cannot be read is corruption; running out of descriptors or memory is not.
      if (errnoOf(error) === 'EIO') return corrupt(messageOf(error));
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
        // One bad file can be replaced. Where nothing can be written either, the whole volume is another user's.
        if (await this.#isWritable()) return { state: 'corrupt', reason: `unreadable: ${messageOf(error)}` };
        throw new AppError('volume_unavailable', asVolumeError(error, `cannot read ${path}`).message, {
          retryable: true,
          cause: error,
        });
      case 'EIO':
        return { state: 'corrupt', reason: `unreadable: ${messageOf(error)}` };
      default:
        throw asVolumeError(error, `cannot open ${path}`);
    }
  }
}
