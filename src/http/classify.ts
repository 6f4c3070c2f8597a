import type Router from '@koa/router';
import type { Context } from 'koa';
import type { ClassifyOptions, ClassifyRequest, ClassifyTiming, Decision } from '../classify/decision.js';
import { classifySchemas, type Decisions } from '../contract/classify.js';
import type { RequestLimits } from '../contract/limits.js';
import { readJson } from './body.js';
import type { RequestMetrics } from './metrics.js';
import { within } from './within.js';

/** What the classification paths ask. */
export interface ClassifierPort {
  classify(
    request: ClassifyRequest,
    options: { readonly signal: AbortSignal },
  ): Promise<{ readonly decision: Decision; readonly timing: ClassifyTiming }>;
  classifyBatch(
    texts: readonly string[],
    request: ClassifyOptions,
    options: { readonly signal: AbortSignal },
  ): Promise<{ readonly decisions: readonly Decision[]; readonly timing: ClassifyTiming }>;
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
    const { decision, timing } = await within(context, requestTimeoutMs, (signal) =>
      classifier.classify(request, { signal }),
    );
    noteTiming(context, timing);
    metrics.decided(decision.route, decision.usage.truncated_tokens);
    context.body = decision satisfies Decision;
  });

  router.post('/classify/batch', async (context: Context) => {
    const { texts, ...options } = await readJson(context, schemas.batch, limits.maxBodyBytes);
    const { decisions, timing } = await within(context, requestTimeoutMs, (signal) =>
      classifier.classifyBatch(texts, options, { signal }),
    );
    noteTiming(context, timing);
    for (const { route, usage } of decisions) metrics.decided(route, usage.truncated_tokens);
    context.body = { results: decisions } satisfies Decisions;
  });
}

function noteTiming(context: Context, timing: ClassifyTiming): void {
  Object.assign(context.state.timings, {
    queue: timing.queueMs,
    tokenize: timing.tokenizeMs,
    inference: timing.inferenceMs,
    score: timing.scoreMs,
  });
}
