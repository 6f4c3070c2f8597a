import { createHash } from 'node:crypto';
import { BACKGROUND } from './head/background.js';
import { RowMatrix } from './row-matrix.js';
import { type Encoder, logistic } from './scorer.js';
import { isEnglish, UNREADABLE } from './unreadable.js';
import { embedLists, rowsOf } from './vectors.js';

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

/**
 * Texts that ask for nothing, whatever a set is about: names, and words without a sentence. A text that is more like one of
 * them than like any utterance gets no confident score. Other texts than those that measure what comes of it
 * (test/scoring/probes.ts), which a test watches. To be changed together with the vectors that come with the program (`npm run background`).
 */
export const NOISE: readonly string[] = [
  // people
  'Emily Thornbury',
  'Prof. Adaeze Nwosu',
  'Jean-Baptiste Lefèvre',
  'Sofia Papadopoulou',
  'Rajesh Venkataraman',
  'Nakamura Daichi',
  'Tran Van Duc',
  'Ingrid Solheim',
  'Mustafa Yildirim',
  'Carlos Eduardo Figueroa',
  'Li Xiaoming',
  'Park Ji-hoon',
  'Pham Thi Lan',
  'Hoang Van Minh',
  'Fatima al-Rashid',
  'Giovanni Battista Pergolesi',
  'Franz Schubert',
  'Marie Curie',
  'Nelson Mandela',
  'William Shakespeare',
  'Frida Kahlo',
  'Elizabeth',
  'Christopher',
  'Andrew',
  'Margaret',
  'Peter',
  'Hannah',
  'Sebastian',
  'Katarzyna',
  'Mr. Henderson',
  'Sir Reginald Fotheringay',
  // places
  'Saxony',
  'Manitoba',
  'Nebraska',
  'Nairobi',
  'Buenos Aires',
  'Reykjavik',
  'Ulaanbaatar',
  'Jakarta',
  'Lake Baikal',
  'Mount Fuji',
  'the Danube',
  'Avenida Paulista',
  'Piazza Navona',
  'Rambla de Catalunya',
  'Baker Street',
  'Gloucestershire',
  'Vladivostok',
  'Patagonia',
  'Rue du Bac',
  'Via Garibaldi',
  'Calle Mayor',
  'Königsallee',
  // companies and products
  'Unilever',
  'Deutsche Telekom',
  'Mitsubishi Heavy Industries',
  'Procter and Gamble',
  'Schneider Electric',
  'Philips Medical Systems',
  'Bosch',
  'Ferrari',
  'Harley-Davidson',
  'Coca-Cola',
  // words without a sentence
  'giraffe nebula magnet',
  'orange penguin toaster',
  'silent triangles dream loudly',
  'the fork of tomorrow is green',
  'granite beneath upwards violin',
  'electricity tastes sideways on Thursday',
  'nine wooden clouds of silence',
  'fern candle thunder walrus',
  'backwards pineapple treaty',
  'when the of a never but',
  'three foxes, a ladder, no moon',
  'trestle mumble flamingo',
  'wobbledy frinkle snoutbarge',
  'glimmerfax',
  'brick lemon sorrow fourteen drum',
  'pack my box with five dozen liquor jugs',
  'table river seven blue',
  'quiet hammers swim in paper',
  'octopus ledger velvet',
  'a teapot inside the number six',
  'purple is heavier than Wednesday',
  'snow anvil carpet whisker',
  'marmalade equation',
  'hollow umbrellas chew the horizon',
  'under over between among',
  'pebble parade of sleepy engines',
  'dust copper feather alphabet',
  'the moon ate my left staircase',
  'zigzag turnip cathedral',
  'plasma otter harmonica',
  'cactus bishop oxygen',
  'quasar butter hinge',
  'vortex muffin',
  'slow thunder in the pocket of a goose',
  'eleven is a kind of cheese',
  'crumpet',
  'obelisk',
  'lorem ipsum',
  'foo bar baz',
  'flurbish wexit plonder',
  'spindlewort grackle thrum',
  'the ladder forgets its yellow opinion',
  'seven spoons, a rumour, no door',
  'doorbells whisper about cheese',
  'a pocketful of thursdays',
  'cushion logic',
  'ribbon volcano accountant',
  'umbrella protocol',
  'the soup is older than the staircase',
  'windmill under soft arithmetic',
  'Friday folds its elbows',
  'a Monday made of glue',
  'October is wearing a hat',
  'whispering jam on Sunday',
  'magnets dream beneath Saturday',
  'noon is softer than pepper',
  'three otters, two kettles, no answer',
  'ten parrots, one sofa, no sound',
  'five geese and a broken accordion',
  'one bear, nine buttons',
  'sunshine in the left pocket of a clock',
  'bricks sing to the gravy',
  'a poem eats a hinge',
  'gravel hums inside the calendar',
  'six kites, one sandwich, no hurry',
  'velocity mumbles about turnips',
  'two badgers, a trombone, no plan',
  'thursday pickles',
  'the fog is shaped like a fork',
  'December hides under its own tongue',
];

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
