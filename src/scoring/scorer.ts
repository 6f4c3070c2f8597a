import type { Contribution, ModelIdentity, ScorerIdentity } from '../api/classify.js';
import type { Embedder } from '../inference/embedder.js';
import type { RouteSet } from '../routes/set.js';
import type { HeadCache } from './head/head-cache.js';
import type { Floor } from './noise.js';
import type { RouteVectors, RowMatrix } from './row-matrix.js';
import type { VectorCache } from './vector-cache.js';

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
