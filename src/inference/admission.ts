/** A forward pass costs about as much as this many tokens before the first of them (see docs/performance.md). */
const TOKENS_PER_PASS = 5;
/** Characters of a token in scripts that put spaces between words; in the others a character is a token. */
const CHARS_PER_TOKEN = 4;
const FIRST_UNSPACED = 0x2e80;
/** Before the first text was timed; a small machine's order of magnitude. */
const FIRST_MS_PER_UNIT = 0.1;
/** Weight of the newest text in the average. */
const AVERAGE_WEIGHT = 0.02;
/**
 * One text counts as this many times slower than the average at most. A process that was stopped in mid-pass (a
 * container that was paused, a machine that slept) took hours for a text; were that learned, all texts would be
 * refused from then on, and none would ever teach better.
 */
const MOST_TIMES_SLOWER = 10;
/** While there is more work than capacity, the queue is kept this much shorter than a burst may make it. */
const STRICTNESS = 40;
/** Overload is over when nothing had to be refused for this long. */
const CALM_MS = 1_000;

/**
 * The work of a text in tokens, at most `maxTokens` and the pass itself: an estimate that costs nothing, since
 * the tokenizer is a worker's.
 */
export function workOf(text: string, maxTokens: number): number {
  let tokens = 0;
  const end = Math.min(text.length, maxTokens * CHARS_PER_TOKEN);
  for (let index = 0; index < end && tokens < maxTokens; index += 1) {
    tokens += text.charCodeAt(index) >= FIRST_UNSPACED ? 1 : 1 / CHARS_PER_TOKEN;
  }
  return tokens + TOKENS_PER_PASS;
}

/** What is asked for a text that would have to wait. */
export interface Applicant {
  readonly client: string;
  /** Whether the client has something waiting already. */
  readonly waits: boolean;
  /** How long this text would wait, in milliseconds. */
  readonly waitMs: number;
}

/**
 * Decides whether a text may wait, by the time that the work before it will take. A burst may make a long queue.
 * Where work keeps coming faster than it is done, a long queue would only make everyone wait: from the first
 * refusal on the queue is kept short, until nothing had to be refused for a while. (The idea of a standing queue
 * as the sign of overload is that of CoDel, RFC 8289.)
 *
 * It is kept short for the client who made it long. Where the one that is refused has nothing waiting, it is the
 * many who made it long, and it is kept short for all.
 */
export class Admission {
  readonly #maxWaitMs: number;
  #msPerUnit = FIRST_MS_PER_UNIT;
  /** When it ends for each client, the nearest first. */
  readonly #strictUntil = new Map<string, number>();
  #strictForAllUntil = Number.NEGATIVE_INFINITY;

  /** @param maxWaitMs longest wait that a burst may cause */
  constructor(maxWaitMs: number) {
    this.#maxWaitMs = maxWaitMs;
  }

  /** Learns from a text that was embedded what work takes on this machine. */
  observe(tokens: number, ms: number): void {
    const msPerUnit = Math.min(ms / (tokens + TOKENS_PER_PASS), MOST_TIMES_SLOWER * this.#msPerUnit);
    this.#msPerUnit += AVERAGE_WEIGHT * (msPerUnit - this.#msPerUnit);
  }

  /** How long this much work keeps so many workers busy, in milliseconds. */
  waitMs(work: number, workers: number): number {
    return (work * this.#msPerUnit) / Math.max(1, workers);
  }

  /** Whether a text is turned away. */
  refuses({ client, waits, waitMs }: Applicant, now = performance.now()): boolean {
    const strictWithIt = now < (this.#strictUntil.get(client) ?? now);
    const strict = strictWithIt || now < this.#strictForAllUntil;
    if (waitMs <= (strict ? this.#maxWaitMs / STRICTNESS : this.#maxWaitMs)) return false;
    if (waits || strictWithIt) this.#beStrictWith(client, now);
    else this.#strictForAllUntil = now + CALM_MS;
    return true;
  }

  #beStrictWith(client: string, now: number): void {
    this.#strictUntil.delete(client);
    this.#strictUntil.set(client, now + CALM_MS);
    for (const [other, until] of this.#strictUntil) {
      if (until > now) break;
      this.#strictUntil.delete(other);
    }
  }
}
