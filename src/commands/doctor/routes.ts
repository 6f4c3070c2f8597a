import { basename } from 'node:path';
import type { ScoringMethod } from '../../config/parsers.js';
import { MAX_ROUTE_FILE_BYTES, readTextFile } from '../../routes/file.js';
import { parseRouteSet } from '../../routes/parse.js';
import { requireScorable } from '../../scoring/head/head-scoring.js';
import { messageOf } from '../../shared/errors.js';
import { count } from '../format.js';
import { type Finding, fault, fine, warning } from './finding.js';

/**
 * Do the routes parse, and can they be scored as is wanted?
 * @param method for sets that name none
 */
export async function checkRoutes(file: string, method: ScoringMethod): Promise<Finding> {
  try {
    const { text } = await readTextFile(file, MAX_ROUTE_FILE_BYTES);
    const set = parseRouteSet(text, { origin: basename(file) });
    requireScorable(set, method);
    const { routes, warnings } = set;
    const [first] = warnings;
    if (first) {
      const detail = `${count(warnings.length, 'warning')}, the first: ${first.path}: ${first.message}`;
      return warning('routes', detail, `look at ${file}`);
    }
    return fine('routes', `${count(routes.length, 'route')} in ${file}`);
  } catch (error) {
    return fault('routes', messageOf(error), `mend ${file}, or set ROUTES_FILE`);
  }
}
