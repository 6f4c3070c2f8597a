import { createHash } from 'node:crypto';
import type { JsonObject } from '../api/schema.js';
import { createRouteSet } from '../routes/set.js';
import { type LabelSet, optionTexts, type RequestText, textsOf } from './labels.js';

/** One option of a choice. */
export interface Option {
  readonly name: RequestText;
  readonly description: RequestText | undefined;
}

/** A question about a text. */
export type Question =
  | { readonly type: 'choice'; readonly options: readonly Option[] }
  /** Texts that speak for and against; one of them may be missing. */
  | {
      readonly type: 'truth';
      readonly yes: RequestText | undefined;
      readonly no: RequestText | undefined;
    }
  | { readonly type: 'scale'; readonly levels: readonly RequestText[] };

/** The answer to a question. */
export interface QuestionAnswer {
  /** Of each option or level, in order; of a truth, the one number. They add up to 1, but for a truth. */
  readonly probabilities: readonly number[];
  /** Of a choice: whether no option reached its threshold. */
  readonly abstained: boolean;
  /** Of a choice: confidence that the best option is right. */
  readonly score: number;
  /** Whether the options were served routes, which are trained, and not labels. */
  readonly routes: boolean;
  /** Whether the previous turn of the conversation was taken in, since the last one reached no threshold. */
  readonly blended?: boolean;
  /** Of the route that was chosen, where it has some. */
  readonly metadata?: JsonObject | undefined;
}

/**
 * Factors of a scorer's log-odds, by least log loss on every fifth of Banking77's 10,003 training texts. Choices among its
 * 77 labels, or among 10 of them: 0.5 (1.52 and 0.52 nats; without the factor 1.88 and 0.68). Statements such as "This is
 * about card arrival", half of them true: 1.1 (0.31 nats, 87 % right). Levels have no data to choose with: like choices.
 */
const SHARPNESS = { choice: 0.5, truth: 1.1, scale: 0.5 } as const;

/** Log-odds at which a statement that stands alone is as likely true as not, by the same data: a cosine of 0.37. */
const TRUTH_CENTRE = 5.2;

/** The texts of each option, as a set of routes named by their position. */
export function optionSetOf(question: Question): Pick<LabelSet, 'set' | 'paths'> {
  const paths = new Map<string, string>();
  const set = createRouteSet(
    textsByOption(question).map((texts, index) => ({
      name: String(index),
      description: undefined,
      utterances: textsOf(texts, paths),
      scoreThreshold: undefined,
      metadata: undefined,
    })),
  );
  // The same texts as examples are scored otherwise.
  const digest = `sha256:${createHash('sha256').update(`options ${set.digest}`).digest('hex')}`;
  return { set: { ...set, digest }, paths };
}

function textsByOption(question: Question): readonly (readonly RequestText[])[] {
  switch (question.type) {
    case 'choice':
      return question.options.map(({ name, description }) => optionTexts(name, description));
    case 'scale':
      return question.levels.map((level) => [level]);
    case 'truth':
      return [question.yes, question.no].flatMap((side) => (side ? [[side]] : []));
  }
}

/** Turns the log-odds of the options into probabilities. */
export function probabilitiesOf(question: Question, logits: readonly number[]): readonly number[] {
  if (question.type !== 'truth') return softmax(logits, SHARPNESS[question.type]);
  const [first = 0] = logits;
  if (logits.length === 2) return [softmax(logits, SHARPNESS.choice)[0] ?? 0];
  const likely = round(1 / (1 + Math.exp(SHARPNESS.truth * (TRUTH_CENTRE - first))));
  return [question.yes ? likely : round(1 - likely)];
}

/** Scores as shares of their sum. */
export function sharesOf(scores: readonly number[]): readonly number[] {
  const sum = scores.reduce((total, score) => total + score, 0);
  return scores.map((score) => (sum === 0 ? round(1 / scores.length) : round(score / sum)));
}

function softmax(logits: readonly number[], factor: number): readonly number[] {
  const highest = Math.max(...logits);
  const weights = logits.map((logit) => Math.exp(factor * (logit - highest)));
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  return weights.map((weight) => round(weight / total));
}

/** How far the highest probability is above chance: 0 where all are equal, 1 where it is certain. */
export function choiceConfidence(probabilities: readonly number[]): number {
  const chance = 1 / probabilities.length;
  return round(Math.min(1, Math.max(0, (Math.max(...probabilities) - chance) / (1 - chance))));
}

/** How near probabilities of levels are to the most likely one: 0 where they are as far as equal ones, or farther. */
export function scaleConfidence(probabilities: readonly number[]): number {
  if (probabilities.length === 1) return 1;
  const mode = probabilities.indexOf(Math.max(...probabilities));
  const middle = (probabilities.length - 1) / 2;
  const spread = probabilities.reduce((sum, share, level) => sum + share * Math.abs(level - mode), 0);
  const equal =
    probabilities.reduce((sum, _, level) => sum + Math.abs(level - middle), 0) / probabilities.length;
  return round(Math.min(1, Math.max(0, 1 - spread / equal)));
}

/** The mean level. */
export function expectedLevel(probabilities: readonly number[]): number {
  return round(probabilities.reduce((sum, share, level) => sum + share * level, 0));
}

function round(value: number): number {
  return Math.round(value * 1e6) / 1e6;
}
