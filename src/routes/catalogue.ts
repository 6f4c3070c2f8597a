import { throwIfAborted } from '../shared/concurrent.js';
import { AppError, messageOf } from '../shared/errors.js';
import type { Log } from '../shared/log.js';
import type { RouteSet } from './set.js';
import type { RouteChange, RouteVersion, RouteVersions } from './versions.js';

/** Makes a set serve. `commit` runs when it is ready and before it serves; if it fails, the old set stays. */
export type ServeRoutes = (
  set: RouteSet,
  options: { readonly signal: AbortSignal; readonly commit?: () => Promise<void> },
) => Promise<void>;

/** The routes that are served, and where they come from. */
export interface ServedRoutes {
  readonly set: RouteSet;
  /** The version on the volume; `undefined` where the routes file itself is served. */
  readonly version: RouteVersion | undefined;
}

export interface ChangeReport extends ServedRoutes {
  /** Whether anything is different now. */
  readonly changed: boolean;
}

/** Options of {@link RouteCatalogue}. */
export interface RouteCatalogueOptions {
  readonly versions: RouteVersions;
  readonly serve: ServeRoutes;
  /** Address of the daemon whose routes are followed; they are changed there only. */
  readonly leader?: string | undefined;
  readonly log: Log;
}

/**
 * Decides which routes are served: those of the file, or those that an administrator made of them.
 *
 * A version is bound to the routes that the file had when it was made. It is served as long as the file says the
 * same, over any number of boots; once the file says something else, the file is served, and the version stays in
 * the history, from where a rollback brings it back. So an edit of the file always takes effect, and a change over
 * HTTP is undone by nothing but an edit or another change.
 *
 * Changes come one after the other. Each names the digest of the set that it was made from; only one of two
 * editors who began with the same set gets through.
 */
export class RouteCatalogue {
  readonly #options: RouteCatalogueOptions;
  readonly #queue = new Queue();
  readonly #stop = new AbortController();
  #history: readonly RouteVersion[] = [];
  #file: RouteSet | undefined;
  #served: ServedRoutes | undefined;
  /** Why something else is served than should be. */
  #problem: string | undefined;

  constructor(options: RouteCatalogueOptions) {
    this.#options = options;
  }

  /** The set that is served; `undefined` before the file was taken up for the first time. */
  get served(): ServedRoutes | undefined {
    return this.#served;
  }

  /** Fault of the versions on the volume, if any. */
  get problem(): string | undefined {
    return this.#problem;
  }

  /** Digest of the routes in the file. */
  get fileDigest(): string | undefined {
    return this.#file?.digest;
  }

  /** The oldest first. */
  get history(): readonly RouteVersion[] {
    return this.#history;
  }

  /**
   * Takes up what the routes file says, at first and after each edit.
   * @throws what `serve` throws: what was served before stays
   */
  follow(file: RouteSet, { signal }: { readonly signal: AbortSignal }): Promise<void> {
    return this.#queue.run(async () => {
      throwIfAborted(signal);
      if (this.#served && this.#file?.digest === file.digest) {
        // Another model, or other comments. Whatever became of the volume meanwhile, the routes stay.
        await this.#options.serve(this.#served.set, { signal });
        this.#file = file;
        return;
      }
      const { history, problem } = await this.#readHistory();
      const latest = history.at(-1);
      // While something is served, the file was edited: that is what this is about.
      const found = this.#served ? undefined : await this.#options.versions.newestOf(file.digest, history);
      const problems = [...(found?.problems ?? [])];
      let chosen: ServedRoutes = found?.version ?? { set: file, version: undefined };
      try {
        await this.#options.serve(chosen.set, { signal });
      } catch (error) {
        // A version that the settings of today refuse must not keep the daemon from serving.
        if (!chosen.version || !(error instanceof AppError) || error.code !== 'routes_invalid') throw error;
        problems.push(`version ${chosen.version.version} cannot be served: ${error.message}`);
        chosen = { set: file, version: undefined };
        await this.#options.serve(file, { signal });
      }
      this.#file = file;
      this.#history = history;
      this.#served = chosen;
      this.#tell([problem, ...problems]);
      if (chosen.version) {
        const { version, digest } = chosen.version;
        this.#options.log.info(
          { version, digest },
          'routes: the version on the volume is served, not the file',
        );
      } else if (latest && latest.digest !== file.digest && problems.length === 0) {
        await this.#noteFile(file, latest);
      }
    });
  }

  /**
   * Changes the routes.
   * @param expected digests that the editor may have begun with
   * @param edit makes the new set of the one that is served; what it throws ends the change
   * @throws AppError `precondition_failed`, `not_ready`, `overloaded`, `draining`, `volume_…`, or what `edit` or
   *   `serve` throws: what was served before stays
   */
  change(
    expected: readonly string[],
    change: Omit<RouteChange, 'based_on'>,
    edit: (set: RouteSet) => RouteSet,
  ): Promise<ChangeReport> {
    return this.#exclusively(expected, async (served, file) => {
      const set = edit(served.set);
      return this.#apply(served, file, set, change);
    });
  }

  /**
   * Goes back to a version, which becomes the newest one.
   * @param version default: the last one with other routes than are served now
   * @throws AppError `validation_failed` where there is no such version, `blob_missing`, `blob_corrupt`; as {@link change}
   */
  rollback(expected: readonly string[], version?: number): Promise<ChangeReport> {
    return this.#exclusively(expected, async (served, file) => {
      const target =
        version === undefined
          ? this.#history.findLast(
              (entry) =>
                entry.digest !== served.set.digest &&
                entry.version < (served.version?.version ?? Number.POSITIVE_INFINITY),
            )
          : this.#history.find((entry) => entry.version === version);
      if (!target) {
        const message =
          version === undefined ? 'there is no version to go back to' : `there is no version ${version}`;
        throw new AppError('validation_failed', message, { issues: [{ path: 'version', message }] });
      }
      const set = await this.#options.versions.load(target);
      return this.#apply(served, file, set, { action: 'rollback', restores: target.version });
    });
  }

  /**
   * Reads a version of the history.
   * @throws AppError `not_found` where there is no such version, `blob_missing`, `blob_corrupt`
   */
  async version(version: number): Promise<RouteSet> {
    const entry = this.#history.find((each) => each.version === version);
    if (!entry) throw new AppError('not_found', `there is no version ${version}`);
    return this.#options.versions.load(entry);
  }

  /** Refuses further changes and aborts the one under way. */
  close(): void {
    this.#stop.abort(
      new AppError('draining', 'shutting down: the routes stay as they are', { retryable: true }),
    );
  }

  #exclusively(
    expected: readonly string[],
    work: (served: ServedRoutes, file: RouteSet) => Promise<ChangeReport>,
  ): Promise<ChangeReport> {
    return this.#queue.run(async () => {
      throwIfAborted(this.#stop.signal);
      const { leader } = this.#options;
      if (leader) {
        throw new AppError('forbidden', `this daemon follows the routes of ${leader}; change them there`);
      }
      await this.#catchUp();
      const served = this.#served;
      const file = this.#file;
      if (!served || !file)
        throw new AppError('not_ready', 'no route set is loaded yet', { retryable: true });
      if (!expected.includes(served.set.digest)) {
        throw new AppError(
          'precondition_failed',
          `the routes are now ${served.set.digest}; get them, make your change again, and send that ETag as If-Match`,
        );
      }
      return work(served, file);
    });
  }

  async #apply(
    served: ServedRoutes,
    file: RouteSet,
    set: RouteSet,
    change: Omit<RouteChange, 'based_on'>,
  ): Promise<ChangeReport> {
    if (set.digest === served.set.digest) return { ...served, changed: false };
    const { versions, serve, log } = this.#options;
    const based_on = file.digest;
    let history = this.#history;
    await serve(set, {
      signal: this.#stop.signal,
      commit: async () => {
        // The set of the file is the first version, so that the first change can be undone like any other.
        const first = { set: file, action: 'file', based_on } as const;
        history = await versions.append(history, [
          ...(history.length === 0 ? [first] : []),
          { ...change, set, based_on },
        ]);
      },
    });
    this.#history = history;
    // A change that ends where the file is leaves nothing that the file does not say.
    const version = set.digest === file.digest ? undefined : history.at(-1);
    this.#served = { set, version };
    this.#problem = undefined;
    const { routes, utteranceCount, digest } = set;
    const counts = { routes: routes.length, utterances: utteranceCount, digest };
    log.info(
      { ...change, ...counts, version: history.at(-1)?.version },
      'routes: changed by an administrator',
    );
    return { set, version, changed: true };
  }

  /**
   * Two daemons may share a volume. What the other one made of the same file is served here before anything is
   * changed, so that its change is answered with 412 and not written over.
   */
  async #catchUp(): Promise<void> {
    const { history } = await this.#options.versions.read();
    const latest = history.at(-1);
    const known = this.#history.at(-1);
    if (!latest || !this.#file || latest.at === known?.at || latest.version < (known?.version ?? 0)) return;
    this.#history = history;
    if (latest.based_on !== this.#file.digest) return;
    try {
      const set = await this.#options.versions.load(latest);
      await this.#options.serve(set, { signal: this.#stop.signal });
      this.#served = { set, version: set.digest === this.#file.digest ? undefined : latest };
      this.#options.log.info({ version: latest.version }, 'routes: another process changed them');
    } catch (error) {
      throwIfAborted(this.#stop.signal);
      this.#tell([messageOf(error)]);
    }
  }

  async #readHistory(): Promise<{ history: readonly RouteVersion[]; problem: string | undefined }> {
    if (this.#served || this.#options.leader) return { history: this.#history, problem: undefined };
    try {
      const { history, problem } = await this.#options.versions.read();
      return { history, problem };
    } catch (error) {
      return { history: [], problem: messageOf(error) };
    }
  }

  /** Puts the edited file into the history, once there is one. */
  async #noteFile(file: RouteSet, latest: RouteVersion): Promise<void> {
    const { log, versions } = this.#options;
    const message =
      latest.action === 'file'
        ? 'routes: the file differs from the one that was served before'
        : `routes: the file differs from the one before and is served again; version ${latest.version} is kept, a rollback brings it back`;
    log[latest.action === 'file' ? 'info' : 'warn'](
      { version: latest.version, digest: file.digest },
      message,
    );
    try {
      const entry = { set: file, action: 'file', based_on: file.digest } as const;
      this.#history = await versions.append(this.#history, [entry]);
    } catch (error) {
      log.warn({ reason: messageOf(error) }, 'routes: the edited file could not be put into the history');
    }
  }

  #tell(problems: readonly (string | undefined)[]): void {
    const found = problems.filter((problem) => problem !== undefined);
    this.#problem = found.length === 0 ? undefined : found.join('; ');
    if (this.#problem) this.#options.log.error({ reason: this.#problem }, `routes: ${this.#problem}`);
  }
}

/** Pieces of work that may wait; more are refused. */
const MAX_WAITING = 64;

/** Runs one piece of work after the other, in the order in which they came. */
class Queue {
  #last: Promise<unknown> = Promise.resolve();
  #waiting = 0;

  /** @throws AppError `overloaded` when too many wait; what `work` throws */
  async run<T>(work: () => Promise<T>): Promise<T> {
    if (this.#waiting >= MAX_WAITING) {
      throw new AppError('overloaded', 'too many changes wait for their turn', { retryable: true });
    }
    this.#waiting += 1;
    const turn = this.#last.then(work);
    this.#last = turn.catch(() => undefined);
    try {
      return await turn;
    } finally {
      this.#waiting -= 1;
    }
  }
}
