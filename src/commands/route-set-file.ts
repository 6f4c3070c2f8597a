import { basename } from 'node:path';
import { MAX_ROUTE_FILE_BYTES } from '../classify/route-file.js';
import type { RouteSet } from '../classify/route-set.js';
import { parseRouteSet } from '../classify/routes.js';
import { readTextFile } from '../classify/text-file.js';

/**
 * Reads a routes file.
 * @throws AppError `routes_invalid`
 */
export async function readRouteSet(path: string): Promise<RouteSet> {
  const { text } = await readTextFile(path, MAX_ROUTE_FILE_BYTES);
  return parseRouteSet(text, { origin: basename(path) });
}
