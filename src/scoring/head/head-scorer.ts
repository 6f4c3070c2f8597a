import { RowMatrix } from '../row-matrix.js';
import {
  type Contribution,
  type Floor,
  multiplyRoutes,
  type RouteScores,
  type Scorer,
  type ScorerIdentity,
} from '../scorer.js';
import type { RouteVectors } from '../vectors.js';
import { scoreOf } from './calibration.js';
import { HEAD_VERSION, type Head } from './fit.js';

/** Log-odds of a probability of 0 or 1, for want of infinity. */
const MOST_LOG_ODDS = 30;

/**
 * Scores by a trained head together with similarity:
 *
 * 1. logit of a route by the regression, and the best cosine of its utterances;
 * 2. probability: softmax over the candidates of a · logit + g · cosine;
 * 3. score: logistic(α · log-odds of the probability + β · best cosine of the text to any candidate + γ).
 *
 * All constants were fitted to out-of-fold texts of the set itself. The score increases with the probability,
 * so both order the candidates alike.
 */
export class HeadScorer implements Scorer {
  readonly identity: ScorerIdentity;
  readonly defaultThreshold: number;
  readonly floor: Floor;
  readonly #head: Head;
  readonly #vectors: RouteVectors;
  /** routes × (dimension + 1), in the order of the set. */
  readonly #weights: RowMatrix;
  readonly #biases: Float64Array;
  readonly #all: Uint32Array;
  readonly #logits: Float64Array;
  /** The last scores, for `explain`. */
  #among: Uint32Array;
  #highest = 0;
  #total = 1;
  #similarity = 0;

  /**
   * @param order the head's row of each route of the set
   * @param digest of the encoded head
   */
  constructor(head: Head, vectors: RouteVectors, order: Uint32Array, digest: string) {
    const { routes, dimension } = head;
    this.identity = { method: 'head', version: HEAD_VERSION, digest };
    this.defaultThreshold = head.threshold;
    this.floor = head.floor;
    this.#head = head;
    this.#vectors = vectors;
    this.#weights = new RowMatrix(routes, dimension);
    this.#biases = new Float64Array(routes);
    for (const [route, row] of order.entries()) {
      const at = row * (dimension + 1);
      this.#weights.row(route).set(head.weights.subarray(at, at + dimension));
      this.#biases[route] = head.weights[at + dimension] ?? 0;
    }
    this.#all = Uint32Array.from({ length: routes }, (_, index) => index);
    this.#among = this.#all;
    this.#logits = new Float64Array(routes);
  }

  score(vector: Float32Array, candidates: Uint32Array | undefined, out: RouteScores): void {
    const among = candidates ?? this.#all;
    const { blend, calibration, mostLogOdds } = this.#head;
    const logits = this.#logits;
    this.#multiply(vector, candidates);
    this.#among = among;
    let highest = Number.NEGATIVE_INFINITY;
    let nearest = -1;
    for (const route of among) {
      const similarity = this.#bestCosine(route);
      out.similarity[route] = similarity;
      if (similarity > nearest) nearest = similarity;
      const logit =
        blend.logit * ((this.#weights.products[route] as number) + (this.#biases[route] as number)) +
        blend.similarity * similarity;
      logits[route] = logit;
      if (logit > highest) highest = logit;
    }
    let total = 0;
    for (const route of among) total += Math.exp((logits[route] as number) - highest);
    this.#highest = highest;
    this.#total = total;
    this.#similarity = nearest;
    for (const route of among) {
      const evidence = Math.min(mostLogOdds, this.#logOdds(route));
      out.score[route] = scoreOf(calibration, evidence, nearest);
    }
  }

  explain(route: number, scores: RouteScores): Contribution {
    const { blend, calibration, mostLogOdds } = this.#head;
    // The blend without its similarity is the regression alone.
    const own = (at: number): number =>
      (this.#logits[at] as number) - blend.similarity * (scores.similarity[at] as number);
    let total = 0;
    for (const other of this.#among) total += Math.exp(own(other) - own(route));
    return {
      head_probability: 1 / total,
      probability: Math.exp((this.#logits[route] as number) - this.#highest) / this.#total,
      log_odds: {
        head: calibration.head * Math.min(mostLogOdds, this.#logOdds(route)),
        similarity: calibration.similarity * this.#similarity,
        bias: calibration.bias,
      },
    };
  }

  /** Products of the vector with the candidates' weights and utterances. */
  #multiply(vector: Float32Array, candidates: Uint32Array | undefined): void {
    multiplyRoutes(this.#vectors, vector, candidates);
    this.#weights.load(vector);
    if (candidates === undefined) this.#weights.multiply(0, this.#weights.rows);
    else for (const route of candidates) this.#weights.multiply(route, route + 1);
  }

  #bestCosine(route: number): number {
    const { matrix, offsets } = this.#vectors;
    const to = offsets[route + 1] as number;
    let best = -1;
    for (let row = offsets[route] as number; row < to; row += 1) {
      const cosine = matrix.products[row] as number;
      if (cosine > best) best = cosine;
    }
    // Rounding can take the cosine of a text to itself a little above 1.
    return Math.min(best, 1);
  }

  /** Log-odds of a route's probability: its weight against all the others' together. */
  #logOdds(route: number): number {
    const weight = Math.exp((this.#logits[route] as number) - this.#highest);
    const others = this.#total - weight;
    if (!(others > 0)) return MOST_LOG_ODDS;
    return Math.max(-MOST_LOG_ODDS, (this.#logits[route] as number) - this.#highest - Math.log(others));
  }
}
