/** Value, gradient and Hessian of a convex function of a few parameters, summed up by the caller. */
export interface SecondOrder {
  value: number;
  readonly gradient: Float64Array;
  /** size × size, all of it. */
  readonly hessian: Float64Array;
}

/** What is believed of a parameter before anything is seen: a normal distribution, cut off below `least`. */
export interface Prior {
  readonly mean: number;
  readonly deviation: number;
  readonly least: number;
}

const ITERATIONS = 30;
const MAX_HALVINGS = 20;
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
