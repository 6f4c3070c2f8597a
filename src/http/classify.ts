import type Router from '@koa/router';
import type { Context } from 'koa';
import type { Answered } from '../classify/classifier.js';
import type { ClassifyOptions, ClassifyRequest, Decision } from '../classify/decision.js';
import { classifySchemas, type Decisions } from '../contract/classify.js';
import type { RequestLimits } from '../contract/limits.js';
import { answerJson } from './answer.js';
import { readJson } from './body.js';
import type { DecisionKind, RequestMetrics } from './metrics.js';
import { noteTimings } from './timings.js';
import { within } from './within.js';

/** What the classification paths ask. */
export interface ClassifierPort {
  classify(
    request: ClassifyRequest,
    options: { readonly signal: AbortSignal },
  ): Promise<{ readonly decision: Decision } & Answered>;
  classifyBatch(
    texts: readonly string[],
    request: ClassifyOptions,
    options: { readonly signal: AbortSignal },
  ): Promise<{ readonly decisions: readonly Decision[] } & Answered>;
}

/** What the classification paths are made with. */
export interface ClassifyDeps {
  readonly classifier: ClassifierPort;
  readonly limits: RequestLimits;
  readonly metrics: RequestMetrics;
  /** Time for one request, waiting included, in milliseconds. */
  readonly requestTimeoutMs: number;
}

/** `POST /classify` and `POST /classify/batch`. */
export function classifyRoutes(router: Router, deps: ClassifyDeps): void {
  const { classifier, limits, requestTimeoutMs, metrics } = deps;
  const schemas = classifySchemas(limits);

  router.post('/classify', async (context: Context) => {
    const request = await readJson(context, schemas.single, limits.maxBodyBytes);
    const { decision, timing, usage } = await within(context, requestTimeoutMs, (stop) =>
      classifier.classify(request, stop),
    );
    noteTimings(context, timing);
    metrics.read(usage);
    metrics.decided(decision.route, kindOf(request));
    answerJson(context, decision satisfies Decision);
  });

  router.post('/classify/batch', async (context: Context) => {
    const { texts, ...options } = await readJson(context, schemas.batch, limits.maxBodyBytes);
    const { decisions, timing, usage } = await within(context, requestTimeoutMs, (stop) =>
      classifier.classifyBatch(texts, options, stop),
    );
    noteTimings(context, timing);
    metrics.read(usage);
    for (const { route } of decisions) metrics.decided(route, kindOf(options));
    answerJson(context, { results: decisions } satisfies Decisions);
  });
}

function kindOf({ labels }: ClassifyOptions): DecisionKind {
  return labels ? 'labels' : 'routes';
}
