/** To be raised with anything that changes a head or its scores: the algorithm, a constant, the background. */
export const HEAD_VERSION = 2;

/**
 * Constants of the head, chosen by measurement (`npm run bench:routing`; docs/routing.md has the figures).
 * "Cost" is 1 / regularization, as in scikit-learn: the loss is summed, and the penalty is |W|² / (2 cost).
 */
export const HEAD_DEFAULTS = {
  /** Costs that cross-validation chooses from, ascending. */
  costs: [3, 10, 30],
  /** A route with fewer utterances counts as small … */
  smallRoute: 3,
  /** … and a set of which more than this share is small is scored by its nearest utterances. */
  mostSmall: 0.5,
  /** Utterances × routes beyond which training would take minutes; such a set is scored by nearest. */
  mostWork: 10_000_000,
  /** Texts of a set that are scored out of fold, at most, spread evenly. */
  calibrationSample: 2_000,
  /** How much all background texts count together, of as many texts of the set's own. */
  backgroundShare: 0.5,
  /** Which part of the set's own texts, out of fold, should reach the default threshold. */
  keepInScope: 0.95,
  /** Default threshold of a set that is too small to tell, … */
  threshold: 0.25,
  /** … and as how many out-of-fold texts it counts beside the set's own. */
  thresholdWeight: 20,
} as const;

/** How a set's texts are split: into `count` parts, of which `used` are held out in turn. */
export interface FoldPlan {
  readonly count: number;
  readonly used: number;
}

/**
 * With four fifths to train on, what is held out is judged nearly as the final head will judge. A few hundred
 * held-out texts say enough, so a large set holds out only as many parts as that takes.
 * @param rows utterances of the set
 */
export function foldPlan(rows: number, routes: number): FoldPlan {
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

/**
 * Why a set cannot have a head, with what to do about it; `undefined` where there is enough to train on, and not
 * too much: see {@link HEAD_DEFAULTS}.
 */
export function untrainable(
  routes: readonly { readonly utterances: readonly string[] }[],
): string | undefined {
  const { smallRoute, mostSmall, mostWork } = HEAD_DEFAULTS;
  const rows = routes.reduce((sum, { utterances }) => sum + utterances.length, 0);
  const small = routes.filter(({ utterances }) => utterances.length < smallRoute).length;
  const instead = 'or let the method be "auto" or "nearest"';
  if (routes.length < 2) return `a head needs two routes or more; add another one, ${instead}`;
  if (small > mostSmall * routes.length) {
    return `a head needs ${smallRoute} utterances or more in at least half of the routes, and ${small} of ${routes.length} have fewer; add some, ${instead}`;
  }
  if (rows * routes.length <= mostWork) return undefined;
  return `${rows} utterances × ${routes.length} routes would take minutes to train (at most ${mostWork}); remove some, ${instead}`;
}
