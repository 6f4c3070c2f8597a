import { createHash } from 'node:crypto';
import { join } from 'node:path';
import * as z from 'zod';
import { ROUTE_LIMITS } from '../api/limits.js';
import { type RouteVersionBody, versionSchema } from '../api/routes.js';
import {
  asVolumeError,
  ensureDirectory,
  kindOf,
  namesIn,
  readSmall,
  remove,
  statOf,
  writeAtomic,
} from '../cache/disk.js';
import type { Layout } from '../cache/layout.js';
import { AppError, messageOf } from '../shared/errors.js';
import { parseRouteSet } from './parse.js';
import { canonicalJson, type JsonValue, type RouteSet, routeSetToJson } from './set.js';

/** One entry of the history of a route set. */
export type RouteVersion = RouteVersionBody;

/** How much is kept. */
export const VERSION_LIMITS = {
  /** Entries of the history, the newest ones. */
  history: 50,
  /** A document that no entry names is left alone for this long: another process may be about to name it. */
  graceMs: 60_000,
} as const;

/** Versions count from 1; a history that has come further than this was not written by a daemon. */
const MAX_VERSION = 2 ** 40;

const historySchema = z.strictObject({
  schema: z.literal(1),
  sha256: z.string(),
  history: z.array(versionSchema).min(1).max(VERSION_LIMITS.history),
});

/** Writes a history together with the digest that tells whether it was damaged since. */
export function encodeHistory(history: readonly RouteVersion[]): string {
  return `${JSON.stringify({ schema: 1, sha256: checksum(history), history }, null, 2)}\n`;
}

/** Reads what {@link encodeHistory} wrote; `undefined` when a single byte that counts has changed. */
export function decodeHistory(bytes: Uint8Array): readonly RouteVersion[] | undefined {
  let json: unknown;
  try {
    json = JSON.parse(Buffer.from(bytes).toString('utf8'));
  } catch {
    return undefined;
  }
  const parsed = historySchema.safeParse(json);
  if (!parsed.success || checksum(parsed.data.history) !== parsed.data.sha256) return undefined;
  const { history } = parsed.data;
  const sound = history.every(
    ({ version, at }, index) =>
      version > (history[index - 1]?.version ?? 0) && version < MAX_VERSION && !Number.isNaN(Date.parse(at)),
  );
  return sound ? history : undefined;
}

function checksum(history: readonly RouteVersion[]): string {
  const entries = history.map((entry): JsonValue => ({ ...entry }));
  return createHash('sha256').update(canonicalJson(entries)).digest('hex');
}

/** Bytes of a document: at most four for each character that a set may have. */
const MAX_DOCUMENT_BYTES = 4 * ROUTE_LIMITS.textChars;

/** Facts to record about a change; the rest of a {@link RouteVersion} follows from the set. */
export type RouteChange = Pick<RouteVersion, 'action' | 'based_on'> &
  Partial<Pick<RouteVersion, 'route' | 'restores'>>;

/** The history as the volume has it. */
export interface StoredHistory {
  /** The oldest first; the last one is what was served. */
  readonly history: readonly RouteVersion[];
  /** Its fault, if any. */
  readonly problem?: string;
}

/**
 * Versions of the route set on the volume. A document is named by the digest of its bytes and never changes; the
 * history names the documents and is replaced by a rename. Whatever happens in between, a reader finds the
 * history as it was before a change or after it, and each document that it names whole.
 *
 * A document is a routes file like any other: an operator may read it, or serve it through `ROUTES_FILE`.
 */
export class RouteVersions {
  readonly #layout: Layout;
  readonly #current: string;
  readonly #previous: string;

  constructor(layout: Layout) {
    this.#layout = layout;
    this.#current = join(layout.routes, 'current.json');
    this.#previous = join(layout.routes, 'previous.json');
  }

  /**
   * Reads the history. A damaged one is named, and the one before the last change takes its place. A missing one is
   * an empty one: removing it is how an operator begins anew.
   * @throws AppError `volume_unavailable`
   */
  async read(): Promise<StoredHistory> {
    const folder = await statOf(this.#layout.routes);
    if (folder && !folder.isDirectory()) {
      return { history: [], problem: `${this.#layout.routes} is a ${kindOf(folder)}, not a folder` };
    }
    if (!(await statOf(this.#current))) return { history: [] };
    const history = await readHistory(this.#current);
    if (history) return { history };
    const before = await readHistory(this.#previous);
    return before
      ? { history: before, problem: 'routes/current.json is damaged; previous.json takes its place' }
      : { history: [], problem: 'routes/current.json is damaged, and there is no whole previous.json' };
  }

  /**
   * The routes of a version, verified.
   * @throws AppError `blob_missing`, `blob_corrupt`; `routes_invalid` when this program refuses what an older one took
   */
  async load({ version, document, digest }: RouteVersion): Promise<RouteSet> {
    const path = this.#documentPath(document);
    if (!(await statOf(path))) {
      throw new AppError(
        'blob_missing',
        `version ${version} of the routes is missing: no routes/${document}.json`,
      );
    }
    const bytes = await readSmall(path, MAX_DOCUMENT_BYTES);
    if (!bytes || sha256(bytes) !== document) {
      throw new AppError(
        'blob_corrupt',
        `version ${version} of the routes is corrupt: routes/${document}.json`,
      );
    }
    const set = parseRouteSet(bytes.toString('utf8'), { origin: `version ${version}`, format: 'json' });
    if (set.digest !== digest) {
      throw new AppError(
        'blob_corrupt',
        `version ${version} of the routes holds other routes than its history says`,
      );
    }
    return set;
  }

  /**
   * The newest version that was made of these routes of the file and is whole; none where the file says the same, or
   * something else by now.
   * @returns also what was wrong with newer ones
   */
  async newestOf(
    fileDigest: string,
    history: readonly RouteVersion[],
  ): Promise<{
    readonly version: { readonly set: RouteSet; readonly version: RouteVersion } | undefined;
    readonly problems: readonly string[];
  }> {
    const problems: string[] = [];
    for (const version of history.toReversed()) {
      if (version.based_on !== fileDigest || version.digest === fileDigest) break;
      try {
        return { version: { set: await this.load(version), version }, problems };
      } catch (error) {
        problems.push(messageOf(error));
      }
    }
    return { version: undefined, problems };
  }

  /**
   * Adds versions to a history and makes the last one current, durably.
   * @param history what they are added to: what the caller has seen, whatever became of the one on the volume
   * @returns the new history
   * @throws AppError `volume_…`: nothing has changed
   */
  async append(
    history: readonly RouteVersion[],
    added: readonly (RouteChange & { readonly set: RouteSet })[],
  ): Promise<readonly RouteVersion[]> {
    const { ingest, routes } = this.#layout;
    const next = [...history];
    try {
      for (const folder of [routes, ingest]) {
        const intruder = await ensureDirectory(folder);
        if (intruder)
          throw new AppError('volume_unavailable', `${folder} is a ${kindOf(intruder)}, not a folder`);
      }
      await this.#pruneFirst(history);
      for (const { set, ...change } of added) {
        const bytes = documentOf(set);
        const document = sha256(bytes);
        // Written even if it is there: the one that is there may have rotted.
        await writeAtomic(this.#documentPath(document), bytes, ingest);
        next.push({
          version: (next.at(-1)?.version ?? 0) + 1,
          digest: set.digest,
          document,
          ...change,
          routes: set.routes.length,
          utterances: set.utteranceCount,
          at: new Date().toISOString(),
        });
      }
      const kept = next.slice(-VERSION_LIMITS.history);
      // Before the first change there is nothing to fall back on but the file.
      if (history.length > 0) await writeAtomic(this.#previous, encodeHistory(history), ingest);
      await writeAtomic(this.#current, encodeHistory(kept), ingest);
      await this.#prune(new Set([...history, ...kept].map(({ document }) => document)));
      return kept;
    } catch (error) {
      throw asVolumeError(error, 'cannot keep the routes on the volume');
    }
  }

  /**
   * Makes room for a change: what failed changes left would otherwise fill the volume, on which no change then succeeds.
   * Not while a history is damaged, since its documents are unknown.
   */
  async #pruneFirst(history: readonly RouteVersion[]): Promise<void> {
    const named = new Set(history.map(({ document }) => document));
    for (const path of [this.#current, this.#previous]) {
      if (!(await statOf(path))) continue;
      const stored = await readHistory(path);
      if (!stored) return;
      for (const { document } of stored) named.add(document);
    }
    await this.#prune(named);
  }

  /** Removes documents that neither history names. What cannot be removed now will be after the next change. */
  async #prune(named: ReadonlySet<string>): Promise<void> {
    try {
      for (const name of await namesIn(this.#layout.routes)) {
        const document = /^([0-9a-f]{64})\.json$/.exec(name)?.[1];
        if (document === undefined || named.has(document)) continue;
        const path = join(this.#layout.routes, name);
        const age = Date.now() - Number((await statOf(path))?.mtimeMs ?? Date.now());
        if (age > VERSION_LIMITS.graceMs) await remove(path);
      }
    } catch {
      // The change itself is done and durable.
    }
  }

  #documentPath(document: string): string {
    return join(this.#layout.routes, `${document}.json`);
  }
}

/** A set as it stands in its document. */
function documentOf(set: RouteSet): Buffer {
  return Buffer.from(`${JSON.stringify(routeSetToJson(set), null, 2)}\n`);
}

async function readHistory(path: string): Promise<readonly RouteVersion[] | undefined> {
  const bytes = await readSmall(path);
  return bytes && decodeHistory(bytes);
}

function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}
