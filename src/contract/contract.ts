import { cachePaths } from './cache.js';
import { classifyPaths } from './classify.js';
import { healthPaths } from './health.js';
import type { RequestLimits } from './limits.js';
import { lintPaths } from './lint.js';
import { metricsPaths } from './metrics.js';
import { modelPaths } from './models.js';
import type { Paths } from './operation.js';
import { referencePaths } from './reference.js';
import { routesPaths } from './routes.js';

/** Groups of operations, in the order in which people read them. */
export const TAGS = [
  { name: 'Classification', description: 'Where should a text go?' },
  { name: 'Routes', description: 'What texts are told apart by, and changing it while serving' },
  { name: 'Health', description: 'For platforms, monitors and people' },
  { name: 'Cache', description: 'The verified model on its volume' },
  { name: 'Model files', description: 'One download feeds a fleet' },
  { name: 'Contract', description: 'This document' },
] as const;

/** Every path that is served. A new resource adds its own file and one line here. */
export function contractPaths(limits: RequestLimits): Paths {
  return {
    ...classifyPaths(limits),
    ...routesPaths(),
    ...lintPaths(),
    ...healthPaths(),
    ...metricsPaths(),
    ...cachePaths(),
    ...modelPaths(),
    ...referencePaths(),
  };
}
