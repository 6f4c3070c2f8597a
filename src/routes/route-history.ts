import { createHash } from 'node:crypto';
import * as z from 'zod';
import { type RouteVersionBody, versionSchema } from '../api/routes.js';
import { canonicalJson, type JsonValue } from './route-set.js';

/** One entry of the history of a route set. */
export type RouteVersion = RouteVersionBody;

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
