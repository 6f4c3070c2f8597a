import type Router from '@koa/router';
import type { Context } from 'koa';
import { classifySchemas, type Decisions } from '../api/classify.js';
import type { RequestLimits } from '../api/limits.js';
import type { RouteSet } from '../routes/route-set.js';
import type { Answered } from '../scoring/classifier.js';
import type { ClassifyOptions, ClassifyRequest, Decision } from '../scoring/decision.js';
import { answerJsonPieces, answerJsonText } from './answer.js';
import { AnswerCache } from './answer-cache.js';
import { checkAnswerSize } from './answer-size.js';
import { parseJson, readJson, readJsonText } from './body.js';
import type { DecisionKind, RequestMetrics } from './metrics.js';
import { noteTimings } from './timings.js';
import { within } from './within.js';

/** What the classification paths ask. */
export interface ClassifierPort {
  /** What decides requests that come now: the same object as long as equal requests get equal answers. */
  readonly active: { readonly set: RouteSet } | undefined;
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

/** What a remembered answer took. */
const NO_TIME = { queueMs: 0, tokenizeMs: 0, inferenceMs: 0, scoreMs: 0 } as const;

/** `POST /classify` and `POST /classify/batch`. */
export function classifyRoutes(router: Router, deps: ClassifyDeps): void {
  const { classifier, limits, requestTimeoutMs, metrics } = deps;
  const schemas = classifySchemas(limits);

  const answers = new AnswerCache();

  router.post('/classify', async (context: Context) => {
    const body = await readJsonText(context, limits.maxBodyBytes);
    const { active } = classifier;
    let answer = answers.get(body, active);
    if (answer) {
      metrics.repeated();
      noteTimings(context, NO_TIME);
    } else {
      const request = parseJson(body, schemas.single);
      checkAnswerSize(1, request, active?.set);
      const { decision, timing, usage } = await within(context, requestTimeoutMs, (stop) =>
        classifier.classify(request, stop),
      );
      noteTimings(context, timing);
      const json = JSON.stringify(decision satisfies Decision);
      answer = { json, usage, route: decision.route, kind: kindOf(request) };
      // The text has come before, so its body may have, too.
      if (timing.inferenceMs === 0) answers.keep(body, active, answer);
    }
    metrics.read(answer.usage);
    metrics.decided(answer.route, answer.kind);
    answerJsonText(context, answer.json);
  });

  router.post('/classify/batch', async (context: Context) => {
    const { texts, ...options } = await readJson(context, schemas.batch, limits.maxBodyBytes);
    checkAnswerSize(texts.length, options, classifier.active?.set);
    const { decisions, timing, usage } = await within(context, requestTimeoutMs, (stop) =>
      classifier.classifyBatch(texts, options, stop),
    );
    noteTimings(context, timing);
    metrics.read(usage);
    for (const { route } of decisions) metrics.decided(route, kindOf(options));
    answerJsonPieces(context, '{"results":[', jsonOf(decisions), ']}');
  });
}

/** Makes the JSON of one decision at a time. */
function* jsonOf(results: Decisions['results']): Generator<string> {
  let separator = '';
  for (const decision of results) {
    yield separator + JSON.stringify(decision);
    separator = ',';
  }
}

function kindOf({ labels }: ClassifyOptions): DecisionKind {
  return labels ? 'labels' : 'routes';
}
