/** A smooth convex function to minimize. */
export interface Objective {
  readonly size: number;
  /** Its value at `at`; writes its gradient. */
  evaluate(at: Float64Array, gradient: Float64Array): number;
  /** Multiplies in place with an estimate of the inverse Hessian, which must be symmetric and positive definite. */
  precondition(direction: Float64Array): void;
}

/** When to stop. */
export interface LbfgsLimits {
  readonly iterations: number;
  /** Relative decrease of the value in one step below which it is good enough. */
  readonly tolerance: number;
}

const MEMORY = 10;
/** Sufficient decrease (Armijo). */
const DECREASE = 1e-4;
const MAX_HALVINGS = 20;

interface Pair {
  readonly step: Float64Array;
  readonly change: Float64Array;
  /** Of both. */
  product: number;
  /** Of the step in the direction that is being made. */
  share: number;
}

/**
 * Limited-memory BFGS with a preconditioner in place of the usual scaled identity (Nocedal & Wright,
 * Numerical Optimization, algorithms 7.4 and 7.5), and a line search that halves the step. Its memory is
 * used again for every minimum.
 */
export class Lbfgs {
  readonly #objective: Objective;
  readonly #next: Float64Array;
  readonly #direction: Float64Array;
  readonly #conditioned: Float64Array;
  #gradient: Float64Array;
  #nextGradient: Float64Array;
  /** Steps of this minimum, the latest last. */
  #pairs: Pair[] = [];
  /** Room for more of them. */
  #spare: Pair[] = [];

  constructor(objective: Objective) {
    const { size } = objective;
    this.#objective = objective;
    this.#next = new Float64Array(size);
    this.#direction = new Float64Array(size);
    this.#conditioned = new Float64Array(size);
    this.#gradient = new Float64Array(size);
    this.#nextGradient = new Float64Array(size);
  }

  /**
   * @param at where to begin; ends as the minimum
   * @returns the value there
   */
  minimize(at: Float64Array, limits: LbfgsLimits): number {
    this.#spare.push(...this.#pairs.splice(0));
    const next = this.#next;
    const direction = this.#direction;
    let value = this.#objective.evaluate(at, this.#gradient);
    for (let iteration = 0; iteration < limits.iterations; iteration += 1) {
      this.#direct();
      const slope = product(this.#gradient, direction);
      if (!(slope < 0)) return value;
      let length = 1;
      let nextValue = Number.POSITIVE_INFINITY;
      for (let halving = 0; halving < MAX_HALVINGS; halving += 1) {
        for (let i = 0; i < next.length; i += 1) {
          next[i] = (at[i] as number) + length * (direction[i] as number);
        }
        nextValue = this.#objective.evaluate(next, this.#nextGradient);
        if (nextValue <= value + DECREASE * length * slope) break;
        length /= 2;
      }
      if (!(nextValue < value)) return value;
      const decrease = (value - nextValue) / Math.max(1e-12, Math.abs(nextValue));
      if (decrease >= limits.tolerance) this.#remember(at);
      at.set(next);
      [this.#gradient, this.#nextGradient] = [this.#nextGradient, this.#gradient];
      value = nextValue;
      if (decrease < limits.tolerance) break;
    }
    return value;
  }

  /** The two-loop recursion: direction = −H · gradient. */
  #direct(): void {
    const direction = this.#direction;
    const pairs = this.#pairs;
    direction.set(this.#gradient);
    for (let index = pairs.length - 1; index >= 0; index -= 1) {
      const pair = pairs[index] as Pair;
      pair.share = product(pair.step, direction) / pair.product;
      add(direction, -pair.share, pair.change);
    }
    this.#objective.precondition(direction);
    const last = pairs.at(-1);
    if (last) {
      const conditioned = this.#conditioned;
      conditioned.set(last.change);
      this.#objective.precondition(conditioned);
      const scale = last.product / product(conditioned, last.change);
      for (let i = 0; i < direction.length; i += 1) direction[i] = (direction[i] as number) * scale;
    }
    for (const pair of pairs) {
      add(direction, pair.share - product(pair.change, direction) / pair.product, pair.step);
    }
    for (let i = 0; i < direction.length; i += 1) direction[i] = -(direction[i] as number);
  }

  /** The step from `at` to what comes next. */
  #remember(at: Float64Array): void {
    const { size } = this.#objective;
    const fresh = (): Pair => ({
      step: new Float64Array(size),
      change: new Float64Array(size),
      product: 0,
      share: 0,
    });
    const pair = this.#spare.pop() ?? fresh();
    const { step, change } = pair;
    for (let i = 0; i < size; i += 1) {
      step[i] = (this.#next[i] as number) - (at[i] as number);
      change[i] = (this.#nextGradient[i] as number) - (this.#gradient[i] as number);
    }
    pair.product = product(step, change);
    // Float32 sums can lose the curvature of a tiny step; such a pair would turn the direction uphill.
    if (pair.product > 1e-10) this.#pairs.push(pair);
    else this.#spare.push(pair);
    if (this.#pairs.length > MEMORY) this.#spare.push(...this.#pairs.splice(0, 1));
  }
}

function product(a: Float64Array, b: Float64Array): number {
  return dot(a, 0, b, 0, a.length);
}

function add(target: Float64Array, factor: number, other: Float64Array): void {
  for (let i = 0; i < target.length; i += 1) {
    target[i] = (target[i] as number) + factor * (other[i] as number);
  }
}

/** Value, gradient and Hessian of a convex function of a few parameters, summed up by the caller. */
export interface SecondOrder {
  value: number;
  readonly gradient: Float64Array;
  /** size × size, all of it. */
  readonly hessian: Float64Array;
}

/** Prior of a parameter: a normal distribution, cut off below `least`. */
export interface Prior {
  readonly mean: number;
  readonly deviation: number;
  readonly least: number;
}

const ITERATIONS = 30;
const CLOSE = 1e-9;

/**
 * Maximum a posteriori estimate of a few parameters by Newton's method, steps being halved until they help
 * and cut off at each prior's `least`.
 * @param accumulate adds value, gradient and Hessian of the data's loss at `at`
 */
export function estimate(
  priors: readonly Prior[],
  accumulate: (at: Float64Array, into: SecondOrder) => void,
): Float64Array {
  const size = priors.length;
  const evaluate = (at: Float64Array): SecondOrder => {
    const into = { value: 0, gradient: new Float64Array(size), hessian: new Float64Array(size * size) };
    accumulate(at, into);
    for (const [i, { mean, deviation }] of priors.entries()) {
      const distance = ((at[i] ?? 0) - mean) / deviation;
      into.value += 0.5 * distance * distance;
      into.gradient[i] = (into.gradient[i] ?? 0) + distance / deviation;
      into.hessian[i * size + i] = (into.hessian[i * size + i] ?? 0) + 1 / (deviation * deviation);
    }
    return into;
  };
  let at = Float64Array.from(priors, ({ mean }) => mean);
  let here = evaluate(at);
  for (let iteration = 0; iteration < ITERATIONS; iteration += 1) {
    const step = solve(here.hessian.slice(), here.gradient.slice(), size);
    let moved = false;
    for (let halving = 0; halving < MAX_HALVINGS; halving += 1) {
      const length = 2 ** -halving;
      const next = at.map((value, i) => Math.max(priors[i]?.least ?? value, value - length * (step[i] ?? 0)));
      const there = evaluate(next);
      if (!(there.value < here.value)) continue;
      moved = here.value - there.value > CLOSE * Math.abs(here.value);
      at = next;
      here = there;
      break;
    }
    if (!moved) break;
  }
  return at;
}

/** Solves a small positive definite system by elimination; both arguments are overwritten. */
function solve(matrix: Float64Array, right: Float64Array, size: number): Float64Array {
  for (let pivot = 0; pivot < size; pivot += 1) {
    for (let row = pivot + 1; row < size; row += 1) {
      const factor = (matrix[row * size + pivot] ?? 0) / (matrix[pivot * size + pivot] ?? 1);
      for (let column = pivot; column < size; column += 1) {
        const at = row * size + column;
        matrix[at] = (matrix[at] ?? 0) - factor * (matrix[pivot * size + column] ?? 0);
      }
      right[row] = (right[row] ?? 0) - factor * (right[pivot] ?? 0);
    }
  }
  for (let row = size - 1; row >= 0; row -= 1) {
    for (let column = row + 1; column < size; column += 1) {
      right[row] = (right[row] ?? 0) - (matrix[row * size + column] ?? 0) * (right[column] ?? 0);
    }
    right[row] = (right[row] ?? 0) / (matrix[row * size + row] ?? 1);
  }
  return right;
}

/**
 * Dot product of `count` numbers of `a` from `fromA` on and of `b` from `fromB` on.
 * Four sums run side by side; with one, every step would wait for the last.
 */
export function dot(a: Float64Array, fromA: number, b: Float64Array, fromB: number, count: number): number {
  let one = 0;
  let two = 0;
  let three = 0;
  let four = 0;
  let i = 0;
  for (; i + 3 < count; i += 4) {
    one += (a[fromA + i] as number) * (b[fromB + i] as number);
    two += (a[fromA + i + 1] as number) * (b[fromB + i + 1] as number);
    three += (a[fromA + i + 2] as number) * (b[fromB + i + 2] as number);
    four += (a[fromA + i + 3] as number) * (b[fromB + i + 3] as number);
  }
  for (; i < count; i += 1) one += (a[fromA + i] as number) * (b[fromB + i] as number);
  return one + two + (three + four);
}
