import { basename } from 'node:path';
import { createClassifier } from '../daemon/create-classifier.js';
import { MAX_ROUTE_FILE_BYTES } from '../routes/route-file.js';
import { parseRouteSet } from '../routes/routes.js';
import { readTextFile } from '../routes/text-file.js';
import { type LocalModelOptions, withLocalModel } from './local-model.js';

/**
 * Embeds the routes and trains their head into the cache folder, so that a daemon's first start has neither to do.
 * What is kept holds for this kind of processor only, since a quantized model rounds differently on another.
 * @returns how many routes there are
 * @throws AppError `routes_invalid`, or why the model is not to be had
 */
export async function warmRoutes(options: Omit<LocalModelOptions, 'whose'>): Promise<number> {
  const { config, signal } = options;
  const { text } = await readTextFile(config.routesFile, MAX_ROUTE_FILE_BYTES);
  const set = parseRouteSet(text, { origin: basename(config.routesFile) });
  await withLocalModel({ ...options, whose: 'daemon' }, async (encoder) => {
    const classifier = createClassifier({ method: config.classifyMethod });
    await classifier.load(set, { encoder, signal });
    classifier.close();
  });
  return set.routes.length;
}
