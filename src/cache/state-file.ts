import * as z from 'zod';
import type { FileStatus } from './cache-state.js';
import { readSmall, writeAtomic } from './disk.js';
import type { Layout } from './layout.js';
import type { Manifest } from './manifest.js';

const notesSchema = z.object({
  schema: z.literal(1),
  files: z.array(z.object({ sha256: z.string(), source: z.string().max(200).optional() })).max(10_000),
});

/**
 * Writes `state.json`: what was verified, when, and from which source it came. It is information for people
 * and for the next process's status page; nothing is ever decided by it.
 */
export async function writeNotes(
  layout: Layout,
  manifest: Manifest,
  files: readonly FileStatus[],
): Promise<void> {
  const notes = {
    schema: 1,
    model: { repo: manifest.repo, revision: manifest.revision, variant: manifest.variant },
    files: files.map(({ path, sha256, state, verifiedAt, source }) => ({
      path,
      sha256,
      state,
      verified_at: verifiedAt,
      source,
    })),
  };
  await writeAtomic(layout.state, `${JSON.stringify(notes, null, 2)}\n`, layout.ingest);
}

/** Which source each digest (hex) came from, as far as `state.json` can be read and tells. */
export async function readNotes(layout: Layout): Promise<ReadonlyMap<string, string>> {
  const bytes = await readSmall(layout.state);
  let json: unknown;
  try {
    json = JSON.parse(bytes?.toString('utf8') ?? '');
  } catch {
    return new Map();
  }
  const notes = notesSchema.safeParse(json);
  if (!notes.success) return new Map();
  return new Map(notes.data.files.flatMap(({ sha256, source }) => (source ? [[sha256, source]] : [])));
}
