import { basename } from 'node:path';
import { MAX_ROUTE_FILE_BYTES } from '../routes/route-file.js';
import type { RouteSet } from '../routes/route-set.js';
import { parseRouteSet } from '../routes/routes.js';
import { readTextFile } from '../routes/text-file.js';

/**
 * Reads a routes file.
 * @throws AppError `routes_invalid`
 */
export async function readRouteSet(path: string): Promise<RouteSet> {
  const { text } = await readTextFile(path, MAX_ROUTE_FILE_BYTES);
  return parseRouteSet(text, { origin: basename(path) });
}
