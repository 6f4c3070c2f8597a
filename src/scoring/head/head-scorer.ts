import type { Floor } from '../noise.js';
import { multiplyRoutes, nearestOfNone, type RouteVectors, RowMatrix } from '../row-matrix.js';
import type { Contribution, RouteScores, Scorer, ScorerIdentity } from '../scorer.js';
import { scoreOf } from './calibration.js';
import { HEAD_VERSION, type Head } from './fit.js';
import { featuresOf, WordScorer } from './words.js';

/** Words that `explain` shows of each candidate, those that change its logit by at least so much. */
const WORDS_SHOWN = 5;
const LEAST_SHOWN = 0.05;
/** Log-odds of a probability of 0 or 1, for want of infinity. */
const MOST_LOG_ODDS = 30;

/**
 * Scores by a trained head together with similarity:
 *
 * 1. logit of a route by the regression, the best cosine of its utterances, and the evidence of words;
 * 2. probability: softmax over the candidates, and the class of `none`, of a · logit + g · cosine + h · words;
 * 3. score: logistic(α · log-odds of the probability + β · best cosine of the text to any candidate + δ · logit + γ), the
 *    logit being that of the best candidate less by how far a route is behind in the softmax.
 *
 * All constants were fitted to out-of-fold texts of the set itself. The score increases with the probability,
 * so both order the candidates alike.
 */
export class HeadScorer implements Scorer {
  readonly identity: ScorerIdentity;
  readonly defaultThreshold: number;
  readonly floor: Floor;
  readonly matrices: readonly RowMatrix[];
  readonly #head: Head;
  readonly #vectors: RouteVectors;
  /** routes × (dimension + 1), in the order of the set; that of `none` last. */
  readonly #weights: RowMatrix;
  readonly #biases: Float64Array;
  readonly #all: Uint32Array;
  readonly #logits: Float64Array;
  readonly #words: WordScorer;
  /** Evidence of words, in the order of the head. */
  readonly #evidence: Float64Array;
  /** The head's row of each route of the set, and of `none`. */
  readonly #order: Uint32Array;
  /** Index of the class of `none`, where there is one. */
  readonly #none: number | undefined;
  /** Each logit's share of `#total`. */
  readonly #shares: Float64Array;
  /** The last scores, for `explain`. */
  #text = '';
  #noneCosine = -1;
  #among: Uint32Array;
  #highest = 0;
  #total = 1;
  #similarity = 0;
  /** Difference of the best candidate's logit by the regression and its blend with the other evidence. */
  #logitOffset = 0;

  /**
   * @param order the head's row of each route of the set
   * @param digest of the encoded head
   */
  constructor(head: Head, vectors: RouteVectors, order: Uint32Array, digest: string) {
    const { dimension } = head;
    // The class of `none` follows the routes here and there.
    const routes = head.none ? head.routes - 1 : head.routes;
    this.#none = head.none ? routes : undefined;
    this.#order = head.none ? Uint32Array.of(...order, routes) : order;
    this.#words = new WordScorer(head.words);
    this.#evidence = new Float64Array(head.routes);
    this.identity = { method: 'head', version: HEAD_VERSION, digest };
    this.defaultThreshold = head.threshold;
    this.floor = head.floor;
    this.#head = head;
    this.#vectors = vectors;
    this.#weights = new RowMatrix(head.routes, dimension);
    this.matrices = [this.#weights];
    this.#biases = new Float64Array(head.routes);
    for (const [route, row] of this.#order.entries()) {
      const at = row * (dimension + 1);
      this.#weights.row(route).set(head.weights.subarray(at, at + dimension));
      this.#biases[route] = head.weights[at + dimension] ?? 0;
    }
    this.#all = Uint32Array.from({ length: routes }, (_, index) => index);
    this.#among = this.#all;
    this.#logits = new Float64Array(head.routes);
    this.#shares = new Float64Array(head.routes);
  }

  score(vector: Float32Array, candidates: Uint32Array | undefined, out: RouteScores, text = ''): void {
    const among = candidates ?? this.#all;
    const { blend, calibration, mostLogOdds } = this.#head;
    const logits = this.#logits;
    this.#multiply(vector, candidates);
    if (blend.words > 0) this.#words.score(featuresOf(text), this.#evidence);
    this.#text = text;
    this.#among = among;
    let highest = Number.NEGATIVE_INFINITY;
    let nearest = -1;
    let best = among[0] ?? 0;
    for (const route of among) {
      const similarity = this.#bestCosine(route);
      out.similarity[route] = similarity;
      if (similarity > nearest) nearest = similarity;
      const logit = this.#blend(route, similarity);
      logits[route] = logit;
      if (logit > highest) {
        highest = logit;
        best = route;
      }
    }
    this.#logitOffset = blend.logit * this.#logitOf(best) - highest;
    let total = 0;
    if (this.#none !== undefined) {
      this.#noneCosine = nearestOfNone(this.#vectors);
      const logit = this.#blend(this.#none, this.#noneCosine);
      logits[this.#none] = logit;
      if (logit > highest) highest = logit;
      total = Math.exp(logit - highest);
    }
    for (const route of among) {
      const share = Math.exp((logits[route] as number) - highest);
      this.#shares[route] = share;
      total += share;
    }
    this.#highest = highest;
    this.#total = total;
    this.#similarity = nearest;
    for (const route of among) {
      const logOdds = Math.min(mostLogOdds, this.#logOdds(route));
      out.score[route] = scoreOf(calibration, logOdds, this.#logitEvidence(route), nearest);
    }
  }

  explain(route: number, scores: RouteScores): Contribution {
    const { blend, calibration, mostLogOdds } = this.#head;
    // The blend without similarity and words is the regression alone.
    const own = (at: number, cosine = scores.similarity[at] as number): number =>
      (this.#logits[at] as number) - blend.similarity * cosine - blend.words * this.#wordsOf(at);
    let total = this.#none === undefined ? 0 : Math.exp(own(this.#none, this.#noneCosine) - own(route));
    for (const other of this.#among) total += Math.exp(own(other) - own(route));
    return {
      head_probability: 1 / total,
      probability: Math.exp((this.#logits[route] as number) - this.#highest) / this.#total,
      log_odds: {
        head:
          calibration.head * Math.min(mostLogOdds, this.#logOdds(route)) +
          calibration.logit * this.#logitEvidence(route),
        similarity: calibration.similarity * this.#similarity,
        bias: calibration.bias,
      },
      words: this.#explainWords(route),
    };
  }

  /** Returns the input of the softmax. */
  #blend(route: number, cosine: number): number {
    const { blend } = this.#head;
    return (
      blend.logit * this.#logitOf(route) + blend.similarity * cosine + blend.words * this.#wordsOf(route)
    );
  }

  /** Returns the best candidate's logit, less by how far a route is behind: so both order the candidates alike. */
  #logitEvidence(route: number): number {
    return (this.#logits[route] as number) + this.#logitOffset;
  }

  /** Returns the logit by the regression. */
  #logitOf(route: number): number {
    return (this.#weights.products[route] as number) + (this.#biases[route] as number);
  }

  #wordsOf(route: number): number {
    return this.#evidence[this.#order[route] as number] as number;
  }

  /** The words that say most for or against a route, compared with the other candidates. */
  #explainWords(route: number): Contribution['words'] {
    const { words } = this.#head.blend;
    if (words === 0) return [];
    const rowOf = (at: number): number => this.#order[at] as number;
    const others = Array.from(this.#among).filter((other) => other !== route);
    return this.#words
      .explain(this.#text, rowOf(route), others.map(rowOf))
      .map(({ text, evidence }) => ({ text, log_odds: words * evidence }))
      .filter(({ log_odds }) => Math.abs(log_odds) >= LEAST_SHOWN)
      .sort((a, b) => Math.abs(b.log_odds) - Math.abs(a.log_odds))
      .slice(0, WORDS_SHOWN);
  }

  /** Products of the vector with the candidates' weights and utterances. */
  #multiply(vector: Float32Array, candidates: Uint32Array | undefined): void {
    multiplyRoutes(this.#vectors, vector, candidates);
    this.#weights.load(vector);
    if (candidates === undefined) this.#weights.multiply(0, this.#weights.rows);
    else {
      for (const route of candidates) this.#weights.multiply(route, route + 1);
      if (this.#none !== undefined) this.#weights.multiply(this.#none, this.#none + 1);
    }
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
    const others = this.#total - (this.#shares[route] as number);
    if (!(others > 0)) return MOST_LOG_ODDS;
    return Math.max(-MOST_LOG_ODDS, (this.#logits[route] as number) - this.#highest - Math.log(others));
  }
}
