import { cachePaths } from './cache.js';
import { classifyPaths } from './classify.js';
import type { EmbeddingModel } from './embedding-model.js';
import { healthPaths } from './health.js';
import type { RequestLimits } from './limits.js';
import { lintPaths } from './lint.js';
import { metricsPaths } from './metrics.js';
import { modelPaths } from './models.js';
import { openInferencePaths } from './open-inference.js';
import { openAiPaths } from './openai.js';
import type { Paths } from './operation.js';
import { referencePaths } from './reference.js';
import { routesPaths } from './routes.js';
import { teiPaths } from './tei.js';

/** Groups of operations, in the order in which people read them. */
export const TAGS = [
  { name: 'Classification', description: 'Where should a text go?' },
  {
    name: 'Embeddings',
    description: "Vectors, in the words of OpenAI's API and of Text Embeddings Inference",
  },
  { name: 'Routes', description: 'What texts are told apart by, and changing it while serving' },
  { name: 'Health', description: 'For platforms, monitors and people' },
  { name: 'Cache', description: 'The verified model on its volume' },
  { name: 'Model files', description: 'One download feeds a fleet' },
  { name: 'Contract', description: 'This document' },
] as const;

/** Every path that is served. A new resource adds its own file and one line here. */
export function contractPaths(limits: RequestLimits, model: EmbeddingModel): Paths {
  return merged([
    classifyPaths(limits),
    openAiPaths(limits, model),
    teiPaths(limits, model),
    routesPaths(),
    lintPaths(),
    healthPaths(),
    openInferencePaths(),
    metricsPaths(),
    cachePaths(),
    modelPaths(),
    referencePaths(),
  ]);
}

/** All of them together; two may have operations of one path. */
function merged(parts: readonly Paths[]): Paths {
  const all: Paths = {};
  for (const part of parts) {
    for (const [path, operations] of Object.entries(part)) all[path] = { ...all[path], ...operations };
  }
  return all;
}
