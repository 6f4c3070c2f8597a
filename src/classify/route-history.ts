import { createHash } from 'node:crypto';
import * as z from 'zod';
import { canonicalJson, type JsonValue } from './route-set.js';

/** What was done to the routes. `file`: the routes file was taken up, at first or after an edit. */
export const ROUTE_ACTIONS = ['file', 'replace', 'put', 'delete', 'rollback'] as const;

const versionSchema = z.strictObject({
  version: z.int().min(1),
  /** Digest of the routes, as decisions name it. */
  digest: z.string().regex(/^sha256:[0-9a-f]{64}$/),
  /** sha256 (hex) of the document's bytes, which is its name on the volume as well. */
  document: z.string().regex(/^[0-9a-f]{64}$/),
  action: z.enum(ROUTE_ACTIONS),
  /** The route that was put or deleted. */
  route: z.string().exactOptional(),
  /** The version that a rollback went back to. */
  restores: z.int().min(1).exactOptional(),
  /** Digest of the routes in the routes file when this was done. */
  based_on: z.string().regex(/^sha256:[0-9a-f]{64}$/),
  routes: z.int().min(1),
  utterances: z.int().min(1),
  at: z.string(),
});

/** One entry of the history of a route set. */
export type RouteVersion = z.infer<typeof versionSchema>;

const historySchema = z.strictObject({
  schema: z.literal(1),
  sha256: z.string(),
  history: z.array(versionSchema).min(1),
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
  return parsed.data.history;
}

function checksum(history: readonly RouteVersion[]): string {
  const entries = history.map((entry): JsonValue => ({ ...entry }));
  return createHash('sha256').update(canonicalJson(entries)).digest('hex');
}
