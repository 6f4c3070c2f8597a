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
  readonly product: number;
}

/**
 * Limited-memory BFGS with a preconditioner in place of the usual scaled identity (Nocedal & Wright,
 * Numerical Optimization, algorithms 7.4 and 7.5), and a line search that halves the step.
 * @param at where to begin; ends as the minimum
 * @returns the value there
 */
export function minimize(objective: Objective, at: Float64Array, limits: LbfgsLimits): number {
  const { size } = objective;
  let gradient = new Float64Array(size);
  let nextGradient = new Float64Array(size);
  const next = new Float64Array(size);
  const direction = new Float64Array(size);
  const pairs: Pair[] = [];
  let value = objective.evaluate(at, gradient);
  for (let iteration = 0; iteration < limits.iterations; iteration += 1) {
    direct(objective, gradient, pairs, direction);
    const slope = dot(gradient, direction);
    if (!(slope < 0)) return value;
    let length = 1;
    let nextValue = Number.POSITIVE_INFINITY;
    for (let halving = 0; halving < MAX_HALVINGS; halving += 1) {
      for (let i = 0; i < size; i += 1) next[i] = (at[i] as number) + length * (direction[i] as number);
      nextValue = objective.evaluate(next, nextGradient);
      if (nextValue <= value + DECREASE * length * slope) break;
      length /= 2;
    }
    if (!(nextValue < value)) return value;
    remember(pairs, at, next, gradient, nextGradient);
    at.set(next);
    [gradient, nextGradient] = [nextGradient, gradient];
    const decrease = (value - nextValue) / Math.max(1e-12, Math.abs(nextValue));
    value = nextValue;
    if (decrease < limits.tolerance) break;
  }
  return value;
}

/** The two-loop recursion: direction = −H · gradient. */
function direct(
  objective: Objective,
  gradient: Float64Array,
  pairs: readonly Pair[],
  direction: Float64Array,
): void {
  direction.set(gradient);
  const shares = new Float64Array(pairs.length);
  for (let index = pairs.length - 1; index >= 0; index -= 1) {
    const { step, change, product } = pairs[index] as Pair;
    const share = dot(step, direction) / product;
    shares[index] = share;
    add(direction, -share, change);
  }
  objective.precondition(direction);
  const last = pairs.at(-1);
  if (last) {
    const conditioned = last.change.slice();
    objective.precondition(conditioned);
    const scale = last.product / dot(conditioned, last.change);
    for (let i = 0; i < direction.length; i += 1) direction[i] = (direction[i] as number) * scale;
  }
  for (const [index, { step, change, product }] of pairs.entries()) {
    add(direction, (shares[index] as number) - dot(change, direction) / product, step);
  }
  for (let i = 0; i < direction.length; i += 1) direction[i] = -(direction[i] as number);
}

function remember(
  pairs: Pair[],
  from: Float64Array,
  to: Float64Array,
  before: Float64Array,
  after: Float64Array,
): void {
  const step = to.slice();
  add(step, -1, from);
  const change = after.slice();
  add(change, -1, before);
  const product = dot(step, change);
  // Float32 sums can lose the curvature of a tiny step; such a pair would turn the direction uphill.
  if (!(product > 1e-10)) return;
  pairs.push({ step, change, product });
  if (pairs.length > MEMORY) pairs.shift();
}

function dot(a: Float64Array, b: Float64Array): number {
  let sum = 0;
  for (let i = 0; i < a.length; i += 1) sum += (a[i] as number) * (b[i] as number);
  return sum;
}

function add(target: Float64Array, factor: number, other: Float64Array): void {
  for (let i = 0; i < target.length; i += 1) {
    target[i] = (target[i] as number) + factor * (other[i] as number);
  }
}
