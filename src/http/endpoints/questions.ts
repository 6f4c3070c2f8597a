import {
  type DecisionRequest,
  type DecisionResponse,
  decisionRequest,
  decisionResponse,
  QUESTION_LIMITS,
  type SystemOneRequest,
  type SystemOneResponse,
  systemOneRequest,
  systemOneResponse,
} from '../../api/decisions.js';
import { mediaFault } from '../../api/messages.js';
import { type JsonObject, type JsonValue, pathOf } from '../../api/schema.js';
import type { Answered } from '../../scoring/classifier.js';
import type { RequestText } from '../../scoring/labels.js';
import {
  type Message,
  messagesOf,
  stringsOf,
  type Turn,
  turnsOf,
  turnsOfState,
} from '../../scoring/messages.js';
import { choiceConfidence, expectedLevel, type Question, scaleConfidence } from '../../scoring/questions.js';
import { AppError } from '../../shared/errors.js';
import { readJson } from '../body.js';
import { type ContractSettings, type Endpoint, json, jsonBody } from '../openapi.js';
import { noteTimings, type RequestContext, sendJson, withDeadline } from '../request.js';
import { type ClassifyPorts, inputOf } from './classify.js';
import type { EmbeddingPorts } from './embeddings.js';
import { type FallbackChoice, type FallbackPort, type GivenAnswer, withFallback } from './fallback.js';

/** Dependencies of decision calls. */
export interface QuestionPorts extends Pick<ClassifyPorts, 'classifier'>, EmbeddingPorts {
  /** `undefined`: none is set. */
  readonly fallback: FallbackPort | undefined;
}

/** A decision call in either form. */
interface Asked {
  /** Field of the request that holds the input. */
  readonly field: 'state' | 'input';
  readonly turns: readonly Turn[];
  readonly questions: readonly Question[];
  /** Request to a fallback: the input, and every choice by the index of its question. */
  readonly state: JsonValue;
  readonly choices: ReadonlyMap<number, FallbackChoice>;
}

/** `POST /v1/systemone` and `POST /v1/decisions`: an input and typed questions in, a probability for each option out. */
export function questionEndpoints(settings: ContractSettings): Endpoint<QuestionPorts>[] {
  const common = { method: 'POST', access: 'key', inference: true, tag: 'Classification' } as const;
  const { id } = settings.model;
  return [
    {
      ...common,
      dialect: 'systemone',
      path: '/v1/systemone',
      id: 'systemOne',
      summary: 'Typed questions about an input, compatible with TypeSafe',
      body: jsonBody(systemOneRequest, {
        choice: {
          value: {
            model: 'jev-latest',
            state: 'my card was charged twice',
            questions: {
              team: { type: 'choice', criteria: { billing: 'Payments and refunds', technical: 'Bugs' } },
            },
          },
        },
      }),
      answers: { 200: json('An answer to each question', systemOneResponse) },
      problems: [413, 415, 422],
      async handle(context, ports) {
        const request = await readJson(context, systemOneRequest, ports);
        refuseMedia(request.state);
        const asked = Object.entries(request.questions);
        const { answers, usage, digest } = await ask(context, ports, {
          field: 'state',
          turns: turnsOfState(request.state),
          questions: asked.map(([name, question]) => questionOf(question, ['questions', name])),
          state: request.state,
          choices: choicesOf(asked.map(([, question]) => question)),
        });
        const entries = asked.map(([name, question], index) => [
          name,
          systemOneAnswer(question, answers[index] as GivenAnswer),
        ]);
        sendJson(context, {
          model: id,
          // A question may be named `__proto__`: fromEntries makes a field of that, too.
          answers: Object.fromEntries(entries),
          usage: { input_tokens: usage.tokens, output_tokens: 0 },
          x_truncated_tokens: usage.truncatedTokens,
          x_model_digest: settings.model.digest,
          x_routes_digest: digest,
        } satisfies SystemOneResponse);
      },
    },
    {
      ...common,
      dialect: 'openai',
      path: '/v1/decisions',
      id: 'createDecision',
      summary: "Typed questions about an input, compatible with OpenAI's clients; an abstention is a refusal",
      body: jsonBody(decisionRequest, {
        predicate: {
          value: {
            model: 'any',
            input: 'my card was charged twice',
            questions: [{ type: 'predicate', instructions: 'This is about a payment.' }],
          },
        },
      }),
      answers: { 200: json('The answers, in order of the questions', decisionResponse) },
      problems: [400, 413, 415],
      async handle(context, ports) {
        const { input, questions } = await readJson(context, decisionRequest, ports);
        const { answers, usage } = await ask(context, ports, {
          field: 'input',
          turns: turnsOfInput(input),
          questions: questions.map((question, index) => questionOfDecision(question, ['questions', index])),
          state: stateOf(input),
          choices: choicesOfDecision(questions),
        });
        sendJson(context, {
          model: id,
          answers: questions.map((question, index) =>
            decisionAnswer(question, answers[index] as GivenAnswer),
          ),
          usage: {
            input_tokens: usage.tokens,
            input_tokens_details: { cached_tokens: 0, cache_write_tokens: 0 },
            output_tokens: 0,
            output_tokens_details: { reasoning_tokens: 0 },
            total_tokens: usage.tokens,
          },
        } satisfies DecisionResponse);
      },
    },
  ];
}

async function ask(
  context: RequestContext,
  ports: QuestionPorts,
  { field, turns, questions, state, choices }: Asked,
): Promise<{ readonly answers: readonly GivenAnswer[]; readonly digest: string } & Answered> {
  const { classifier, metrics, limits, requestTimeoutMs } = ports;
  const options = questions.reduce((sum, question) => sum + sizeOf(question), 0);
  if (options > QUESTION_LIMITS.together)
    throw wrongField(
      'questions',
      `have ${options} options together; at most ${QUESTION_LIMITS.together} are allowed`,
    );
  if (turns.length === 0) throw wrongField(field, 'must hold a text');
  const input = inputOf(turns, field, limits.maxTextChars);
  const answered = await withDeadline(context, requestTimeoutMs, async (call) => {
    const own = await classifier.ask(input, questions, call);
    for (const [index, { abstained, routes, probabilities }] of own.answers.entries()) {
      const question = questions[index];
      if (question?.type !== 'choice') continue;
      const best = bestOf(question.options, probabilities).name.text;
      metrics.decided(abstained ? null : best, routes ? 'routes' : 'labels');
    }
    return { ...own, answers: await withFallback(context, ports, state, choices, own.answers, call) };
  });
  noteTimings(context, answered.timing);
  metrics.read(answered.usage);
  const set = classifier.active?.set;
  const answers = answered.answers.map((answer) => {
    const { chosen, routes } = answer;
    if (chosen === undefined || !routes) return answer;
    return { ...answer, metadata: set?.routes[set.indexOf.get(chosen) ?? -1]?.metadata };
  });
  return { ...answered, answers };
}

/**
 * Refuses a conversation with images, sound or files.
 * @throws AppError `validation_failed`
 */
function refuseMedia(state: JsonValue): void {
  for (const [message, { content }] of (messagesOf(state) ?? []).entries()) {
    for (const [index, part] of (Array.isArray(content) ? content : []).entries()) {
      const fault = mediaFault(part);
      if (fault) throw wrongField(pathOf(['state', message, 'content', index]), fault);
    }
  }
}

function wrongField(path: string, message: string): AppError {
  return new AppError('validation_failed', `${path}: ${message}`, { issues: [{ path, message }] });
}

function sizeOf(question: Question): number {
  if (question.type === 'choice') return question.options.length;
  return question.type === 'truth' ? 2 : question.levels.length;
}

/** Steps to a field of the request. */
type Steps = readonly (string | number)[];

/**
 * Returns a text with its field.
 * @throws AppError `validation_failed` where there is none
 */
function required(text: string | undefined, ...steps: Steps): RequestText {
  const path = pathOf(steps);
  if (text === undefined || text.trim() === '') throw wrongField(path, 'must hold a text');
  return { text, path };
}

function optional(text: string | undefined, ...steps: Steps): RequestText | undefined {
  return text === undefined ? undefined : { text, path: pathOf(steps) };
}

/** Text of instructions or of a description; of a structure without any string, its JSON; none of an empty one. */
function proseOf(value: JsonValue | null | undefined): string | undefined {
  if (value === null || value === undefined) return undefined;
  const isEmpty = typeof value === 'string' || (typeof value === 'object' && Object.keys(value).length === 0);
  const strings = stringsOf(value).join('. ') || (isEmpty ? '' : JSON.stringify(value));
  return strings === '' ? undefined : strings.slice(0, QUESTION_LIMITS.chars);
}

function questionOf(question: SystemOneRequest['questions'][string], at: Steps): Question {
  if (question.type === 'choice') {
    const options = Object.entries(question.criteria).map(([name, criterion]) => ({
      name: required(name, ...at, 'criteria', name),
      description: optional(proseOf(criterion), ...at, 'criteria', name),
    }));
    return { type: 'choice', options };
  }
  if (question.type === 'score') {
    const levels = question.criteria.map((level, index) =>
      required(proseOf(level), ...at, 'criteria', index),
    );
    return { type: 'scale', levels };
  }
  const yes = optional(proseOf(question.criteria?.true), ...at, 'criteria', 'true');
  const no = optional(proseOf(question.criteria?.false), ...at, 'criteria', 'false');
  if (yes || no) return { type: 'truth', yes, no };
  const instructions = optional(proseOf(question.instructions), ...at, 'instructions');
  if (!instructions) throw wrongField(pathOf(at), 'needs instructions, or criteria');
  return { type: 'truth', yes: instructions, no };
}

/** The choices among questions, as a fallback is asked them. */
function choicesOf(questions: readonly SystemOneRequest['questions'][string][]): Asked['choices'] {
  const choices = new Map<number, FallbackChoice>();
  for (const [index, question] of questions.entries()) {
    if (question.type !== 'choice') continue;
    const { instructions, criteria } = question;
    choices.set(index, { options: Object.keys(criteria), instructions: instructions ?? undefined, criteria });
  }
  return choices;
}

function systemOneAnswer(
  question: SystemOneRequest['questions'][string],
  answer: GivenAnswer,
): SystemOneResponse['answers'][string] {
  const { probabilities, abstained, score, routes, metadata } = answer;
  if (question.type === 'noul') return { type: 'noul', noul: probabilities[0] ?? 0 };
  if (question.type === 'choice') {
    const names = Object.keys(question.criteria);
    return {
      type: 'choice',
      choice: answer.chosen ?? bestOf(names, probabilities),
      probabilities: Object.fromEntries(names.map((name, index) => [name, probabilities[index] ?? 0])),
      confidence: answer.confidence ?? choiceConfidence(probabilities),
      x_abstained: abstained,
      x_score: score,
      x_routes: routes,
      ...(metadata && { x_route_metadata: metadata }),
      ...marksOf(answer),
    };
  }
  return {
    type: 'score',
    score: expectedLevel(probabilities),
    legend: Object.fromEntries(question.criteria.entries()),
    probabilities: Object.fromEntries(probabilities.entries()),
    confidence: scaleConfidence(probabilities),
  };
}

function bestOf<T>(options: readonly T[], probabilities: readonly number[]): T {
  return options[probabilities.indexOf(Math.max(...probabilities))] as T;
}

/** How an answer came about, where it is not that of the last turn by this server alone. */
function marksOf({ blended, x_fallback }: GivenAnswer) {
  return { ...(blended && { x_blended: true as const }), ...(x_fallback && { x_fallback }) };
}

function turnsOfInput(input: DecisionRequest['input']): readonly Turn[] {
  if (typeof input === 'string') return input.trim() === '' ? [] : [{ message: 0, text: input }];
  return turnsOf(itemsOf(input));
}

/** The input as `/v1/systemone` takes it. */
function stateOf(input: DecisionRequest['input']): JsonValue {
  return typeof input === 'string'
    ? input
    : itemsOf(input).map(({ role, content = null }) => ({ role, content }));
}

function itemsOf(input: Exclude<DecisionRequest['input'], string>): Message[] {
  // Parts of JSON may hold anything, as their schema says.
  return input.flatMap((item) => ('role' in item ? [item as Message] : []));
}

/** As {@link choicesOf}. A choice whose values have the same name, such as true and "true", is not for a fallback. */
function choicesOfDecision(questions: DecisionRequest['questions']): Asked['choices'] {
  const choices = new Map<number, FallbackChoice>();
  for (const [index, question] of questions.entries()) {
    if (question.type !== 'choice') continue;
    const options = question.choices.map(({ value }) => String(value));
    if (new Set(options).size < options.length) continue;
    const criteria = Object.fromEntries(
      question.choices.map(({ value, description }) => [String(value), description ?? null]),
    );
    choices.set(index, {
      options,
      instructions: proseOf(partsOf(question.instructions)),
      criteria,
    });
  }
  return choices;
}

function questionOfDecision(question: DecisionRequest['questions'][number], at: Steps): Question {
  if (question.type === 'choice') {
    const options = question.choices.map(({ value, description }, index) => ({
      name: required(
        typeof value === 'boolean' ? (value ? 'yes' : 'no') : value,
        ...at,
        'choices',
        index,
        'value',
      ),
      description: optional(proseOf(description), ...at, 'choices', index, 'description'),
    }));
    return { type: 'choice', options };
  }
  if (question.type === 'score') {
    const levels = question.levels.map(({ label, description }, index) => {
      const path = [...at, 'levels', index];
      const name = required(label, ...path, 'label');
      return optional(proseOf(description), ...path, 'description') ?? name;
    });
    return { type: 'scale', levels };
  }
  const instructions = proseOf(partsOf(question.instructions));
  return { type: 'truth', yes: required(instructions, ...at, 'instructions'), no: undefined };
}

/** The texts of parts, without the names of their types. */
function partsOf(instructions: DecisionRequest['questions'][number]['instructions']): JsonValue {
  if (typeof instructions === 'string') return instructions;
  return instructions
    .map(({ type: _, ...fields }) => fields as JsonObject)
    .filter(({ text }) => typeof text !== 'string' || text.trim() !== '');
}

function decisionAnswer(
  question: DecisionRequest['questions'][number],
  answer: GivenAnswer,
): DecisionResponse['answers'][number] {
  const { probabilities, abstained, x_fallback } = answer;
  const name = question.name ?? null;
  if (question.type === 'predicate') return { type: 'predicate', name, probability: probabilities[0] ?? 0 };
  if (question.type === 'score') {
    return {
      type: 'score',
      name,
      score: expectedLevel(probabilities),
      confidence: scaleConfidence(probabilities),
      probabilities: question.levels.map(({ label }, value) => ({
        value,
        label,
        probability: probabilities[value] ?? 0,
      })),
    };
  }
  if (abstained) return { type: 'refusal', name, ...(x_fallback && { x_fallback }) };
  const values = question.choices.map(({ value }) => value);
  return {
    type: 'choice',
    name,
    choice: values.find((value) => String(value) === answer.chosen) ?? bestOf(values, probabilities),
    confidence: answer.confidence ?? choiceConfidence(probabilities),
    probabilities: values.map((value, index) => ({ value, probability: probabilities[index] ?? 0 })),
    ...marksOf(answer),
  };
}
