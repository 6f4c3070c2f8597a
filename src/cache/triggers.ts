import { dirname } from 'node:path';
import { type ScheduledTask, schedule, validate } from 'node-cron';
import { messageOf } from '../shared/errors.js';
import type { Log } from '../shared/log.js';
import { fingerprintOf, statOf } from './disk.js';
import { blobPath, type Layout } from './layout.js';
import type { Manifest } from './manifest.js';
import type { Reconciler } from './reconciler.js';
import { looksResolved } from './volume.js';

/** Time between two looks at the blobs, in milliseconds. */
const LOOK_MS = 500;

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
 * Requests verifications: by the clock (node-cron), and early when a look, twice a second, shows that something else has
 * changed the blobs, or that the volume has recovered. A change that leaves no trace in metadata is left to the clock.
 */
export class Triggers {
  readonly #options: TriggersOptions;
  readonly #scheduling: NodeJS.Timeout;
  readonly #timer: NodeJS.Timeout;
  #task: ScheduledTask | undefined;
  #look: Promise<void> | undefined;
  /** The folders, and the blobs that are not whole, as the last look since a run found them. */
  #seen: ReadonlyMap<string, string | undefined> | undefined;
  #changedAt: number | undefined;
  /** Whether the last look has seen the problem of the volume. */
  #inTrouble = false;
  #closed = false;

  constructor(options: TriggersOptions) {
    this.#options = options;
    this.#scheduling = setTimeout(() => this.#schedule(), SCHEDULE_AFTER_MS).unref();
    this.#timer = setInterval(() => {
      this.#look ??= this.#lookAround()
        .catch(() => undefined)
        .finally(() => {
          this.#look = undefined;
        });
    }, LOOK_MS).unref();
    options.reconciler.onRun(() => {
      this.#seen = undefined;
      this.#inTrouble = false;
    });
  }

  /** When the next scheduled verification is due. */
  get nextRun(): Date | undefined {
    return this.#closed ? undefined : (this.#schedule().getNextRun() ?? undefined);
  }

  /** Stops both; resolves when nothing more will be requested. */
  async close(): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#scheduling);
    clearInterval(this.#timer);
    await this.#task?.destroy();
    await this.#look;
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

  async #lookAround(): Promise<void> {
    const { reconciler, log } = this.#options;
    // Before the first run nothing is known, and a run under way writes itself.
    if (!reconciler.lastReport || reconciler.busy) return;
    if (await this.#hasRecovered()) return this.#request('retry');
    const path = await this.#changed();
    if (this.#closed || reconciler.busy) return;
    if (path !== undefined && this.#changedAt === undefined) {
      log.info({ path }, 'external change detected on volume');
      this.#changedAt = performance.now();
    }
    // From the first change on: a disk that goes bad more often than that is repaired all the same.
    if (this.#changedAt === undefined || performance.now() - this.#changedAt < reconciler.holdOffMs) return;
    this.#changedAt = undefined;
    this.#request('change');
  }

  /**
   * Whether a problem of the volume that a look has seen is over. One that no look sees (a quota, say) is left to the
   * reconciler's pauses: otherwise it would be attempted at each look.
   */
  async #hasRecovered(): Promise<boolean> {
    const { reconciler, layout } = this.#options;
    const { code } = reconciler.state.volumeProblem ?? {};
    const wasInTrouble = this.#inTrouble;
    this.#inTrouble =
      code !== undefined &&
      reconciler.retryAt !== undefined &&
      !(await looksResolved(layout, code, reconciler.lackingBytes));
    return wasInTrouble && !this.#inTrouble;
  }

  /** The first thing that is not as the last run or look found it. */
  async #changed(): Promise<string | undefined> {
    const { layout, manifest, reconciler } = this.#options;
    const before = this.#seen;
    const seen = new Map<string, string | undefined>();
    // Below another folder, or a link to one, blobs may look as before.
    for (const folder of [layout.root, dirname(layout.blobs), layout.blobs]) {
      const stat = await statOf(folder);
      // A folder made again may get the number of the old one; its time of birth differs.
      seen.set(folder, stat && `${stat.dev}:${stat.ino}:${stat.birthtimeNs}`);
    }
    let changed: string | undefined;
    for (const file of manifest.files) {
      if (await reconciler.isAsRead(file)) continue;
      if (reconciler.state.file(file).state === 'verified') changed ??= file.path;
      const stat = await statOf(blobPath(layout, file.sha256));
      seen.set(file.path, stat && fingerprintOf(stat));
    }
    for (const [path, now] of seen) if (before && before.get(path) !== now) changed ??= path;
    this.#seen = seen;
    return changed;
  }
}
