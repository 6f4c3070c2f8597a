import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/**
 * Writes the default routes with one utterance changed, and returns their path: the program comes with the vectors
 * of all the others, but not with the head of this set.
 */
export function ownRoutes(folder: string): string {
  const text = readFileSync('routes/default.yaml', 'utf8');
  const changed = text.replace(
    'write unit tests for this python class',
    'write unit tests for this ruby class',
  );
  if (changed === text) throw new Error('the default routes have changed: change another utterance here');
  const path = join(folder, 'own-routes.yaml');
  writeFileSync(path, changed);
  return path;
}
