import type { TextsUsage } from '../scoring/embed-texts.js';
import type { DecisionKind } from './metrics.js';

/** Answers that are remembered at most: 2 MB as a rule, 16 MB at worst. */
const MAX_ANSWERS = 1_000;
/** Longest body and longest answer that are remembered, in characters. */
const MAX_CHARS = 4_096;
/** How often an answer is given: then its text is looked for again, lest its embedding counts as unused and is forgotten. */
const MAX_USES = 100;

/** The answer to one body, and what is counted with it. */
export interface KeptAnswer {
  readonly json: string;
  readonly usage: TextsUsage;
  readonly route: string | null;
  readonly kind: DecisionKind;
}

/** Answers of one set by body, in the order of their last use, the latest last. */
type Kept = Map<string, { readonly answer: KeptAnswer; uses: number }>;

/**
 * Remembers what bodies were answered that come again and again: neither to parse nor to decide them anew spares half of
 * what they cost. Each set that decides has answers of its own, which go with it; of these, the least recently used goes
 * first.
 */
export class AnswerCache {
  readonly #bySet = new WeakMap<object, Kept>();

  /**
   * The answer to an equal body, where one is remembered.
   * @param set what decides: told from others by identity
   */
  get(body: string, set: object | undefined): KeptAnswer | undefined {
    if (!set || body.length > MAX_CHARS) return undefined;
    const answers = this.#bySet.get(set);
    const known = answers?.get(body);
    if (!answers || !known) return undefined;
    answers.delete(body);
    known.uses += 1;
    if (known.uses < MAX_USES) answers.set(body, known);
    return known.answer;
  }

  /** Remembers the answer that this set gave. */
  keep(body: string, set: object | undefined, answer: KeptAnswer): void {
    if (!set || body.length > MAX_CHARS || answer.json.length > MAX_CHARS) return;
    const answers: Kept = this.#bySet.get(set) ?? new Map();
    this.#bySet.set(set, answers);
    answers.set(body, { answer, uses: 0 });
    for (const oldest of answers.keys()) {
      if (answers.size <= MAX_ANSWERS) break;
      answers.delete(oldest);
    }
  }
}
