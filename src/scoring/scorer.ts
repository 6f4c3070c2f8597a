import type { Contribution, ModelIdentity, ScorerIdentity } from '../api/classify.js';
import type { Embedder, Legibility } from '../inference/embedder.js';
import type { RouteSet } from '../routes/set.js';
import type { HeadCache } from './head/head-cache.js';
import type { RowMatrix } from './row-matrix.js';
import type { VectorCache } from './vector-cache.js';
import { firstOfNone, type RouteVectors } from './vectors.js';

/**
 * A model as the classifier needs it. Vectors of different models must never meet, so what belongs to one
 * model stays together.
 */
export interface Encoder {
  /** Bound to this model: it must not begin to answer with another one. */
  readonly embedder: Embedder;
  /** Shown with every decision. */
  readonly model: ModelIdentity;
  /** Vectors of route utterances that outlive the process. Labels of requests are not kept in it. */
  readonly cache?: VectorCache;
  /** The same for texts that heads are trained and calibrated with besides utterances. */
  readonly auxiliary?: VectorCache;
  /** The vectors of the background and noise texts that came with the program for this model: texts × dimension. */
  readonly background?: () => Promise<Float32Array | undefined>;
  /** Trained heads that outlive the process. */
  readonly heads?: HeadCache;
  /** Influences on vectors beside the model's digest (runtime, processor), so that heads are kept apart. */
  readonly modelKey?: string;
}

/** Buffers that a scorer writes into, indexed by route. What is not a candidate keeps an old value. */
export interface RouteScores {
  /** Best cosine of the route's utterances. */
  readonly similarity: Float64Array;
  /** Confidence that the route is right, 0..1. */
  readonly score: Float64Array;
}

export type { Contribution, ScorerIdentity } from '../api/classify.js';

/** Judges a vector by a route set. Made for one set; another set needs another scorer. */
export interface Scorer {
  readonly identity: ScorerIdentity;
  /** Lowest score with which a route is chosen by default. */
  readonly defaultThreshold: number;
  /** Below which cosine a text is like no utterance of the set. */
  readonly floor: Floor;
  /**
   * Scores the candidates. Does not await. The same vector, text and candidates give the same numbers. Within one call,
   * `score` orders the candidates; scores of different candidate lists are comparable but not equal, as confidence is
   * shared among the candidates.
   * @param vector of length 1
   * @param candidates indexes of routes, none twice; `undefined`: all
   * @param text that the vector was made from; without it, words say nothing
   */
  score(vector: Float32Array, candidates: Uint32Array | undefined, out: RouteScores, text?: string): void;
  /** The matrices whose rows `score` multiplies with the vector, besides that of the utterances. */
  readonly matrices?: readonly RowMatrix[];
  /**
   * Returns the parts of the score of a candidate of the last call, where there is more to it than similarity.
   * @param scores what that call wrote
   */
  explain?(route: number, scores: RouteScores): Contribution;
}

/**
 * Makes the scorer of a set, which may take long (training) and can be aborted through `signal`. What needs no vectors is
 * done while these are being made.
 */
export type CreateScorer = (
  set: RouteSet,
  vectors: RouteVectors | Promise<RouteVectors>,
  context: { readonly encoder: Encoder; readonly signal?: AbortSignal },
) => Promise<Scorer>;

/** Buffers for a set of `routes` routes. */
export function createRouteScores(routes: number): RouteScores {
  return { similarity: new Float64Array(routes), score: new Float64Array(routes) };
}

/**
 * Writes the cosines of the vector and the utterances of the candidates, or all, and the texts of `none`, into the
 * matrix's `products`.
 */
export function multiplyRoutes(
  { matrix, offsets }: RouteVectors,
  vector: Float32Array,
  candidates?: Uint32Array,
): void {
  matrix.load(vector);
  if (candidates === undefined) {
    matrix.multiply(0, matrix.rows);
    return;
  }
  for (const route of candidates) matrix.multiply(offsets[route] as number, offsets[route + 1] as number);
  const none = firstOfNone(offsets);
  if (none < matrix.rows) matrix.multiply(none, matrix.rows);
}

/** Returns the best cosine of the vector that was multiplied last to the texts of `none`; -1 where there are none. */
export function nearestOfNone({ matrix, offsets }: RouteVectors): number {
  let best = -1;
  for (let row = firstOfNone(offsets); row < matrix.rows; row += 1) {
    best = Math.max(best, matrix.products[row] as number);
  }
  return best;
}

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
