import type { RequestLimits } from '../../api/limits.js';
import type { MetricsPort } from '../../telemetry/ports.js';
import type { ContractSettings, Endpoint } from '../openapi.js';
import { type CachePorts, cacheEndpoints } from './cache.js';
import { type ClassifyPorts, classifyEndpoints } from './classify.js';
import { decisionEndpoints } from './decision.js';
import { embeddingEndpoints } from './embeddings.js';
import { type HealthPorts, healthEndpoints } from './health.js';
import { type ModelPorts, modelEndpoints } from './models.js';
import { type PagePorts, pageEndpoints } from './pages.js';
import { type QuestionPorts, questionEndpoints } from './questions.js';
import { type RoutePorts, routeEndpoints } from './routes.js';
import { type TeiPorts, teiEndpoints } from './tei.js';

/** Everything that endpoints are given. */
export interface Ports
  extends ClassifyPorts,
    TeiPorts,
    QuestionPorts,
    RoutePorts,
    HealthPorts,
    CachePorts,
    ModelPorts,
    PagePorts {
  readonly limits: RequestLimits;
  readonly metrics: MetricsPort;
}

/** Every endpoint of the daemon, in the order of the contract. */
export function allEndpoints(settings: ContractSettings): Endpoint<Ports>[] {
  return [
    ...classifyEndpoints(settings),
    ...decisionEndpoints(settings),
    ...questionEndpoints(settings),
    ...embeddingEndpoints(settings),
    ...teiEndpoints(settings),
    ...routeEndpoints(),
    ...healthEndpoints(),
    ...cacheEndpoints(),
    ...modelEndpoints(),
    ...pageEndpoints(settings, () => allEndpoints(settings)),
  ];
}
