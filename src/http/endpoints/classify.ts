import { classifyAnswers, classifySchemas, type Decision, type Decisions } from '../../api/classify.js';
import type { RequestLimits } from '../../api/limits.js';
import type { ActiveSet, ClassifyOptions } from '../../scoring/active-set.js';
import type { Classifier, Input } from '../../scoring/classifier.js';
import { type Message, PREVIOUS_SHARE, type Turn, turnsOf } from '../../scoring/messages.js';
import { AppError } from '../../shared/errors.js';
import type { DecisionKind, RequestMetrics } from '../../telemetry/ports.js';
import { type BodyDeps, readJson } from '../body.js';
import { reserveAnswer } from '../gates.js';
import { type Endpoint, json, jsonBody } from '../openapi.js';
import { noteTimings, sendJson, sendJsonParts, withDeadline } from '../request.js';
import EXAMPLES from './classify-examples.json' with { type: 'json' };
import { cutText } from './embeddings.js';

export interface ClassifierPort extends Pick<Classifier, 'classify' | 'classifyBatch' | 'ask'> {
  /** The set that decides requests that arrive now. */
  readonly active: Pick<ActiveSet, 'set'> | undefined;
}

export interface ClassifyPorts extends BodyDeps {
  readonly classifier: ClassifierPort;
  readonly metrics: RequestMetrics;
  readonly requestTimeoutMs: number;
}

/** `POST /classify` and `POST /classify/batch`. */
export function classifyEndpoints(limits: RequestLimits): Endpoint<ClassifyPorts>[] {
  const { maxTextChars } = limits;
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
      summary: 'Classifies a text',
      body: jsonBody(schemas.single, EXAMPLES.requests),
      answers: { 200: json('The decision', classifyAnswers.single, { examples: EXAMPLES.answers }) },
      async handle(context, ports) {
        const body = await readJson(context, schemas.single, ports);
        const { classifier, metrics, requestTimeoutMs } = ports;
        const turns = body.messages && turnsIn(body.messages, 'messages');
        // Without messages there is a text, says the schema; such a body is not copied, which takes V8 microseconds.
        const request = turns
          ? { ...body, ...inputOf(turns, 'messages', maxTextChars) }
          : (body as typeof body & Input);
        reserveAnswer(context, ports.bytes, 1, body, classifier.active?.set, turns !== undefined);
        const { decision, blended, timing, usage } = await withDeadline(context, requestTimeoutMs, (call) =>
          classifier.classify(request, call),
        );
        noteTimings(context, timing);
        metrics.read(usage);
        metrics.decided(decision.route, kindOf(body));
        sendJson(context, turns ? withTurns(decision, turns, blended.has(0), body) : decision);
      },
    },
    {
      ...common,
      path: '/classify/batch',
      id: 'classifyBatch',
      summary: 'Classifies several texts',
      body: jsonBody(schemas.batch, EXAMPLES.batchRequests),
      answers: { 200: json('The decisions', classifyAnswers.batch, { examples: EXAMPLES.batchAnswers }) },
      async handle(context, ports) {
        const { texts = [], messages, ...options } = await readJson(context, schemas.batch, ports);
        const { classifier, metrics, requestTimeoutMs } = ports;
        const pathOf = (index: number): string => `messages[${index}]`;
        const all = messages?.map((each, index) => turnsIn(each, pathOf(index)));
        const inputs = all?.map((turns, index) => inputOf(turns, pathOf(index), maxTextChars)) ?? texts;
        reserveAnswer(
          context,
          ports.bytes,
          inputs.length,
          options,
          classifier.active?.set,
          messages !== undefined,
        );
        const { blended, timing, usage, ...decided } = await withDeadline(context, requestTimeoutMs, (call) =>
          classifier.classifyBatch(inputs, options, call),
        );
        const decisions = decided.decisions.map((decision, index) =>
          all ? withTurns(decision, all[index] ?? [], blended.has(index), options) : decision,
        );
        noteTimings(context, timing);
        metrics.read(usage);
        for (const { route } of decisions) metrics.decided(route, kindOf(options));
        sendJsonParts(context, '{"results":[', partsOf(decisions), ']}');
      },
    },
  ];
}

/**
 * Returns the turns of a conversation that decide.
 * @throws AppError `validation_failed` where the user says nothing in it
 */
function turnsIn(messages: readonly Message[], path: string): readonly Turn[] {
  const turns = turnsOf(messages);
  if (turns.length > 0) return turns;
  const message = 'must hold a message of role "user" with a text';
  throw new AppError('validation_failed', `${path}: ${message}`, { issues: [{ path, message }] });
}

/** Returns the input of a conversation. Its turns may be longer than MAX_TEXT_CHARS, and are cut there. */
export function inputOf([last, previous]: readonly Turn[], path: string, maxTextChars: number): Input {
  const read = (turn: Turn): string => cutText(turn.text, maxTextChars);
  return { text: last ? read(last) : '', previous: previous && read(previous), path };
}

/** Characters of a turn that `explain` shows. */
const SHOWN_CHARS = 300;

function withTurns(
  decision: Decision,
  turns: readonly Turn[],
  blended: boolean,
  { explain }: ClassifyOptions,
): Decision {
  const read = blended ? turns : turns.slice(0, 1);
  return {
    ...decision,
    turns: read.map(({ message, text }, index) => ({
      message,
      share: blended ? (index === 0 ? 1 - PREVIOUS_SHARE : PREVIOUS_SHARE) : 1,
      ...(explain === true && { text: cutText(text, SHOWN_CHARS) }),
    })),
  };
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
