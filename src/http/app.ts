import type { RequestListener } from 'node:http';
import type Router from '@koa/router';
import Koa, { type Context, type Next } from 'koa';
import type { RequestLimits } from '../api/limits.js';
import type { TrustedProxy } from '../config/parsers.js';
import { AppError, messageOf } from '../shared/errors.js';
import { brief } from './body.js';
import { type CachePort, cacheRoutes } from './cache.js';
import { type ClassifierPort, classifyRoutes } from './classify.js';
import { trustProxy } from './client-address.js';
import { crossOrigin } from './cross-origin.js';
import { docsRoutes } from './docs.js';
import { EarlyRefusal, type EarlyRefusalDeps } from './early-refusal.js';
import type { EmbeddingsPort } from './embeddings.js';
import { sendError } from './error-format.js';
import { gate } from './gate.js';
import { checkHead } from './head.js';
import { type HealthPort, healthRoutes } from './health.js';
import { IndexedRouter } from './indexed-router.js';
import { type MetricsPort, metricsRoutes } from './metrics.js';
import { type ModelsPort, modelRoutes } from './models.js';
import { openInferenceHealth } from './open-inference.js';
import { openAiEmbeddings } from './openai/embeddings.js';
import { openAiModels } from './openai/models.js';
import { type ContractSettings, openapiRoutes } from './openapi.js';
import { type PagePort, pageRoutes } from './page.js';
import { RequestRecord } from './request-record.js';
import { type LintPort, lintPaths } from './route-lint.js';
import { type RoutesPort, routeSetRoutes } from './routes.js';
import { secureHeaders } from './secure-headers.js';
import { teiEmbed } from './tei/embed.js';
import { teiInfo } from './tei/info.js';

/** What the HTTP surface is given; it constructs nothing itself. */
export interface AppDeps extends EarlyRefusalDeps {
  readonly classifier: ClassifierPort;
  readonly embeddings: EmbeddingsPort;
  readonly health: HealthPort;
  readonly cache: CachePort;
  readonly metrics: MetricsPort;
  /** The model's files for other instances; `undefined` serves none. */
  readonly models: ModelsPort | undefined;
  readonly routes: RoutesPort;
  /** The routes file's base name. */
  readonly routesFile: string;
  readonly lint: LintPort;
  readonly page: PagePort;
  readonly limits: RequestLimits;
  /** What the contract says of this daemon. */
  readonly contract: ContractSettings;
  readonly trustedProxy: TrustedProxy;
  /** Most headers of one request. */
  readonly maxHeaders: number;
  /** Texts that may wait for inference, and the workers that take them. */
  readonly maxQueue: number;
  readonly workers: number;
  readonly version: string;
  /** Time for one classification, waiting included, in milliseconds. */
  readonly requestTimeoutMs: number;
}

/** Builds the application: identity and timing, then errors, then the resources; before all, refusals in a flood. */
export function createApp(deps: AppDeps): RequestListener {
  const app = new Koa();
  trustProxy(app, deps.trustedProxy);
  app.use((context, next) => identify(context, next, deps));
  app.use(secureHeaders);
  if (deps.corsOrigins.length > 0) app.use(crossOrigin(deps.corsOrigins));
  const early = new EarlyRefusal(app, deps);
  app.use((context, next) => answerErrors(context, next, deps, early));
  app.use((context, next) => {
    checkHead(context.req, deps.maxHeaders);
    return next();
  });
  const router = new IndexedRouter();
  app.use(gate(deps, router));
  healthRoutes(router, deps.health);
  openInferenceHealth(router, deps.health);
  openapiRoutes(router, deps.contract);
  docsRoutes(router);
  classifyRoutes(router, deps);
  openAiEmbeddings(router, deps);
  openAiModels(router, deps);
  teiEmbed(router, deps);
  teiInfo(router, deps);
  cacheRoutes(router, deps.cache, deps.adminKeys);
  metricsRoutes(router, deps.metrics);
  if (deps.models) modelRoutes(router, deps.models);
  // Before `/routes/:name`, so that it is not taken for a route of that name.
  lintPaths(router, deps);
  routeSetRoutes(router, deps);
  pageRoutes(router, deps.page);
  app.use(router.routes());
  app.use((context) => refuse(context, router));
  // A connection that broke while we wrote is the client's affair; everything else was answered above.
  app.on('error', (error) => deps.log.debug({ err: error }, 'response not delivered'));
  return early.before(app.callback());
}

async function identify(context: Context, next: Next, deps: AppDeps): Promise<void> {
  const record = new RequestRecord(context, deps);
  const { ids, timings } = record;
  Object.assign(context.state, { requestId: ids.request_id, timings, ids });
  context.set('X-Request-Id', ids.request_id);
  await next();
  context.set('Server-Timing', record.stop());
  if (deps.health.draining()) context.set('Connection', 'close');
  const template: unknown = context._matchedRoute;
  record.end(context.status, typeof template === 'string' ? template : undefined);
}

async function answerErrors(
  context: Context,
  next: Next,
  { log, metrics }: AppDeps,
  early: EarlyRefusal,
): Promise<void> {
  try {
    await next();
    early.answered(context, false);
  } catch (thrown) {
    const error =
      thrown instanceof AppError ? thrown : new AppError('internal', messageOf(thrown), { cause: thrown });
    if (error.code === 'internal') log.error({ err: thrown, ...context.state.ids }, 'request failed');
    metrics.failed(error.code);
    early.answered(context, error.code === 'overloaded');
    sendError(context, error);
  }
}

/** Nobody answered: the path is unknown, or known with other methods. */
function refuse(context: Context, router: Router): void {
  const { path: layers } = router.match(context.path, context.method);
  // A path that is written out is none of those that a parameter would stand for.
  const own = layers.filter(({ path }) => path === context.path);
  const methods = new Set((own.length > 0 ? own : layers).flatMap((layer) => layer.methods));
  if (methods.size === 0) throw new AppError('not_found', `there is nothing at ${brief(context.path)}`);
  const allowed = [...methods].sort().join(', ');
  context.set('Allow', allowed);
  throw new AppError('method_not_allowed', `${brief(context.path)} takes ${allowed}, not ${context.method}`);
}
