import { dirname, relative, sep } from 'node:path';
import { type FSWatcher, watch } from 'chokidar';
import { type ScheduledTask, schedule, validate } from 'node-cron';
import { errnoOf, messageOf } from '../shared/errors.js';
import type { Log } from '../shared/log.js';
import { statOf } from './disk.js';
import { blobPath, type Layout } from './layout.js';
import type { Manifest } from './manifest.js';
import type { Reconciler } from './reconciler.js';

/** How long the volume must be quiet before its changes are looked at, in milliseconds. */
export const QUIET_MS = 150;

/** However long changes go on, they are looked at after this time, in milliseconds. */
export const PATIENCE_MS = 2_000;

/** Time between two looks at the volume where it cannot be watched, in milliseconds. */
const POLL_MS = 10_000;

/** The clock may wait, in milliseconds: what it needs to know of time zones is looked up for longer than a boot should take. */
const SCHEDULE_AFTER_MS = 2_000;

/** Whether `expression` is a schedule that the triggers understand. */
export function isSchedule(expression: string): boolean {
  return validate(expression);
}

/** Parts and settings of the triggers. */
export interface TriggersOptions {
  readonly manifest: Manifest;
  readonly layout: Layout;
  readonly reconciler: Reconciler;
  /** A cron expression of five or six fields, in the process's time zone. */
  readonly cron: string;
  readonly log: Log;
}

/**
 * Requests verifications: by the clock (node-cron), and early when something else changes the volume
 * (chokidar). Events are hints only: they may be missed, and they also come from our own writes, which
 * are told apart by what each blob looked like when it was last read.
 */
export class Triggers {
  readonly #options: TriggersOptions;
  #task: ScheduledTask | undefined;
  readonly #scheduling: NodeJS.Timeout;
  #watcher: FSWatcher | undefined;
  #watched: string | undefined;
  /** Set once the system has no more watches to give: from then on the volume is polled. */
  #polling = false;
  #renewing: Promise<void> = Promise.resolve();
  #quiet: NodeJS.Timeout | undefined;
  #firstEventAt: number | undefined;
  #closed = false;

  constructor(options: TriggersOptions) {
    this.#options = options;
    this.#scheduling = setTimeout(() => this.#schedule(), SCHEDULE_AFTER_MS).unref();
    options.reconciler.onRun(() => {
      this.#renewing = this.#renewing.then(() => this.#renewWatch());
    });
  }

  /** When the next scheduled verification is due. */
  get nextRun(): Date | undefined {
    return this.#closed ? undefined : (this.#schedule().getNextRun() ?? undefined);
  }

  /** Whether the volume is being watched for changes. */
  get watching(): boolean {
    return this.#watcher !== undefined;
  }

  /** Stops both; resolves when nothing more will be requested. */
  async close(): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#quiet);
    clearTimeout(this.#scheduling);
    await this.#task?.destroy();
    await this.#renewing;
    await this.#watcher?.close();
    this.#watcher = undefined;
  }

  #schedule(): ScheduledTask {
    this.#task ??= schedule(this.#options.cron, () => this.#request('schedule'), {
      name: 'verify',
      noOverlap: true,
      // A late run is made up for by the next one; the library would print it to stdout.
      suppressMissedWarning: true,
    });
    return this.#task;
  }

  #request(reason: string): void {
    if (this.#closed) return;
    this.#options.reconciler.request(reason).catch((error: unknown) => {
      this.#options.log.debug({ reason }, `verification not started: ${messageOf(error)}`);
    });
  }

  /** A folder that was removed and made again is another folder: the old watch never hears of it. */
  async #renewWatch(): Promise<void> {
    const { layout } = this.#options;
    const identity = await this.#identity();
    if (this.#closed || identity === undefined || (identity === this.#watched && this.#watcher)) return;
    await this.#watcher?.close();
    this.#watched = identity;
    this.#watcher = watch(layout.root, {
      ignoreInitial: true,
      followSymlinks: false,
      ignorePermissionErrors: true,
      atomic: false,
      depth: 3,
      ...(this.#polling && { usePolling: true, interval: POLL_MS, binaryInterval: POLL_MS }),
      ignored: (path) => this.#isIgnored(path),
    })
      .on('all', () => this.#onEvent())
      // Changes between the last verification and this moment gave no event.
      .on('ready', () => this.#onEvent())
      // The library takes a change of mode for a mere read, and drops what follows within 5 ms: a chmod and a
      // write in one breath would go unseen.
      .on('raw', () => this.#onEvent())
      .on('error', (error) => this.#unwatchable(error));
  }

  /** Without inotify, looks at the volume now and then. Scheduled verifications go on in any case. */
  #unwatchable(error: unknown): void {
    const canPoll = ['ENOSPC', 'EMFILE'].includes(errnoOf(error) ?? '') && !this.#polling;
    if (this.#closed || (!canPoll && !this.#watcher)) return;
    const how = canPoll ? `it is polled every ${POLL_MS / 1_000} s` : 'scheduled verifications go on';
    const remedy = canPoll ? ' (raise fs.inotify.max_user_watches and max_user_instances)' : '';
    this.#options.log.warn({ code: errnoOf(error) }, `the volume cannot be watched${remedy}: ${how}`);
    void this.#watcher?.close();
    this.#watcher = undefined;
    this.#watched = undefined;
    this.#polling ||= canPoll;
    if (canPoll) this.#renewing = this.#renewing.then(() => this.#renewWatch());
  }

  async #identity(): Promise<string | undefined> {
    const { layout } = this.#options;
    try {
      const folders = await Promise.all([layout.root, dirname(layout.blobs), layout.blobs].map(statOf));
      if (folders.includes(undefined)) return undefined;
      // A folder made again may get the number of the old one; its time of birth differs.
      return folders.map((stat) => stat && `${stat.dev}:${stat.ino}:${stat.birthtimeNs}`).join();
    } catch {
      return undefined;
    }
  }

  /** Only blobs matter; all else changes by our own hand. */
  #isIgnored(path: string): boolean {
    const { layout } = this.#options;
    const first = relative(layout.root, path).split(sep)[0] ?? '';
    return first !== '' && first !== 'blobs';
  }

  #onEvent(): void {
    if (this.#closed) return;
    // Not the time of day, which may jump.
    const now = performance.now();
    this.#firstEventAt ??= now;
    const patience = this.#firstEventAt + PATIENCE_MS - now;
    const waitMs = Math.max(Math.min(QUIET_MS, patience), 0);
    clearTimeout(this.#quiet);
    this.#quiet = setTimeout(
      () => void this.#lookAround().catch(() => undefined),
      // From the first event on: a disk that goes bad more often than that is repaired all the same.
      Math.max(waitMs, this.#firstEventAt + this.#options.reconciler.holdOffMs - now),
    );
    this.#quiet.unref();
  }

  async #lookAround(): Promise<void> {
    const { reconciler, manifest, layout, log } = this.#options;
    this.#firstEventAt = undefined;
    // Events of a run under way may be its own; after it, the fingerprints tell.
    if (reconciler.busy) return this.#onEvent();
    // Below another folder, or a link to one, blobs may look as before.
    const moved = (await this.#identity()) !== this.#watched;
    if (moved) return this.#request('change');
    for (const file of manifest.files) {
      // Also a corrupt one that was set aside and that no source has replaced yet: it is retried by itself.
      if (await reconciler.isAsRead(file)) continue;
      // A file that was missing and still is: the reconciler retries it by itself.
      const lacks = reconciler.state.file(file).state !== 'verified';
      if (lacks && (await statOf(blobPath(layout, file.sha256)).catch(() => undefined)) === undefined)
        continue;
      log.info({ path: file.path }, 'external change detected on volume');
      return this.#request('change');
    }
  }
}
