import {
  type ClassifyBody,
  classifyAnswers,
  classifySchemas,
  type Decision,
  type Decisions,
} from '../../api/classify.js';
import type { RequestLimits } from '../../api/limits.js';
import type { RouteSet } from '../../routes/set.js';
import type { ClassifyOptions } from '../../scoring/active-set.js';
import type { Answered } from '../../scoring/classifier.js';
import type { Question, QuestionAnswer } from '../../scoring/questions.js';
import type { DecisionKind, RequestMetrics } from '../../telemetry/ports.js';
import { type BodyDeps, readJson } from '../body.js';
import type { Endpoint } from '../endpoint.js';
import { reserveAnswer } from '../gates.js';
import { json, jsonBody } from '../openapi.js';
import { type CallContext, noteTimings, sendJson, sendJsonParts, withDeadline } from '../request.js';
import EXAMPLES from './classify-examples.json' with { type: 'json' };

/** Decides texts. */
export interface ClassifierPort {
  /** The set that decides requests that arrive now. */
  readonly active: { readonly set: RouteSet } | undefined;
  classify(request: ClassifyBody, call: CallContext): Promise<{ readonly decision: Decision } & Answered>;
  classifyBatch(
    texts: readonly string[],
    request: ClassifyOptions,
    call: CallContext,
  ): Promise<{ readonly decisions: readonly Decision[] } & Answered>;
  ask(
    text: string,
    questions: readonly Question[],
    call: CallContext,
  ): Promise<{ readonly answers: readonly QuestionAnswer[]; readonly digest: string } & Answered>;
}

export interface ClassifyPorts extends BodyDeps {
  readonly classifier: ClassifierPort;
  readonly metrics: RequestMetrics;
  readonly requestTimeoutMs: number;
}

/** `POST /classify` and `POST /classify/batch`. */
export function classifyEndpoints(limits: RequestLimits): Endpoint<ClassifyPorts>[] {
  const schemas = classifySchemas(limits);
  const common = {
    method: 'POST',
    access: 'key',
    inference: true,
    tag: 'Classification',
    problems: [400, 413, 415, 422],
  } as const;
  return [
    {
      ...common,
      path: '/classify',
      id: 'classify',
      summary: 'Where should this text go?',
      body: jsonBody(schemas.single, EXAMPLES.requests),
      answers: { 200: json('The decision', classifyAnswers.single, { examples: EXAMPLES.answers }) },
      async handle(context, ports) {
        const request = await readJson(context, schemas.single, ports);
        const { classifier, metrics, requestTimeoutMs } = ports;
        reserveAnswer(context, ports.bytes, 1, request, classifier.active?.set);
        const { decision, timing, usage } = await withDeadline(context, requestTimeoutMs, (call) =>
          classifier.classify(request, call),
        );
        noteTimings(context, timing);
        metrics.read(usage);
        metrics.decided(decision.route, kindOf(request));
        sendJson(context, decision);
      },
    },
    {
      ...common,
      path: '/classify/batch',
      id: 'classifyBatch',
      summary: 'Where should each of these texts go?',
      body: jsonBody(schemas.batch, EXAMPLES.batchRequests),
      answers: { 200: json('The decisions', classifyAnswers.batch, { examples: EXAMPLES.batchAnswers }) },
      async handle(context, ports) {
        const { texts, ...options } = await readJson(context, schemas.batch, ports);
        const { classifier, metrics, requestTimeoutMs } = ports;
        reserveAnswer(context, ports.bytes, texts.length, options, classifier.active?.set);
        const { decisions, timing, usage } = await withDeadline(context, requestTimeoutMs, (call) =>
          classifier.classifyBatch(texts, options, call),
        );
        noteTimings(context, timing);
        metrics.read(usage);
        for (const { route } of decisions) metrics.decided(route, kindOf(options));
        sendJsonParts(context, '{"results":[', partsOf(decisions), ']}');
      },
    },
  ];
}

/** Makes the JSON of one decision at a time. */
function* partsOf(results: Decisions['results']): Generator<string> {
  let separator = '';
  for (const decision of results) {
    yield separator + JSON.stringify(decision);
    separator = ',';
  }
}

function kindOf({ labels }: ClassifyOptions): DecisionKind {
  return labels ? 'labels' : 'routes';
}
