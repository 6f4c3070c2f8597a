import { join } from 'node:path';

/**
 * The names on the volume, and nowhere else:
 *
 * ```
 * blobs/sha256/<hex>             immutable, read-only, visible only once verified
 * ingest/<hex>.<owner>.part      a download under way, resumable
 * ingest/<name>.<owner>.tmp      a small file on its way to an atomic rename
 * quarantine/<hex>.<when>        evidence of corruption, with a .json beside it that says why
 * vectors/<hex>.bin              derived: embeddings of route utterances, by model digest
 * vectors/<hex>.head-texts.bin   the same of the other texts that heads are trained with
 * vectors/<hex>.heads.bin        derived: trained heads, by model digest
 * vectors/<hex>.commands.bin     the same, of what lint and eval embedded
 * routes/<hex>.json              a version of the route set, by the digest of its bytes
 * routes/current.json            the history of versions, the served one last; previous.json: as it was before
 * routes/leader.json             the last good set of the leader that `ROUTES_URL` names
 * state.json                     what was verified, when, from which source (information, never trusted)
 * ```
 */
export interface Layout {
  readonly root: string;
  readonly blobs: string;
  readonly ingest: string;
  readonly quarantine: string;
  readonly vectors: string;
  readonly routes: string;
  readonly state: string;
}

export function layoutOf(root: string): Layout {
  return {
    root,
    blobs: join(root, 'blobs', 'sha256'),
    ingest: join(root, 'ingest'),
    quarantine: join(root, 'quarantine'),
    vectors: join(root, 'vectors'),
    routes: join(root, 'routes'),
    state: join(root, 'state.json'),
  };
}

/** Every folder of a volume below its root, parents first. */
export function foldersOf(layout: Layout): readonly string[] {
  const { root, blobs, ingest, quarantine, vectors, routes } = layout;
  return [join(root, 'blobs'), blobs, ingest, quarantine, vectors, routes];
}

/** Where the blob with this digest (hex) stands. */
export function blobPath(layout: Layout, sha256: string): string {
  return join(layout.blobs, sha256);
}

/** Where `owner` writes the blob with this digest (hex) until it is whole. */
export function partialPath(layout: Layout, sha256: string, owner: string): string {
  return join(layout.ingest, `${sha256}.${owner}.part`);
}

/** Parses a name in `ingest/`; `undefined` for files of others. */
export function parseIngestName(
  name: string,
): { kind: 'part' | 'tmp'; subject: string; owner: string } | undefined {
  const match = /^([\w.-]+)\.([0-9a-z-]+)\.(part|tmp)$/.exec(name);
  if (match?.[1] === undefined || match[2] === undefined) return undefined;
  return { kind: match[3] === 'part' ? 'part' : 'tmp', subject: match[1], owner: match[2] };
}

/** Where a bad entry found under this digest (hex) is set aside; `when` is milliseconds since 1970. */
export function quarantinePath(layout: Layout, sha256: string, when: number): string {
  return join(layout.quarantine, `${sha256}.${when}`);
}

/**
 * Parses a name in `quarantine/`; `undefined` for files of others and an entry's `.json`. A time of more than 15
 * digits is none that a date can hold.
 */
export function parseQuarantineName(name: string): { sha256: string; when: number } | undefined {
  const match = /^([0-9a-f]{64})\.(\d{1,15})$/.exec(name);
  return match?.[1] === undefined ? undefined : { sha256: match[1], when: Number(match[2]) };
}
