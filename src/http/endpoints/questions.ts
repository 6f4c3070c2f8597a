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
import type { JsonValue } from '../../api/schema.js';
import type { Answered } from '../../scoring/classifier.js';
import { stringsOf, textOfMessages, textOfState } from '../../scoring/messages.js';
import {
  choiceConfidence,
  expectedLevel,
  type Question,
  type QuestionAnswer,
  scaleConfidence,
} from '../../scoring/questions.js';
import { AppError } from '../../shared/errors.js';
import { readJson } from '../body.js';
import type { Endpoint } from '../endpoint.js';
import { type ContractSettings, json, jsonBody } from '../openapi.js';
import { noteTimings, type RequestContext, sendJson, withDeadline } from '../request.js';
import type { ClassifyPorts } from './classify.js';
import { cutText, type EmbeddingPorts } from './embeddings.js';

/** Dependencies of decision calls. */
type QuestionPorts = Pick<ClassifyPorts, 'classifier'> & EmbeddingPorts;

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
      summary: 'Typed questions about an input, as TypeSafe asks them',
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
        const asked = Object.entries(request.questions);
        const questions = asked.map(([, question]) => questionOf(question));
        const text = requireText(textOfState(request.state), 'state');
        const { answers, usage, digest } = await ask(context, ports, text, questions, 'questions');
        const entries = asked.map(([name, question], index) => [
          name,
          systemOneAnswer(question, answers[index] as QuestionAnswer),
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
      summary: "Typed questions about an input, as OpenAI's clients ask them; an abstention is a refusal",
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
        const text = requireText(textOfInput(input), 'input');
        const { answers, usage } = await ask(
          context,
          ports,
          text,
          questions.map(questionOfDecision),
          'questions',
        );
        sendJson(context, {
          model: id,
          answers: questions.map((question, index) =>
            decisionAnswer(question, answers[index] as QuestionAnswer),
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
  { classifier, metrics, limits, requestTimeoutMs }: QuestionPorts,
  text: string,
  questions: readonly Question[],
  path: string,
): Promise<{ readonly answers: readonly QuestionAnswer[]; readonly digest: string } & Answered> {
  const options = questions.reduce((sum, question) => sum + sizeOf(question), 0);
  if (options > QUESTION_LIMITS.together) {
    const message = `have ${options} options together; at most ${QUESTION_LIMITS.together} are allowed`;
    throw new AppError('validation_failed', `${path}: ${message}`, { issues: [{ path, message }] });
  }
  const answered = await withDeadline(context, requestTimeoutMs, (call) =>
    classifier.ask(cutText(text, limits.maxTextChars), questions, call),
  );
  noteTimings(context, answered.timing);
  metrics.read(answered.usage);
  for (const [index, { abstained, routes, probabilities }] of answered.answers.entries()) {
    const question = questions[index];
    if (question?.type !== 'choice') continue;
    const best = question.options[probabilities.indexOf(Math.max(...probabilities))]?.name ?? null;
    metrics.decided(abstained ? null : best, routes ? 'routes' : 'labels');
  }
  return answered;
}

function sizeOf(question: Question): number {
  if (question.type === 'choice') return question.options.length;
  return question.type === 'truth' ? 2 : question.levels.length;
}

function requireText(text: string, path: string): string {
  if (text.trim() !== '') return text;
  const message = 'must hold a text';
  throw new AppError('validation_failed', `${path}: ${message}`, { issues: [{ path, message }] });
}

/** Text of instructions or of a description; of a structure without any string, its JSON. */
function proseOf(value: JsonValue | null | undefined): string | undefined {
  if (value === null || value === undefined) return undefined;
  const strings = stringsOf(value).join('. ') || (typeof value === 'string' ? '' : JSON.stringify(value));
  return strings === '' ? undefined : strings.slice(0, QUESTION_LIMITS.chars);
}

function questionOf(question: SystemOneRequest['questions'][string]): Question {
  if (question.type === 'choice') {
    const options = Object.entries(question.criteria).map(([name, criterion]) => ({
      name,
      description: proseOf(criterion),
    }));
    return { type: 'choice', options };
  }
  if (question.type === 'score') {
    return {
      type: 'scale',
      levels: question.criteria.map((level, index) => proseOf(level) ?? `level ${index}`),
    };
  }
  const instructions = proseOf(question.instructions);
  const yes = proseOf(question.criteria?.true);
  const no = proseOf(question.criteria?.false);
  return truthOf(yes ?? (no === undefined ? instructions : undefined), no);
}

function truthOf(yes: string | undefined, no: string | undefined): Question {
  return { type: 'truth', yes: yes === undefined ? [] : [yes], no: no === undefined ? [] : [no] };
}

function systemOneAnswer(
  question: SystemOneRequest['questions'][string],
  { probabilities, abstained, score, routes, metadata }: QuestionAnswer,
): SystemOneResponse['answers'][string] {
  if (question.type === 'noul') return { type: 'noul', noul: probabilities[0] ?? 0 };
  if (question.type === 'choice') {
    const names = Object.keys(question.criteria);
    return {
      type: 'choice',
      choice: bestOf(names, probabilities),
      probabilities: Object.fromEntries(names.map((name, index) => [name, probabilities[index] ?? 0])),
      confidence: choiceConfidence(probabilities),
      x_abstained: abstained,
      x_score: score,
      x_routes: routes,
      ...(metadata && { x_route_metadata: metadata }),
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

function textOfInput(input: DecisionRequest['input']): string {
  if (typeof input === 'string') return input;
  const messages = input.flatMap((item) => ('role' in item ? [item] : []));
  return textOfMessages(messages as Parameters<typeof textOfMessages>[0]) ?? '';
}

function questionOfDecision(question: DecisionRequest['questions'][number]): Question {
  if (question.type === 'choice') {
    const options = question.choices.map(({ value, description }) => ({
      name: typeof value === 'boolean' ? (value ? 'yes' : 'no') : value,
      description: proseOf(description),
    }));
    return { type: 'choice', options };
  }
  if (question.type === 'score') {
    const levels = question.levels.map(({ label, description }) => proseOf(description) ?? label);
    return { type: 'scale', levels };
  }
  return truthOf(proseOf(partsOf(question.instructions)) ?? 'yes', undefined);
}

/** The texts of parts, without the names of their types. */
function partsOf(instructions: DecisionRequest['questions'][number]['instructions']): JsonValue {
  if (typeof instructions === 'string') return instructions;
  return instructions.map(({ type: _, ...fields }) => fields as JsonValue);
}

function decisionAnswer(
  question: DecisionRequest['questions'][number],
  { probabilities, abstained }: QuestionAnswer,
): DecisionResponse['answers'][number] {
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
  if (abstained) return { type: 'refusal', name };
  const values = question.choices.map(({ value }) => value);
  return {
    type: 'choice',
    name,
    choice: bestOf(values, probabilities),
    confidence: choiceConfidence(probabilities),
    probabilities: values.map((value, index) => ({ value, probability: probabilities[index] ?? 0 })),
  };
}
