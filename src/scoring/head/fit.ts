import {
  type Blend,
  type Confidence,
  createOutOfFold,
  fitBlend,
  fitConfidence,
  HEAD_DEFAULTS,
  NO_ROUTE,
  type OutOfFold,
} from './calibration.js';
import { SoftmaxRegression } from './regression.js';
import { TrainingRows } from './training-rows.js';
import {
  corpusOf,
  featuresOf,
  type TextFeatures,
  trainWords,
  type WordCorpus,
  type WordModel,
  WordScorer,
} from './words.js';

/** To be raised with anything that changes a head or its scores: the algorithm, a constant, the background. */
export const HEAD_VERSION = 5;

/** Training data of a head. All vectors have length 1; rows follow each other without gaps. */
export interface HeadProblem {
  readonly dimension: number;
  /** With the class of the texts of `none`, where there are some: that is the last one. */
  readonly routes: number;
  readonly none: boolean;
  /** Utterances × dimension, those of route 0 first. */
  readonly utterances: Float32Array;
  /** Route of each utterance, ascending. */
  readonly labels: Uint32Array;
  /** Sentences made of a route's name and description × dimension: trained on, but never held out. */
  readonly names: Float32Array;
  readonly nameLabels: Uint32Array;
  /** Texts of no route × dimension. */
  readonly background: Float32Array;
  /** The texts of all these rows: utterances, names, background. */
  readonly texts: readonly string[];
}

/** A trained head. */
export interface Head extends Confidence {
  readonly dimension: number;
  /** With the class of the texts of `none`, which has the last row. */
  readonly routes: number;
  readonly none: boolean;
  /** routes × (dimension + 1), the bias last in each row. */
  readonly weights: Float32Array;
  readonly words: WordModel;
  readonly cost: number;
  readonly blend: Blend;
}

/**
 * Trains a head: choose the cost and score the texts out of fold → fit the blend → leave routes out, whose texts then are
 * strangers → train on all → score the background → fit confidence and threshold. Pure: the same problem gives the same bytes.
 */
export function fitHead(problem: HeadProblem): Head {
  const { routes, dimension, none } = problem;
  const training = new Training(problem);
  const { own, cost, parameters } = training.outOfFold();
  const { blend } = fitBlend(own);
  const leftOut = training.leftOut(cost);
  // Nothing is held out from here on, so what the last fold learnt is a fair place to begin.
  training.train(parameters, cost, undefined);
  const weights = new Float32Array(parameters);
  const words = training.words(undefined);
  const background = training.background(words);
  const confidence = fitConfidence(own, { background, leftOut }, blend, none ? routes - 1 : routes);
  return { routes, dimension, none, weights, words, cost, blend, ...confidence };
}

/** Texts that a training leaves out: a fold, or all of some routes. */
type Part = number | ((route: number) => boolean);

/** The rows of a problem and the regression over them. */
class Training {
  readonly size: number;
  readonly #problem: HeadProblem;
  readonly #rows: TrainingRows;
  readonly #regression: SoftmaxRegression;
  readonly #utterances: number;
  readonly #folds: Uint32Array;
  readonly #plan: FoldPlan;
  /** Weight of each row, before folds. */
  readonly #balance: Float32Array;
  readonly #labels: Uint32Array;
  readonly #features: readonly TextFeatures[];
  #corpus: WordCorpus | undefined;

  constructor(problem: HeadProblem) {
    const { dimension, routes, utterances, names, background, labels, nameLabels } = problem;
    this.#problem = problem;
    this.#utterances = labels.length;
    const features = new Float32Array(utterances.length + names.length + background.length);
    features.set(utterances);
    features.set(names, utterances.length);
    features.set(background, utterances.length + names.length);
    this.#rows = new TrainingRows(features, dimension, routes, labels.length + nameLabels.length);
    const all = new Uint32Array(this.#rows.rows);
    all.set(labels);
    all.set(nameLabels, labels.length);
    const [, middle = 10] = HEAD_DEFAULTS.costs;
    this.#labels = all;
    this.#features = problem.texts.map(featuresOf);
    this.#balance = balance(all, labels.length + nameLabels.length, routes);
    this.#regression = new SoftmaxRegression(this.#rows, all, middle, this.#balance);
    this.size = this.#regression.size;
    this.#plan = foldPlan(labels.length, routes);
    this.#folds = stratifiedFolds(labels, this.#plan.count);
  }

  /** Trains without a part, or on everything. */
  train(parameters: Float64Array, cost: number, without: Part | undefined): void {
    const rowWeights = this.#balance.map((weight, row) => (this.#isIn(row, without) ? 0 : weight));
    this.#regression.train(parameters, { cost, rowWeights });
  }

  /** Learns the words without a part, or of everything. */
  words(without: Part | undefined): WordModel {
    const { labels, nameLabels, routes } = this.#problem;
    this.#corpus ??= corpusOf(this.#features.slice(0, labels.length + nameLabels.length));
    return trainWords(this.#corpus, this.#labels, routes, (text) => !this.#isIn(text, without));
  }

  /**
   * Scores the texts of some routes by a head that knows nothing of these routes.
   * @returns undefined for a set with too few routes
   */
  leftOut(cost: number): OutOfFold | undefined {
    const { labels, routes, none } = this.#problem;
    if (routes < HEAD_DEFAULTS.leastRoutes) return undefined;
    const last = none ? routes - 1 : routes;
    const isGone = (route: number): boolean => route % this.#plan.count === 0 && route < last;
    const rows = this.#sample(Array.from(labels.keys()).filter((row) => isGone(labels[row] as number)));
    this.train(new Float64Array(this.size), cost, isGone);
    const out = createOutOfFold(rows.length, routes);
    this.#predict(rows, out, 0);
    this.#compare(rows, isGone, this.words(isGone), out, 0);
    withoutRoutes(out, isGone);
    return out;
  }

  /** Whether a row, which is no background, belongs to a part. */
  #isIn(row: number, part: Part | undefined): boolean {
    if (typeof part === 'function') return part(this.#labels[row] as number);
    return part !== undefined && row < this.#utterances && this.#folds[row] === part;
  }

  /** Chooses the cost on the first fold, and scores the texts of every used fold by heads that never saw them. */
  outOfFold(): { readonly own: OutOfFold; readonly cost: number; readonly parameters: Float64Array } {
    const held = Array.from({ length: this.#plan.used }, (_, fold) => this.#heldOut(fold));
    const own = createOutOfFold(
      held.reduce((sum, rows) => sum + rows.length, 0),
      this.#problem.routes,
    );
    let cost: number = HEAD_DEFAULTS.costs[0];
    let filled = 0;
    let parameters = new Float64Array(this.size);
    for (const [fold, rows] of held.entries()) {
      if (fold === 0) {
        cost = this.#chooseCost(rows, own, parameters);
      } else {
        parameters = new Float64Array(this.size);
        this.train(parameters, cost, fold);
        this.#predict(rows, own, filled);
        this.#compare(rows, fold, this.words(fold), own, filled);
      }
      filled += rows.length;
    }
    return { own, cost, parameters };
  }

  /** Scores the background with the weights that were trained last. */
  background(words: WordModel): OutOfFold {
    const { labels, nameLabels, routes } = this.#problem;
    const first = labels.length + nameLabels.length;
    const rows = Array.from({ length: this.#rows.rows - first }, (_, index) => first + index);
    const out = createOutOfFold(rows.length, routes);
    this.#predict(rows, out, 0);
    this.#compare(rows, undefined, words, out, 0);
    return out;
  }

  /** Each cost goes on from where the one before ended. Leaves what the best gives at the start of `own`. */
  #chooseCost(rows: readonly number[], own: OutOfFold, parameters: Float64Array): number {
    let best = { cost: HEAD_DEFAULTS.costs[0] as number, loss: Number.POSITIVE_INFINITY };
    let kept = new Float32Array(0);
    this.#compare(rows, 0, this.words(0), own, 0);
    for (const cost of HEAD_DEFAULTS.costs) {
      this.train(parameters, cost, 0);
      this.#predict(rows, own, 0);
      const { meanLoss } = fitBlend({ ...own, count: rows.length });
      // Past the best cost it only gets worse, and the largest cost takes the longest.
      if (meanLoss >= best.loss) break;
      best = { cost, loss: meanLoss };
      kept = own.logits.slice(0, rows.length * own.routes);
    }
    own.logits.set(kept);
    return best.cost;
  }

  /** The rows of a fold that are scored: spread evenly, and none that is its route's only one. */
  #heldOut(fold: number): readonly number[] {
    const { labels } = this.#problem;
    const rows: number[] = [];
    for (let row = 0; row < labels.length; row += 1) {
      const alone = labels[row - 1] !== labels[row] && labels[row + 1] !== labels[row];
      if (this.#folds[row] === fold && !alone) rows.push(row);
    }
    return this.#sample(rows);
  }

  /** As many of these rows as one fold may give, spread evenly. */
  #sample(rows: readonly number[]): readonly number[] {
    const most = Math.ceil(HEAD_DEFAULTS.calibrationSample / this.#plan.used);
    if (rows.length <= most) return rows;
    return Array.from({ length: most }, (_, i) => rows[Math.floor((i * rows.length) / most)] ?? 0);
  }

  /** Writes the logits of rows by the weights that were trained last, from the text `first` of `out` on. */
  #predict(rows: readonly number[], out: OutOfFold, first: number): void {
    const { routes } = this.#problem;
    const { logits, logitStride } = this.#rows;
    this.#rows.predictRows(rows, (index, query) => {
      const from = query * logitStride;
      out.logits.set(logits.subarray(from, from + routes), (first + index) * routes);
    });
  }

  /** Writes what depends on no weights: the best cosines to utterances outside the part, and the evidence of words. */
  #compare(
    rows: readonly number[],
    part: Part | undefined,
    words: WordModel,
    { similarity, words: evidence, labels: outLabels }: OutOfFold,
    first: number,
  ): void {
    const scorer = new WordScorer(words);
    const { labels, routes } = this.#problem;
    const { products, productStride } = this.#rows;
    const others = new Uint32Array(labels.keys()).filter((row) => !this.#isIn(row, part));
    this.#rows.compare(rows, labels.length, (index, query) => {
      const start = (first + index) * routes;
      similarity.fill(-1, start, start + routes);
      const compared = query * productStride;
      for (let i = 0; i < others.length; i += 1) {
        const other = others[i] as number;
        const at = start + (labels[other] as number);
        // The rows' constants add 1 to every product.
        const cosine = (products[compared + other] as number) - 1;
        if (cosine > (similarity[at] as number)) similarity[at] = cosine;
      }
      scorer.score(this.#features[rows[index] as number] as TextFeatures, evidence, start);
      outLabels[first + index] = labels[rows[index] ?? 0] ?? NO_ROUTE;
    });
  }
}

/** Log-odds of a route that is no candidate. */
const IMPOSSIBLE = -1e4;

/**
 * Takes routes out of scores. A regression gives the routes that have no examples low logits and the others higher ones,
 * which sum to zero in a head: that is made up for.
 */
function withoutRoutes({ count, routes, logits }: OutOfFold, isGone: (route: number) => boolean): void {
  const kept = Array.from({ length: routes }, (_, route) => route).filter((route) => !isGone(route));
  for (let text = 0; text < count; text += 1) {
    const of = logits.subarray(text * routes, (text + 1) * routes);
    const mean = kept.reduce((sum, route) => sum + (of[route] as number), 0) / kept.length;
    for (let route = 0; route < routes; route += 1) {
      of[route] = isGone(route) ? IMPOSSIBLE : (of[route] as number) - mean;
    }
  }
}

/**
 * Weights that make a route with many utterances count more than one with few, but less so than their
 * numbers: the number of examples says little about how often a route is asked for. Background
 * rows get 0. The mean is 1.
 */
function balance(labels: Uint32Array, trained: number, routes: number): Float32Array {
  const counts = new Float64Array(routes);
  for (let row = 0; row < trained; row += 1) {
    const label = labels[row] as number;
    counts[label] = (counts[label] as number) + 1;
  }
  const weights = new Float32Array(labels.length);
  for (let row = 0; row < trained; row += 1) {
    weights[row] = Math.sqrt(trained / routes / (counts[labels[row] as number] as number));
  }
  return weights;
}

/** How a set's texts are split: into `count` parts, of which `used` are held out in turn. */
interface FoldPlan {
  readonly count: number;
  readonly used: number;
}

/**
 * With four fifths to train on, what is held out is judged nearly as the final head will judge. A few hundred
 * held-out texts say enough, so a large set holds out only as many parts as that takes.
 * @param rows utterances of the set
 */
function foldPlan(rows: number, routes: number): FoldPlan {
  if (rows >= 5_000) return { count: 5, used: 1 };
  return rows * routes <= 50_000 ? { count: 5, used: 5 } : { count: 5, used: 2 };
}

/**
 * The fold of each row: the texts of a route go round the folds in their order, and each route starts with
 * another one, so that every fold has its share of every route.
 * @param labels route of each row, ascending
 */
export function stratifiedFolds(labels: Uint32Array, count: number): Uint32Array {
  const folds = new Uint32Array(labels.length);
  let start = 0;
  for (let row = 0; row < labels.length; row += 1) {
    const label = labels[row] ?? 0;
    if (labels[start] !== label) start = row;
    folds[row] = (row - start + label) % count;
  }
  return folds;
}
