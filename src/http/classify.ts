import type Router from '@koa/router';
import type { Context } from 'koa';
import type { ClassifyOptions, ClassifyRequest, ClassifyTiming, Decision } from '../classify/decision.js';
import { AppError } from '../errors.js';
import { readJson } from './body.js';
import type { RequestMetrics } from './metrics.js';
import { classifySchemas, type RequestLimits } from './schemas.js';

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
  const { classifier, limits, metrics } = deps;
  const schemas = classifySchemas(limits);

  router.post('/classify', async (context: Context) => {
    const request = await readJson(context, schemas.single, limits.maxBodyBytes);
    const { decision, timing } = await within(context, deps, (signal) =>
      classifier.classify(request, { signal }),
    );
    noteTiming(context, timing);
    metrics.decided(decision.route, decision.usage.truncated_tokens);
    context.body = decision;
  });

  router.post('/classify/batch', async (context: Context) => {
    const { texts, ...options } = await readJson(context, schemas.batch, limits.maxBodyBytes);
    const { decisions, timing } = await within(context, deps, (signal) =>
      classifier.classifyBatch(texts, options, { signal }),
    );
    noteTiming(context, timing);
    for (const { route, usage } of decisions) metrics.decided(route, usage.truncated_tokens);
    context.body = { results: decisions };
  });
}

/** Runs `work` until it ends, its time is up, or the client goes away; what still waits is then dropped. */
async function within<T>(
  context: Context,
  { requestTimeoutMs }: ClassifyDeps,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const controller = new AbortController();
  const stop = (error: AppError): void => controller.abort(error);
  const timer = setTimeout(
    () => stop(new AppError('timeout', `not answered within ${requestTimeoutMs} ms`, { retryable: true })),
    requestTimeoutMs,
  );
  const onClose = (): void => stop(new AppError('aborted', 'the client went away'));
  context.res.once('close', onClose);
  try {
    return await work(controller.signal);
  } catch (error) {
    // Whatever form the abort took on its way down, its reason is what happened.
    throw controller.signal.aborted ? controller.signal.reason : error;
  } finally {
    clearTimeout(timer);
    context.res.off('close', onClose);
  }
}

function noteTiming(context: Context, timing: ClassifyTiming): void {
  Object.assign(context.state.timings, {
    queue: timing.queueMs,
    tokenize: timing.tokenizeMs,
    inference: timing.inferenceMs,
    score: timing.scoreMs,
  });
}
