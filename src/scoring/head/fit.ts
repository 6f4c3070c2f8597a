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
import { corpusOf, featuresOf, type TextFeatures, trainWords, type WordModel, WordScorer } from './words.js';

/** To be raised with anything that changes a head or its scores: the algorithm, a constant, the background. */
export const HEAD_VERSION = 5;

/** The texts that a head learns from. */
export interface HeadTexts {
  /** With the class of the texts of `none`, where there are some: that is the last one. */
  readonly routes: number;
  readonly none: boolean;
  /** Utterances, those of route 0 first; sentences made of names and descriptions; background. */
  readonly texts: readonly string[];
  /** Route of each utterance, ascending. */
  readonly labels: Uint32Array;
  /** Route of each sentence made of a name or description: trained on, but never held out. */
  readonly nameLabels: Uint32Array;
}

/** The vectors of these texts. All have length 1; rows follow each other without gaps. */
export interface HeadVectors {
  readonly dimension: number;
  /** Utterances × dimension. */
  readonly utterances: Float32Array;
  readonly names: Float32Array;
  /** Texts of no route × dimension. */
  readonly background: Float32Array;
}

/** Training data of a head. */
export interface HeadProblem extends HeadTexts, HeadVectors {}

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
 * @param words of these texts, which need no vectors
 */
export function fitHead(problem: HeadProblem, words = learnWords(problem)): Head {
  const { routes, dimension, none } = problem;
  const training = new Training(problem, words);
  const { own, cost, parameters } = training.outOfFold();
  const { blend } = fitBlend(own);
  const leftOut = training.leftOut(cost);
  // Nothing is held out from here on, so what the last fold learnt is a fair place to begin.
  training.train(parameters, cost);
  const weights = new Float32Array(parameters);
  const background = training.background();
  const confidence = fitConfidence(own, { background, leftOut }, blend, none ? routes - 1 : routes);
  return { routes, dimension, none, weights, words: words.model, cost, blend, ...confidence };
}

/** Texts that are scored by a head that knows nothing of some texts. */
interface Part {
  /** Rows of the texts that are scored. */
  readonly rows: readonly number[];
  /** Evidence of their words, by a model that did not learn from what is out: texts × routes. */
  readonly evidence: Float32Array;
  /** Whether a row is not learnt from. */
  isOut(row: number): boolean;
}

/** What is learnt of a set's texts without their vectors: how they are parted, and the evidence of their words. */
export interface HeadWords {
  /** Learnt from all utterances and names. */
  readonly model: WordModel;
  /** Route of each row; 0 for background. */
  readonly labels: Uint32Array;
  readonly folds: readonly Part[];
  /** The texts of some routes, of which nothing is known. Undefined for a set with too few routes. */
  readonly leftOut: (Part & { isGone(route: number): boolean }) | undefined;
  readonly background: Part;
}

/** Parts the texts of a set, and learns their words. */
export function learnWords({ texts, labels, nameLabels, routes, none }: HeadTexts): HeadWords {
  const known = labels.length + nameLabels.length;
  const all = new Uint32Array(texts.length);
  all.set(labels);
  all.set(nameLabels, labels.length);
  const features = texts.map(featuresOf);
  const corpus = corpusOf(features.slice(0, known));
  const evidenceBy = (model: WordModel, rows: readonly number[]): Float32Array => {
    const scorer = new WordScorer(model);
    const evidence = new Float32Array(rows.length * routes);
    for (const [index, row] of rows.entries()) {
      scorer.score(features[row] as TextFeatures, evidence, index * routes);
    }
    return evidence;
  };
  const partOf = (rows: readonly number[], isOut: Part['isOut']): Part => {
    const model = trainWords(corpus, all, routes, (row) => !isOut(row));
    return { rows, isOut, evidence: evidenceBy(model, rows) };
  };

  const { count, used } = foldPlan(labels.length, routes);
  const foldOf = stratifiedFolds(labels, count);
  const rows = Array.from(labels.keys());
  // None that is its route's only one.
  const held = rows.filter((row) => labels[row - 1] === labels[row] || labels[row + 1] === labels[row]);
  const folds = Array.from({ length: used }, (_, fold) => {
    const isOut = (row: number): boolean => foldOf[row] === fold;
    return partOf(sampleOf(held.filter(isOut), used), isOut);
  });
  const last = none ? routes - 1 : routes;
  const isGone = (route: number): boolean => route % count === 0 && route < last;
  const isLeftOut = (row: number): boolean => isGone(all[row] as number);
  const leftOut =
    routes < HEAD_DEFAULTS.leastRoutes
      ? undefined
      : { ...partOf(sampleOf(rows.filter(isLeftOut), used), isLeftOut), isGone };
  const model = trainWords(corpus, all, routes);
  const strangers = Array.from({ length: texts.length - known }, (_, index) => known + index);
  const background = { rows: strangers, isOut: () => false, evidence: evidenceBy(model, strangers) };
  return { model, labels: all, folds, leftOut, background };
}

/** As many of these rows as one fold may give, spread evenly. */
function sampleOf(rows: readonly number[], folds: number): readonly number[] {
  const most = Math.ceil(HEAD_DEFAULTS.calibrationSample / folds);
  if (rows.length <= most) return rows;
  return Array.from({ length: most }, (_, i) => rows[Math.floor((i * rows.length) / most)] ?? 0);
}

/** The rows of a problem and the regression over them. */
class Training {
  readonly #problem: HeadProblem;
  readonly #words: HeadWords;
  readonly #rows: TrainingRows;
  readonly #regression: SoftmaxRegression;
  /** Weight of each row, before folds. */
  readonly #balance: Float32Array;

  constructor(problem: HeadProblem, words: HeadWords) {
    const { dimension, routes, utterances, names, background, labels, nameLabels } = problem;
    this.#problem = problem;
    this.#words = words;
    const features = new Float32Array(utterances.length + names.length + background.length);
    features.set(utterances);
    features.set(names, utterances.length);
    features.set(background, utterances.length + names.length);
    const known = labels.length + nameLabels.length;
    this.#rows = new TrainingRows(features, dimension, routes, known);
    const [, middle = 10] = HEAD_DEFAULTS.costs;
    this.#balance = balance(words.labels, known, routes);
    this.#regression = new SoftmaxRegression(this.#rows, words.labels, middle, this.#balance);
  }

  /** Trains without what a part leaves out, or on everything. */
  train(parameters: Float64Array, cost: number, part?: Part): void {
    const rowWeights = part
      ? this.#balance.map((weight, row) => (part.isOut(row) ? 0 : weight))
      : this.#balance;
    this.#regression.train(parameters, { cost, rowWeights });
  }

  /** Chooses the cost on the first fold, and scores the texts of every fold by heads that never saw them. */
  outOfFold(): { readonly own: OutOfFold; readonly cost: number; readonly parameters: Float64Array } {
    const { folds } = this.#words;
    const own = createOutOfFold(
      folds.reduce((sum, { rows }) => sum + rows.length, 0),
      this.#problem.routes,
    );
    let cost: number = HEAD_DEFAULTS.costs[0];
    let filled = 0;
    let parameters = new Float64Array(this.#regression.size);
    for (const [index, fold] of folds.entries()) {
      if (index === 0) {
        cost = this.#chooseCost(fold, own, parameters);
      } else {
        parameters = new Float64Array(this.#regression.size);
        this.train(parameters, cost, fold);
        this.#predict(fold, own, filled);
        this.#compare(fold, own, filled);
      }
      filled += fold.rows.length;
    }
    return { own, cost, parameters };
  }

  /** Scores the texts of some routes by a head that knows nothing of these routes. */
  leftOut(cost: number): OutOfFold | undefined {
    const { leftOut } = this.#words;
    if (!leftOut) return undefined;
    this.train(new Float64Array(this.#regression.size), cost, leftOut);
    const out = this.#score(leftOut);
    withoutRoutes(out, leftOut.isGone);
    return out;
  }

  /** Scores the background with the weights that were trained last. */
  background(): OutOfFold {
    return this.#score(this.#words.background);
  }

  #score(part: Part): OutOfFold {
    const out = createOutOfFold(part.rows.length, this.#problem.routes);
    this.#predict(part, out, 0);
    this.#compare(part, out, 0);
    return out;
  }

  /** Each cost goes on from where the one before ended. Leaves what the best gives at the start of `own`. */
  #chooseCost(fold: Part, own: OutOfFold, parameters: Float64Array): number {
    let best = { cost: HEAD_DEFAULTS.costs[0] as number, loss: Number.POSITIVE_INFINITY };
    let kept = new Float32Array(0);
    const count = fold.rows.length;
    this.#compare(fold, own, 0);
    for (const cost of HEAD_DEFAULTS.costs) {
      this.train(parameters, cost, fold);
      this.#predict(fold, own, 0);
      const { meanLoss } = fitBlend({ ...own, count });
      // Past the best cost it only gets worse, and the largest cost takes the longest.
      if (meanLoss >= best.loss) break;
      best = { cost, loss: meanLoss };
      kept = own.logits.slice(0, count * own.routes);
    }
    own.logits.set(kept);
    return best.cost;
  }

  /** Writes the logits of a part by the weights that were trained last, from the text `first` of `out` on. */
  #predict({ rows }: Part, out: OutOfFold, first: number): void {
    const { routes } = this.#problem;
    const { logits, logitStride } = this.#rows;
    this.#rows.predictRows(rows, (index, query) => {
      const from = query * logitStride;
      out.logits.set(logits.subarray(from, from + routes), (first + index) * routes);
    });
  }

  /** Writes what depends on no weights: the best cosines to utterances outside the part, and the evidence of words. */
  #compare(part: Part, { similarity, words, labels: outLabels }: OutOfFold, first: number): void {
    const { labels, routes } = this.#problem;
    const { products, productStride } = this.#rows;
    words.set(part.evidence, first * routes);
    const others = new Uint32Array(labels.keys()).filter((row) => !part.isOut(row));
    this.#rows.compare(part.rows, labels.length, (index, query) => {
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
      outLabels[first + index] = labels[part.rows[index] ?? 0] ?? NO_ROUTE;
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
