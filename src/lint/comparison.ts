import type { RouteSet } from '../routes/set.js';
import { firstOfNone, type RouteVectors, RowMatrix } from '../scoring/row-matrix.js';
import { SIMILARITY_DEFAULTS } from '../scoring/similarity-scorer.js';
import { Slices } from '../shared/concurrent.js';

export const COMPARISON_DEFAULTS = {
  /** Utterances that are compared with all the others; of a larger set an even sample. */
  examined: 4_000,
  /** Cosine from which two texts count as nearly the same. */
  nearDuplicate: 0.95,
  /** Pairs of nearly the same texts that are kept, at most. */
  pairs: 2_000,
} as const;

/** An utterance compared with all the others of its set. */
export interface Compared {
  readonly row: number;
  /** Index of the route that it stands in. */
  readonly route: number;
  /** The route that would take it if it did not stand there. */
  readonly taken: number;
  /** By how much more evidence than its own route, in cosine; 0 where it stays. */
  readonly lead: number;
  /** By how much it is nearer to the mean of that route than to the mean of the others in its own; 0 where it stays. */
  readonly meanLead: number;
  /** By how much more evidence than the next other route, in cosine: how certain it is which one; 0 where it stays. */
  readonly clearance: number;
  /** Whether the three texts nearest to it all stand in that route. */
  readonly unanimous: boolean;
  /** The nearest other utterance of its own route: cosine (-1 where there is none) and row. */
  readonly own: Nearest;
  /** The nearest utterance of the other route with the most evidence, which is `taken` where that is another one. */
  readonly other: Nearest;
}

/** A row and its cosine to another. */
export interface Nearest {
  readonly row: number;
  readonly similarity: number;
}

/** Two rows that are nearly the same. */
export interface NearPair {
  readonly a: number;
  readonly b: number;
  readonly similarity: number;
}

export interface Comparison {
  readonly compared: readonly Compared[];
  readonly pairs: readonly NearPair[];
  readonly routeOf: Uint32Array;
  /** The nearest utterance of any route to each text of `none`, in their order; row -1 where it was not examined. */
  readonly none: readonly Nearest[];
}

/**
 * Compares utterances with all the others, giving way to other work now and then.
 * @throws AppError `aborted`
 */
export async function compareUtterances(
  vectors: RouteVectors,
  maxExamined: number,
  signal: AbortSignal | undefined,
  onProgress: (done: number, total: number) => void = () => undefined,
): Promise<Comparison> {
  const { matrix, offsets } = vectors;
  const rows = firstOfNone(offsets);
  const routeOf = ownersOf(offsets, rows);
  const size = Math.min(rows, maxExamined);
  const compared: Compared[] = [];
  const pairs: NearPair[] = [];
  const slices = new Slices(signal);
  const sums = await sumsOf(vectors, slices);
  for (let index = 0; index < size; index += 1) {
    const row = Math.floor((index * rows) / size);
    matrix.load(matrix.row(row));
    matrix.multiply(0, rows);
    compared.push(judge(vectors, sums, row, routeOf[row] ?? 0));
    // Every pair is met twice where all rows are examined.
    const from = size === rows ? row + 1 : 0;
    for (let other = from; other < rows && pairs.length < COMPARISON_DEFAULTS.pairs; other += 1) {
      const similarity = matrix.products[other] ?? -1;
      if (similarity >= COMPARISON_DEFAULTS.nearDuplicate && other !== row) {
        pairs.push({ a: row, b: other, similarity: Math.min(1, similarity) });
      }
    }
    if (!slices.over) continue;
    onProgress(index + 1, size);
    await slices.giveWay();
  }
  const none: Nearest[] = [];
  const step = Math.ceil((matrix.rows - rows) / maxExamined);
  for (let row = rows; row < matrix.rows; row += 1) {
    let nearest: Nearest = { row: -1, similarity: -1 };
    const isExamined = (row - rows) % step === 0;
    if (isExamined) {
      matrix.load(matrix.row(row));
      matrix.multiply(0, rows);
    }
    for (let other = 0; isExamined && other < rows; other += 1) {
      const similarity = matrix.products[other] ?? -1;
      if (similarity > nearest.similarity) nearest = { row: other, similarity };
    }
    none.push(nearest);
    if (slices.over) await slices.giveWay();
  }
  return { compared, pairs, routeOf, none };
}

function ownersOf(offsets: Uint32Array, rows: number): Uint32Array {
  const owners = new Uint32Array(rows);
  for (let route = 0; route + 1 < offsets.length; route += 1) {
    owners.fill(route, offsets[route] ?? 0, offsets[route + 1] ?? 0);
  }
  return owners;
}

/** The sum of each route's utterances, with its length. */
interface Sums {
  readonly matrix: RowMatrix;
  readonly lengths: Float64Array;
}

async function sumsOf({ matrix, offsets }: RouteVectors, slices: Slices): Promise<Sums> {
  const routes = offsets.length - 1;
  const sums = new RowMatrix(routes, matrix.dimension, { shortLived: true });
  const lengths = new Float64Array(routes);
  for (let route = 0; route < routes; route += 1) {
    const sum = sums.row(route);
    for (let row = offsets[route] ?? 0; row < (offsets[route + 1] ?? 0); row += 1) {
      const vector = matrix.row(row);
      for (let i = 0; i < vector.length; i += 1) sum[i] = (sum[i] ?? 0) + (vector[i] ?? 0);
    }
    lengths[route] = Math.hypot(...sum);
    if (slices.over) await slices.giveWay();
  }
  return { matrix: sums, lengths };
}

/**
 * Judges where an utterance would go by its evidence, which the similarity scorer calls so (the soft maximum of the
 * cosines to a route's utterances). A single utterance that shares a word misleads it, so the means of the two routes, the
 * nearest texts and the next route are looked at besides.
 */
function judge({ matrix, offsets }: RouteVectors, sums: Sums, row: number, route: number): Compared {
  const { products } = matrix;
  const { poolingTemperature } = SIMILARITY_DEFAULTS;
  let own: Nearest = { row: -1, similarity: -1 };
  let other: Nearest = { row: -1, similarity: -1 };
  let ownEvidence = Number.NEGATIVE_INFINITY;
  let highest = Number.NEGATIVE_INFINITY;
  let second = Number.NEGATIVE_INFINITY;
  let rival = route;
  for (let candidate = 0; candidate + 1 < offsets.length; candidate += 1) {
    const from = offsets[candidate] ?? 0;
    const to = offsets[candidate + 1] ?? 0;
    let nearest = -1;
    let best = -1;
    for (let index = from; index < to; index += 1) {
      const product = products[index] ?? -1;
      if (index === row || product <= best) continue;
      best = product;
      nearest = index;
    }
    if (nearest < 0) continue;
    let sum = 0;
    let count = 0;
    for (let index = from; index < to; index += 1) {
      if (index === row) continue;
      sum += Math.exp(((products[index] ?? -1) - best) / poolingTemperature);
      count += 1;
    }
    const evidence = best + poolingTemperature * Math.log(sum / count);
    const found = { row: nearest, similarity: Math.min(1, best) };
    if (candidate === route) {
      own = found;
      ownEvidence = evidence;
    } else if (evidence > highest) {
      other = found;
      second = highest;
      highest = evidence;
      rival = candidate;
    } else if (evidence > second) second = evidence;
  }
  const stays = {
    row,
    route,
    taken: route,
    lead: 0,
    meanLead: 0,
    clearance: 0,
    unanimous: false,
    own,
    other,
  };
  if (highest <= ownEvidence) return stays;
  const nearest = nearestRows(products.subarray(0, offsets.at(-1)), row, 3);
  return {
    ...stays,
    taken: rival,
    lead: highest - ownEvidence,
    meanLead: meanLeadOf(sums, matrix.row(row), route, rival),
    clearance: highest - second,
    unanimous: nearest.every((each) => each >= (offsets[rival] ?? 0) && each < (offsets[rival + 1] ?? 0)),
  };
}

/** The rows with the highest products besides this one. */
function nearestRows(products: Float32Array, row: number, count: number): number[] {
  const found: number[] = [];
  for (let index = 0; index < products.length; index += 1) {
    const product = products[index] ?? -1;
    if (index === row || (found.length === count && product <= (products[found.at(-1) ?? 0] ?? -1))) continue;
    const at = found.findIndex((each) => product > (products[each] ?? -1));
    found.splice(at < 0 ? found.length : at, 0, index);
    if (found.length > count) found.pop();
  }
  return found;
}

function meanLeadOf({ matrix, lengths }: Sums, vector: Float32Array, route: number, rival: number): number {
  const product = (index: number): number =>
    matrix.row(index).reduce((sum, value, i) => sum + value * (vector[i] ?? 0), 0);
  const own = product(route);
  // Without this vector, which has length 1.
  const rest = Math.sqrt(Math.max(1e-12, (lengths[route] ?? 0) ** 2 - 2 * own + 1));
  return product(rival) / (lengths[rival] || 1) - (own - 1) / rest;
}

/** How near routes are to each other as a whole. */
export interface Closeness {
  /** Mean cosine between the utterances of one route, each with all the others; 1 for a single one. */
  readonly within: Float64Array;
  /**
   * Mean cosine between the utterances of two routes, as a part of what it is within them: at 1 their utterances
   * are no nearer to each other than to those of the other route.
   */
  between(a: number, b: number): number;
}

/**
 * Measures the closeness of all routes, giving way to other work now and then.
 * @throws AppError `aborted`
 */
export async function closenessOf(set: RouteSet, vectors: RouteVectors, slices: Slices): Promise<Closeness> {
  const count = set.routes.length;
  const { matrix: sums, lengths } = await sumsOf(vectors, slices);
  const sizes = set.routes.map(({ utterances }) => utterances.length);
  const within = Float64Array.from(sizes, (size, route) => {
    // The square of the sum counts each utterance with itself, too.
    return size < 2 ? 1 : ((lengths[route] ?? 0) ** 2 - size) / (size * (size - 1));
  });
  const products = new Float32Array(count * count);
  for (let route = 0; route < count; route += 1) {
    sums.load(sums.row(route));
    sums.multiply(0, count);
    products.set(sums.products, route * count);
    if (slices.over) await slices.giveWay();
  }
  return {
    within,
    between(a, b) {
      const inside = Math.sqrt(Math.max(1e-6, within[a] ?? 1) * Math.max(1e-6, within[b] ?? 1));
      const pairs = (sizes[a] ?? 1) * (sizes[b] ?? 1);
      return (products[a * count + b] ?? 0) / pairs / inside;
    },
  };
}
