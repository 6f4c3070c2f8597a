import { messageOf } from '../shared/errors.js';
import type { WorkerResult, WorkerText } from './protocol.js';
import type { Session } from './session.js';
import type { Encoding, Tokenizer } from './tokenizer.js';

/** Bounds of one forward pass that several texts share. */
export interface BatchLimits {
  readonly texts: number;
  /** Tokens, padding included. */
  readonly tokens: number;
  /** Tokens of padding that one more text may cause. */
  readonly padding: number;
}

/**
 * A pass costs about as much as 14 tokens before the first of them: to read the weights. Padding beyond that loses more than
 * sharing saves. A full pass of 192 tokens takes 6 to 9 % less time a text than one of 128; with 384 its values no longer fit
 * into a core's cache, and every text waits for all of it.
 */
export const BATCH_LIMITS: BatchLimits = { texts: 16, tokens: 192, padding: 8 };

/** When a worker answers, and when it begins the next pass, in ms. */
export const TURN = {
  /** Results wait this long for others, unless few texts are left: each message wakes a process that takes a core. */
  answerMs: 8,
  /** From so many texts on, answered just now or waiting, the next pass waits for the next ones of those clients. */
  gatheredTexts: 2,
  gatherMs: 6,
} as const;

const NO_BATCHES: BatchLimits = { texts: 1, tokens: 0, padding: 0 };

/** A text that waits for its pass. */
interface Row extends Encoding {
  readonly id: number;
  readonly tokenizeMs: number;
}

/** Results of some texts; vectors of those that did not fail, in order. */
export interface Answer {
  passes: number;
  readonly results: WorkerResult[];
  readonly vectors: Float32Array[];
}

/**
 * The texts of a worker, from tokens to vectors. The oldest text is always in the next pass; others that wait share it
 * where they are of like length.
 */
export class Batcher {
  readonly #tokenizer: Tokenizer;
  readonly #session: Session;
  #limits = NO_BATCHES;
  #rows: Row[] = [];

  constructor(tokenizer: Tokenizer, session: Session) {
    this.#tokenizer = tokenizer;
    this.#session = session;
  }

  /** Whether texts share forward passes. At first they do not. */
  get batches(): boolean {
    return this.#limits !== NO_BATCHES;
  }

  /** Texts that wait. */
  get size(): number {
    return this.#rows.length;
  }

  /** Whether those that wait fill less than half a pass, so that more would share it nearly for nothing. */
  get sparse(): boolean {
    const longest = this.#rows.reduce((most, { ids }) => Math.max(most, ids.length), 0);
    return (
      this.batches && 2 * longest * this.size < this.#limits.tokens && 2 * this.size < this.#limits.texts
    );
  }

  /**
   * Lets texts share forward passes, unless that changes a bit of these texts' vectors on this machine: how a
   * processor's matrix kernels add up may depend on the number of rows. Tried with all of them and with a full pass.
   */
  async allowBatches(texts: readonly string[], limits = BATCH_LIMITS): Promise<void> {
    const { padId } = this.#tokenizer;
    const rows = texts.map((text) => this.#tokenizer.encode(text).ids);
    if (rows.length === 0) return;
    const longest = Math.max(...rows.map(({ length }) => length));
    const places = Math.min(limits.texts, Math.ceil(limits.tokens / longest));
    const full = Array.from({ length: places }, (_, index) => rows[index % rows.length] ?? []);
    const alone: Float32Array[] = [];
    for (const row of rows) alone.push(...(await this.#session.embed([row], padId)));
    for (const batch of [rows, full]) {
      const together = await this.#session.embed(batch, padId);
      const same = together.every((vector, index) => equal(vector, alone[index % alone.length]));
      if (!same) return;
    }
    this.#limits = limits;
  }

  /** Tokenizes texts, which then wait. Texts that cannot be tokenized are in the answer. */
  push(texts: readonly WorkerText[], answer: Answer): void {
    for (const { id, text } of texts) {
      const start = performance.now();
      try {
        const encoding = this.#tokenizer.encode(text);
        this.#rows.push({ ...encoding, id, tokenizeMs: performance.now() - start });
      } catch (error) {
        answer.results.push({ id, failure: messageOf(error) });
      }
    }
  }

  /** Runs the next pass. Never fails: a failure of a text is its result. */
  async pass(answer: Answer): Promise<void> {
    const batch = nextBatch(this.#rows, this.#limits);
    const taken = new Set(batch);
    this.#rows = this.#rows.filter((row) => !taken.has(row));
    await this.#pass(batch, answer);
  }

  async #pass(batch: readonly Row[], answer: Answer): Promise<void> {
    answer.passes += 1;
    const start = performance.now();
    let vectors: Float32Array[];
    try {
      const rows = batch.map(({ ids }) => ids);
      vectors = await this.#session.embed(rows, this.#tokenizer.padId);
    } catch (error) {
      const [only] = batch;
      if (only && batch.length === 1) answer.results.push({ id: only.id, failure: messageOf(error) });
      // One of them is at fault; the others need not fail with it.
      else for (const row of batch) await this.#pass([row], answer);
      return;
    }
    const inferenceMs = (performance.now() - start) / batch.length;
    for (const [index, { id, ids, truncatedTokens, legibility, tokenizeMs }] of batch.entries()) {
      const vector = vectors[index];
      if (vector?.every(Number.isFinite)) {
        answer.results.push({
          id,
          tokens: ids.length,
          truncatedTokens,
          legibility,
          tokenizeMs,
          inferenceMs,
        });
        answer.vectors.push(vector);
      } else {
        answer.results.push({ id, failure: 'the model gave values that are not finite' });
      }
    }
  }
}

/**
 * The first row, and those next to it in length, as many as the limits allow: nearest first, so that little is padded.
 */
export function nextBatch<T extends Pick<Encoding, 'ids'>>(rows: readonly T[], limits: BatchLimits): T[] {
  const [first] = rows;
  if (!first || rows.length === 1 || limits.texts === 1) return rows.slice(0, 1);
  const length = first.ids.length;
  const byDistance = rows.toSorted(
    (a, b) => Math.abs(a.ids.length - length) - Math.abs(b.ids.length - length),
  );
  const batch: T[] = [];
  let longest = 0;
  for (const row of byDistance) {
    const before = longest * batch.length;
    longest = Math.max(longest, row.ids.length);
    const after = longest * (batch.length + 1);
    const fits = after <= limits.tokens && after - before - row.ids.length <= limits.padding;
    if (batch.length === limits.texts || (batch.length > 0 && !fits)) break;
    batch.push(row);
  }
  return batch;
}

function equal(a: Float32Array, b: Float32Array | undefined): boolean {
  return a.every((value, index) => value === b?.[index]);
}
