import type { TextsUsage } from '../classify/embed-texts.js';
import type { DecisionKind } from './metrics.js';

/** Answers that are remembered at most; one takes 2 kB as a rule. */
const MAX_ANSWERS = 1_000;
/** Longest body and longest answer that are remembered, in characters. */
const MAX_CHARS = 8_192;

/** The answer to one body, and what is counted with it. */
export interface KeptAnswer {
  readonly json: string;
  readonly usage: TextsUsage;
  readonly route: string | null;
  readonly kind: DecisionKind;
}

/**
 * Remembers what bodies were answered that come again and again: neither to parse nor to decide them anew spares half of
 * what they cost. Valid while the same set decides; the least recently used answer goes first.
 */
export class AnswerCache {
  /** In the order of their last use, the latest last. */
  readonly #answers = new Map<string, KeptAnswer>();
  #set: object | undefined;

  /**
   * The answer to an equal body, where one is remembered.
   * @param set what decides now: compared by identity
   */
  get(body: string, set: object | undefined): KeptAnswer | undefined {
    if (set !== this.#set) {
      this.#answers.clear();
      this.#set = set;
    }
    const answer = body.length <= MAX_CHARS ? this.#answers.get(body) : undefined;
    if (answer) {
      this.#answers.delete(body);
      this.#answers.set(body, answer);
    }
    return answer;
  }

  /** Remembers an answer, unless another set decides by now than the one that gave it. */
  keep(body: string, set: object | undefined, answer: KeptAnswer): void {
    if (set !== this.#set || Math.max(body.length, answer.json.length) > MAX_CHARS) return;
    this.#answers.set(body, answer);
    if (this.#answers.size <= MAX_ANSWERS) return;
    const [oldest] = this.#answers.keys();
    if (oldest !== undefined) this.#answers.delete(oldest);
  }
}
