import { createHash } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { ModelIdentity } from '../../src/api/classify.js';
import type { Embedder, Embedding, EmbedOptions, Legibility } from '../../src/inference/embedder.js';
import { SHIPPED } from '../../src/scoring/noise.js';
import type { ByteStore } from '../../src/scoring/vector-cache.js';
import { AppError } from '../../src/shared/errors.js';

/** A model identity for answers that are not about the model. */
export const MODEL: ModelIdentity = {
  id: 'test/words',
  revision: 'r1',
  variant: 'fp32',
  digest: 'sha256:words',
};

/** Vectors of background and noise that no text is like, for tests of other things: embedding so many texts takes time. */
export const NO_BACKGROUND = async (): Promise<Float32Array> => new Float32Array(SHIPPED.length * 384);

/**
 * An embedder that needs no model: a text's vector is the sum of a fixed pseudo-random vector for each of
 * its words, so texts are the more similar the more words they share. Records what it is asked.
 */
export class WordEmbedder implements Embedder {
  readonly dimension: number;
  readonly asked: string[] = [];
  /** For whom. */
  readonly clients = new Set<string | undefined>();
  /** Called before each answer; may wait or throw. */
  before: ((text: string, signal: AbortSignal | undefined) => Promise<void> | void) | undefined;
  legibilityOf: (text: string) => Legibility = () => 'legible';
  readonly #words = new Map<string, Float32Array>();
  underway = 0;
  mostUnderway = 0;

  constructor(dimension = 384) {
    this.dimension = dimension;
  }

  admit(): void {}

  async embed(text: string, { signal, client }: EmbedOptions = {}): Promise<Embedding> {
    this.asked.push(text);
    this.clients.add(client);
    this.underway += 1;
    this.mostUnderway = Math.max(this.mostUnderway, this.underway);
    try {
      await this.before?.(text, signal);
      if (signal?.aborted) throw new AppError('aborted', 'aborted');
      const words = text.toLowerCase().match(/[\p{L}\p{N}]+/gu) ?? [''];
      const timing = { queueMs: 1, tokenizeMs: 2, inferenceMs: 3 };
      return {
        vector: this.#sum(words),
        tokens: words.length + 2,
        truncatedTokens: 0,
        legibility: this.legibilityOf(text),
        timing,
      };
    } finally {
      this.underway -= 1;
    }
  }

  #sum(words: readonly string[]): Float32Array {
    const vector = new Float32Array(this.dimension);
    for (const word of words) {
      const one = this.#words.get(word) ?? this.#vectorOf(word);
      for (const [i, value] of one.entries()) vector[i] = (vector[i] ?? 0) + value;
    }
    const length = Math.hypot(...vector);
    return vector.map((value) => value / length);
  }

  #vectorOf(word: string): Float32Array {
    const vector = Float32Array.from({ length: this.dimension }, (_, i) => {
      return createHash('md5').update(`${word} ${i}`).digest().readInt32LE(0) / 2 ** 31;
    });
    this.#words.set(word, vector);
    return vector;
  }
}

/** Takes the time of a forward pass, or ends early when aborted, as a pool does. */
export async function forwardPass(ms: number, signal: AbortSignal | undefined): Promise<void> {
  try {
    await sleep(ms, undefined, signal && { signal });
  } catch {
    throw new AppError('aborted', 'aborted while waiting');
  }
}

/** Bytes that outlive a classifier, as a file would. */
export function memoryStore(): ByteStore & { bytes: Uint8Array | undefined; saves: number } {
  return {
    bytes: undefined,
    saves: 0,
    async load() {
      return this.bytes;
    },
    async save(bytes) {
      this.saves += 1;
      this.bytes = bytes;
    },
  };
}
