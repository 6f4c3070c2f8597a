import { messageOf } from '../shared/errors.js';
import type { WorkerResult } from './protocol.js';
import type { Session } from './session.js';
import type { Encoding, Tokenizer } from './tokenizer.js';

/** Texts of one forward pass at most: beyond, little is gained, and everyone waits for the longest. */
const MAX_BATCH = 8;
/**
 * What filling up to the longest may add to a batch's tokens. Mixed lengths in one batch cost more than they save
 * (docs/performance.md, "fp32: batches").
 */
const MAX_PADDING = 1.15;

/** A text on its way through the model, and where its result goes. */
interface Row extends Encoding {
  readonly index: number;
  readonly tokenizeMs: number;
}

/** From texts to vectors in this process: tokenizer and session, and which texts share a forward pass. */
export class TextEmbedder {
  readonly #tokenizer: Tokenizer;
  readonly #session: Session;
  #batches = false;

  constructor(tokenizer: Tokenizer, session: Session) {
    this.#tokenizer = tokenizer;
    this.#session = session;
  }

  /** Whether texts of like length share a forward pass. At first none does. */
  get batches(): boolean {
    return this.#batches;
  }

  /**
   * Lets texts share forward passes, if that changes not one bit of these texts' vectors on this machine. How a
   * processor's matrix kernels add up may depend on the number of rows.
   */
  async allowBatches(texts: readonly string[]): Promise<void> {
    const rows = texts.map((text) => this.#tokenizer.encode(text).ids);
    const together = await this.#session.embed(rows, this.#tokenizer.padId);
    for (const [index, row] of rows.entries()) {
      const [alone] = await this.#session.embed([row], this.#tokenizer.padId);
      if (!alone?.every((value, place) => value === together[index]?.[place])) return;
    }
    this.#batches = true;
  }

  /** Embeds texts that came together. Never fails: what went wrong with a text is its result. */
  async embed(texts: readonly string[]): Promise<WorkerResult[]> {
    const results: WorkerResult[] = new Array(texts.length);
    const rows: Row[] = [];
    for (const [index, text] of texts.entries()) {
      try {
        rows.push(this.#encode(text, index));
      } catch (error) {
        results[index] = { failure: messageOf(error) };
      }
    }
    for (const batch of this.#batches ? batchesOf(rows) : rows.map((row) => [row])) {
      await this.#pass(batch, results);
    }
    return results;
  }

  #encode(text: string, index: number): Row {
    const start = performance.now();
    const encoding = this.#tokenizer.encode(text);
    return { ...encoding, index, tokenizeMs: performance.now() - start };
  }

  async #pass(batch: readonly Row[], results: WorkerResult[]): Promise<void> {
    const start = performance.now();
    let vectors: Float32Array[];
    try {
      vectors = await this.#session.embed(
        batch.map(({ ids }) => ids),
        this.#tokenizer.padId,
      );
    } catch (error) {
      const [only, ...others] = batch;
      if (only && others.length === 0) results[only.index] = { failure: messageOf(error) };
      // One of them is at fault; the others need not fail with it.
      else for (const row of batch) await this.#pass([row], results);
      return;
    }
    const inferenceMs = (performance.now() - start) / batch.length;
    for (const [place, { index, ids, truncatedTokens, tokenizeMs }] of batch.entries()) {
      const vector = vectors[place];
      results[index] = vector?.every(Number.isFinite)
        ? { vector, tokens: ids.length, truncatedTokens, tokenizeMs, inferenceMs }
        : { failure: 'the model gave values that are not finite' };
    }
  }
}

/** Rows sorted by length and parted where filling up to the longest would cost too much. */
function batchesOf(rows: readonly Row[]): Row[][] {
  const batches: Row[][] = [];
  let batch: Row[] = [];
  let tokens = 0;
  for (const row of rows.toSorted((a, b) => a.ids.length - b.ids.length)) {
    const longest = row.ids.length;
    const padded = longest * (batch.length + 1);
    if (batch.length === MAX_BATCH || padded > MAX_PADDING * (tokens + longest)) {
      batches.push(batch);
      batch = [];
      tokens = 0;
    }
    batch.push(row);
    tokens += longest;
  }
  if (batch.length > 0) batches.push(batch);
  return batches;
}
