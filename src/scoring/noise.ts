import { createHash } from 'node:crypto';
import type { Legibility } from '../inference/embedder.js';
import TEXTS from './background-texts.json' with { type: 'json' };
import { RowMatrix } from './row-matrix.js';
import type { Encoder } from './scorer.js';
import { embedLists, rowsOf } from './vectors.js';

/**
 * Constants of the check that keeps scores low for texts that are like no utterance, chosen with the tuning half of the
 * probes (test/scoring/probes.ts; `npm run bench:routing` shows both halves).
 */
export const FAMILIARITY_DEFAULTS = {
  /** Floor of a set that has too few utterances to tell, … */
  floor: { at: 0.32, width: 0.02 },
  /** … and as how many utterances it counts beside the set's own. */
  floorWeight: 20,
  /** Share of the set's own utterances that may be below the floor when each is compared with the others. */
  below: 0.01,
  /** Fitted floors are within these bounds: a set may be about one subject or about anything. */
  bounds: [0.2, 0.4],
  /**
   * Floor of labels without examples. Of the default set's texts, a tenth of those that find their route by its name are
   * no more like that name than 0.2, and most of the texts at 0.15 go wrong: so their scores sink slowly.
   */
  named: { at: 0.16, width: 0.08 },
  /** Factor of a text that the model cannot read. It keeps the order and is below every default threshold. */
  illegible: 0.05,
} as const;

/** A curve from 0 to 1, in cosine: one half at `at`, three quarters a `width` above it. */
export interface Floor {
  readonly at: number;
  readonly width: number;
}

/**
 * Fits the floor of a set.
 * @param cosines of utterances of the set, each to the nearest of the others; sorted in place
 */
export function fitFloor(cosines: Float64Array): Floor {
  const { floor, floorWeight, below, bounds } = FAMILIARITY_DEFAULTS;
  const lowest = cosines.sort()[Math.floor(cosines.length * below)];
  if (lowest === undefined) return floor;
  const mixed = (cosines.length * lowest + floorWeight * floor.at) / (cosines.length + floorWeight);
  const at = Math.min(bounds[1], Math.max(bounds[0], mixed));
  return { at: Math.round(1e4 * at) / 1e4, width: floor.width };
}

/**
 * Returns the factor, 0 to 1, by which all scores of a text are multiplied.
 * @param cosine of the text and the nearest utterance
 */
export function familiarity(cosine: number, floor: Floor, legibility: Legibility = 'legible'): number {
  if (legibility !== 'legible') return FAMILIARITY_DEFAULTS.illegible;
  return logistic((cosine - floor.at) / floor.width);
}

/** 1 / (1 + e⁻ˣ). */
export function logistic(x: number): number {
  return 1 / (1 + Math.exp(-x));
}

/** Constants, chosen with the tuning half of the probes (test/scoring/probes.ts). */
export const NOISE_DEFAULTS = {
  noise: { lead: 0.08, namedLead: 0.16, width: 0.04 },
  unreadable: { lead: -0.02, namedLead: 0.05, width: 0.02 },
  /**
   * In cosine: a text that is less like every unreadable one can be read, however little it is like the utterances. Requests
   * in other languages have 0.46 and more, English ones less but where they are about a language.
   */
  readable: { at: 0.38, width: 0.015 },
} as const;

/** A curve from 1 to 0 over how much more a text is like other texts than like its nearest utterance, in cosine. */
interface Curve {
  /** Where the factor is one half. */
  readonly lead: number;
  /** The same for labels without examples: a request is less like a name. */
  readonly namedLead: number;
  /** The factor is three quarters so much before that. */
  readonly width: number;
}

/** Verdict of {@link Noise} about a text. */
export interface NoiseVerdict {
  /** Factor of all scores, 0 to 1. */
  readonly factor: number;
  /** Whether the text is more like what the model cannot read than like anything that the set has. */
  readonly unreadable: boolean;
}

/** Lowers the scores of texts that are more like noise, or like what the model cannot read, than like anything that a set has. */
export class Noise {
  /** One row for each noise text, and behind them for each of {@link UNREADABLE}. */
  readonly matrix: RowMatrix;

  /** @param shipped vectors of {@link SHIPPED}: texts × dimension */
  constructor(shipped: Float32Array, dimension: number) {
    const count = SHIPPED.length - BACKGROUND.length;
    this.matrix = new RowMatrix(count, dimension);
    for (let row = 0; row < count; row += 1) {
      const from = (BACKGROUND.length + row) * dimension;
      this.matrix.row(row).set(shipped.subarray(from, from + dimension));
    }
  }

  /**
   * Compares a text with noise and, where its words are not English, with what the model cannot read.
   * @param cosine of the text and the nearest utterance
   * @param named whether the set is labels without examples
   */
  judge(text: string, vector: Float32Array, cosine: number, named = false): NoiseVerdict {
    this.matrix.load(vector);
    this.matrix.multiply(0, this.matrix.rows);
    const noise = this.#nearest(0, NOISE.length);
    const unreadable = this.#nearest(NOISE.length, this.matrix.rows);
    const { at, width } = NOISE_DEFAULTS.readable;
    const readable = Math.max(
      factorOf(unreadable - cosine, NOISE_DEFAULTS.unreadable, named),
      logistic((at - unreadable) / width),
      Number(unreadable > at && isEnglish(text)),
    );
    return {
      factor: factorOf(noise - cosine, NOISE_DEFAULTS.noise, named) * readable,
      unreadable: readable < 0.5,
    };
  }

  #nearest(from: number, to: number): number {
    const { products } = this.matrix;
    let best = -1;
    for (let row = from; row < to; row += 1) best = Math.max(best, products[row] ?? -1);
    return best;
  }
}

function factorOf(beyond: number, { lead, namedLead, width }: Curve, named: boolean): number {
  return logistic(((named ? namedLead : lead) - beyond) / width);
}

/** Words of English, each hardly known to any other language of Latin letters. */
const ENGLISH = new Set(
  `the this that these those what which how why when where who whose does did doing you your yours my our their they
  she him her its with from into about please could would should there been has have having want need and not but because
  write translate translation proofread summarize mean means meaning word words sentence text say says english`.split(
    /\s+/,
  ),
);
/** As many of them make a text English, whatever it quotes. */
const ENOUGH_ENGLISH = 2;

/** Whether a text is English by its words, and so can be read, be it about another language or a quotation of it. */
export function isEnglish(text: string): boolean {
  const found = new Set<string>();
  for (const [word] of text.toLowerCase().matchAll(/[a-z]+/g)) {
    if (ENGLISH.has(word)) found.add(word);
    if (found.size >= ENOUGH_ENGLISH) return true;
  }
  return false;
}

const known = new WeakMap<Encoder, Promise<Float32Array>>();

/**
 * Returns the vectors of {@link SHIPPED} by a model: texts × dimension. Those that came with the program, else the model
 * embeds the texts, once; they stay on the volume with the other texts of heads.
 * @throws what the embedder throws; the next call tries again
 */
export function backgroundOf(encoder: Encoder): Promise<Float32Array> {
  const found = known.get(encoder);
  if (found !== undefined) return found;
  const vectors = embedBackground(encoder);
  known.set(encoder, vectors);
  vectors.catch(() => known.delete(encoder));
  return vectors;
}

async function embedBackground({ background, embedder, auxiliary }: Encoder): Promise<Float32Array> {
  const shipped = await background?.();
  if (shipped) return shipped;
  return rowsOf(await embedLists([SHIPPED], embedder, auxiliary ? { cache: auxiliary } : {}), SHIPPED);
}

const noises = new WeakMap<Float32Array, Noise>();

/**
 * Returns the noise of a model.
 * @throws as {@link backgroundOf}
 */
export async function noiseOf(encoder: Encoder): Promise<Noise> {
  const vectors = await backgroundOf(encoder);
  const noise = noises.get(vectors) ?? new Noise(vectors, encoder.embedder.dimension);
  noises.set(vectors, noise);
  return noise;
}

function flat(groups: Readonly<Record<string, readonly string[]>>): readonly string[] {
  return Object.values(groups).flat();
}

/**
 * Texts that belong to no route in particular: what a router that is asked anything gets besides what it was
 * made for. They stand for the out-of-scope side when a head is calibrated. Some will be in scope of some set
 * (a set about cars, say); those that are as near to a route as its own utterances are left out there.
 *
 * The texts of this file are to be changed together with the vectors that come with the program (`npm run background`),
 * and these with `HEAD_VERSION` as well, as they decide about scores.
 */
export const BACKGROUND = flat(TEXTS.background);

/**
 * Texts that ask for nothing, whatever a set is about: names, and words without a sentence. A text that is more like one of
 * them than like any utterance gets no confident score. Other texts than those that measure what comes of it
 * (test/scoring/probes.ts), which a test watches.
 */
export const NOISE = flat(TEXTS.noise);

/**
 * Texts that the built-in model cannot read: sentences in forty languages of Latin letters, and what a hand leaves on a
 * keyboard. A text that is more like one of them than like any utterance gets no confident score, and is said not to be
 * legible.
 */
export const UNREADABLE = flat(TEXTS.unreadable);

/** The texts whose vectors by the built-in models come with the program. */
export const SHIPPED: readonly string[] = [...BACKGROUND, ...NOISE, ...UNREADABLE];

const DIGEST_BYTES = 32;
const MOST = 127;

/**
 * Vectors of these texts as bytes: what they were made from and of (a sha256), the vectors with 8
 * bits a number, and the sha256 of all that. Their length is 1, so no scale is kept. 8 bits leave a cosine of 0.9999.
 * @param manifestDigest of the model that made them
 * @param vectors one for each of {@link SHIPPED}
 */
export function encodeBackground(manifestDigest: string, vectors: readonly Float32Array[]): Uint8Array {
  const rows = vectors.map((vector) => {
    const scale = vector.reduce((most, value) => Math.max(most, Math.abs(value)), 0) / MOST;
    return Int8Array.from(vector, (value) => Math.round(value / scale));
  });
  const content = Buffer.concat([keyOf(manifestDigest), ...rows.map((row) => Buffer.from(row.buffer))]);
  return Buffer.concat([content, sha256(content)]);
}

/**
 * Reads what {@link encodeBackground} wrote.
 * @returns texts × dimension, each of length 1; `undefined` if they are of another model, of other texts or damaged
 */
export function decodeBackground(
  file: Uint8Array,
  manifestDigest: string,
  dimension: number,
): Float32Array | undefined {
  const bytes = Buffer.from(file.buffer, file.byteOffset, file.byteLength);
  if (bytes.length !== 2 * DIGEST_BYTES + SHIPPED.length * dimension) return undefined;
  if (!bytes.subarray(0, DIGEST_BYTES).equals(keyOf(manifestDigest))) return undefined;
  if (!bytes.subarray(-DIGEST_BYTES).equals(sha256(bytes.subarray(0, -DIGEST_BYTES)))) return undefined;
  const vectors = new Float32Array(SHIPPED.length * dimension);
  for (let row = 0; row < SHIPPED.length; row += 1) {
    const values = new Int8Array(bytes.buffer, bytes.byteOffset + DIGEST_BYTES + row * dimension, dimension);
    let squares = 0;
    for (let i = 0; i < dimension; i += 1) squares += (values[i] ?? 0) ** 2;
    const length = Math.sqrt(squares);
    for (let i = 0; i < dimension; i += 1) vectors[row * dimension + i] = (values[i] ?? 0) / length;
  }
  return vectors;
}

function keyOf(manifestDigest: string): Buffer {
  return sha256(Buffer.from([manifestDigest, ...SHIPPED].join('\n')));
}

function sha256(bytes: Uint8Array): Buffer {
  return createHash('sha256').update(bytes).digest();
}
