import { Lbfgs, type Objective } from './minimize.js';
import type { Block, TrainingRows } from './training-rows.js';

/** How one regression is trained. */
export interface RegressionOptions {
  /** 1 / regularization. */
  readonly cost: number;
  /** Weight of each row; 0 leaves it out, and costs no time. */
  readonly rowWeights: Float32Array;
}

const LIMITS = { iterations: 60, tolerance: 3e-3 } as const;
/** Penalty of the bias: next to none, only so that the minimum is unique. */
const BIAS_PENALTY = 1e-3;
/**
 * The Hessian is bounded by ½ (I − 11ᵀ/K) ⊗ XᵀX (Böhning, 1992); near the minimum most rows are certain, and
 * this many K-ths of XᵀX are nearer to the truth. Measured: a third of the iterations that plain L-BFGS takes.
 */
const CURVATURE = 3;

/**
 * Multinomial logistic regression with an L2 penalty, over rows of `TrainingRows`. Products are summed in
 * float32 and gradients in float64, always in the same order: equal input gives equal bytes.
 */
export class SoftmaxRegression implements Objective {
  readonly size: number;
  readonly #rows: TrainingRows;
  readonly #labels: Uint32Array;
  readonly #probabilities: Float64Array;
  readonly #minimizer: Lbfgs;
  #selected: Uint32Array = new Uint32Array(0);
  #penalty = 1;
  #rowWeights: Float32Array = new Float32Array(0);

  /**
   * @param labels route of each row
   * @param rowWeights those of a training on everything
   */
  constructor(rows: TrainingRows, labels: Uint32Array, typicalCost: number, rowWeights: Float32Array) {
    this.#rows = rows;
    this.#labels = labels;
    this.size = rows.routes * rows.width;
    this.#probabilities = new Float64Array(rows.routes);
    this.#minimizer = new Lbfgs(this);
    this.#select(rowWeights);
    this.#prepareConditioner(1 / typicalCost);
  }

  /**
   * Trains from where `parameters` (routes × width, the bias last in each row) is to the minimum, and leaves
   * the result in there and in the rows' `weights`.
   */
  train(parameters: Float64Array, { cost, rowWeights }: RegressionOptions): void {
    this.#penalty = 1 / cost;
    this.#rowWeights = rowWeights;
    this.#select(rowWeights);
    this.#minimizer.minimize(parameters, LIMITS);
    this.#load(parameters);
  }

  evaluate(at: Float64Array, gradient: Float64Array): number {
    const { width, routes, blocks, sums, sumStride } = this.#rows;
    this.#load(at);
    let loss = 0;
    for (let route = 0; route < routes; route += 1) {
      const bias = route * width + width - 1;
      for (let index = route * width; index < bias; index += 1) {
        const value = at[index] as number;
        loss += value * value;
        gradient[index] = this.#penalty * value;
      }
    }
    loss *= 0.5 * this.#penalty;
    for (let index = width - 1; index < this.size; index += width) {
      const value = at[index] as number;
      loss += 0.5 * BIAS_PENALTY * value * value;
      gradient[index] = BIAS_PENALTY * value;
    }
    for (const block of blocks) {
      this.#rows.predict(block);
      for (let row = 0; row < block.count; row += 1) loss += this.#residualsOf(block, row);
      this.#clearPadding(block);
      this.#rows.gather(block);
      for (let route = 0; route < routes; route += 1) {
        const start = route * width;
        const from = route * sumStride;
        for (let i = 0; i < width; i += 1) {
          gradient[start + i] = (gradient[start + i] as number) + (sums[from + i] as number);
        }
      }
    }
    return loss;
  }

  precondition(direction: Float64Array): void {
    const { width, stride, routes, sums, sumStride, directions } = this.#rows;
    // The kernel takes float32: tiny gradients must not end as zeros.
    let largest = 0;
    for (let i = 0; i < direction.length; i += 1)
      largest = Math.max(largest, Math.abs(direction[i] as number));
    if (largest === 0) return;
    for (let route = 0; route < routes; route += 1) {
      for (let i = 0; i < width; i += 1) {
        directions[route * stride + i] = (direction[route * width + i] as number) / largest;
      }
    }
    this.#rows.condition();
    for (let route = 0; route < routes; route += 1) {
      for (let i = 0; i < width; i += 1) {
        direction[route * width + i] = largest * (sums[route * sumStride + i] as number);
      }
    }
  }

  /** Loss of a row; its residuals go to its column of the block. */
  #residualsOf({ first, residualStride }: Block, column: number): number {
    const { routes, logits, logitStride, residuals } = this.#rows;
    const row = this.#selected[first + column] as number;
    const weight = this.#rowWeights[row] as number;
    const probabilities = this.#probabilities;
    const start = column * logitStride;
    let highest = Number.NEGATIVE_INFINITY;
    for (let route = 0; route < routes; route += 1) {
      highest = Math.max(highest, logits[start + route] as number);
    }
    let total = 0;
    for (let route = 0; route < routes; route += 1) {
      const value = Math.exp((logits[start + route] as number) - highest);
      probabilities[route] = value;
      total += value;
    }
    const scale = weight / total;
    for (let route = 0; route < routes; route += 1) {
      residuals[route * residualStride + column] = scale * (probabilities[route] as number);
    }
    const own = this.#labels[row] as number;
    residuals[own * residualStride + column] = scale * (probabilities[own] as number) - weight;
    return weight * (Math.log(total) + highest - (logits[start + own] as number));
  }

  /** Padding rows are zeros, but a residual left over from another block might not be finite for ever. */
  #clearPadding({ count, residualStride }: Block): void {
    const { routes, residuals } = this.#rows;
    if (count === residualStride) return;
    for (let route = 0; route < routes; route += 1) {
      residuals.fill(0, route * residualStride + count, (route + 1) * residualStride);
    }
  }

  #select(rowWeights: Float32Array): void {
    this.#selected = new Uint32Array(rowWeights.keys()).filter((row) => rowWeights[row] !== 0);
    this.#rows.select(this.#selected);
  }

  #load(parameters: Float64Array): void {
    const { width, stride, routes, weights } = this.#rows;
    for (let route = 0; route < routes; route += 1) {
      weights.set(parameters.subarray(route * width, (route + 1) * width), route * stride);
    }
  }

  /** (c/K · XᵀX + λI)⁻¹. It only guides the search, so one serves all costs and all folds. */
  #prepareConditioner(penalty: number): void {
    const { width, stride, routes, conditioner } = this.#rows;
    const moments = this.#rows.secondMoments();
    for (let i = 0; i < moments.length; i += 1) moments[i] = (moments[i] as number) * (CURVATURE / routes);
    for (let i = 0; i < width; i += 1) {
      const at = i * width + i;
      moments[at] = (moments[at] as number) + (i === width - 1 ? BIAS_PENALTY : penalty);
    }
    const inverse = invertPositiveDefinite(moments, width);
    for (let i = 0; i < width; i += 1) {
      conditioner.set(inverse.subarray(i * width, (i + 1) * width), i * stride);
    }
  }
}

/** Rows that are multiplied at once. */
const FOUR = 4;

/**
 * Inverse of a symmetric positive definite matrix by Cholesky's decomposition, in float64.
 * @param matrix size × size, row after row
 * @returns size × size
 */
export function invertPositiveDefinite(matrix: Float64Array, size: number): Float64Array {
  // Rows beyond the last let four be multiplied at once everywhere.
  const stride = size + FOUR;
  const lower = new Float64Array(stride * stride);
  const inverse = new Float64Array(stride * stride);
  const sums = new Float64Array(FOUR);
  for (let j = 0; j < size; j += 1) {
    const at = j * stride;
    for (let i = j; i < size; i += FOUR) {
      dots(lower, at, lower, i * stride, stride, j, sums);
      for (let k = i; k < Math.min(size, i + FOUR); k += 1) {
        const rest = (matrix[k * size + j] as number) - (sums[k - i] as number);
        lower[k * stride + j] = k === j ? Math.sqrt(rest) : rest / (lower[at + j] as number);
      }
    }
  }
  // Row c of `inverse` first becomes column c of L⁻¹, whose entries before c are 0, …
  for (let c = 0; c < size; c += FOUR) {
    for (let i = c; i < size; i += 1) {
      dots(lower, i * stride + c, inverse, c * stride + c, stride, i - c, sums);
      for (let k = c; k < Math.min(i + 1, c + FOUR); k += 1) {
        const rest = (k === i ? 1 : 0) - (sums[k - c] as number);
        inverse[k * stride + i] = rest / (lower[i * stride + i] as number);
      }
    }
  }
  // … and then (L⁻¹)ᵀ L⁻¹ gives the inverse: entry (a, b) with a ≥ b sums over i ≥ a.
  const result = new Float64Array(size * size);
  for (let a = 0; a < size; a += 1) {
    for (let b = 0; b <= a; b += FOUR) {
      dots(inverse, a * stride + a, inverse, b * stride + a, stride, size - a, sums);
      for (let k = b; k < Math.min(a + 1, b + FOUR); k += 1) {
        const value = sums[k - b] as number;
        result[a * size + k] = value;
        result[k * size + a] = value;
      }
    }
  }
  return result;
}

/** Dot products of `count` numbers of `a` with those of four rows of `b`, which are `stride` apart. */
function dots(
  a: Float64Array,
  fromA: number,
  b: Float64Array,
  fromB: number,
  stride: number,
  count: number,
  out: Float64Array,
): void {
  let one = 0;
  let two = 0;
  let three = 0;
  let four = 0;
  const second = fromB + stride;
  const third = second + stride;
  const fourth = third + stride;
  for (let i = 0; i < count; i += 1) {
    const shared = a[fromA + i] as number;
    one += shared * (b[fromB + i] as number);
    two += shared * (b[second + i] as number);
    three += shared * (b[third + i] as number);
    four += shared * (b[fourth + i] as number);
  }
  out[0] = one;
  out[1] = two;
  out[2] = three;
  out[3] = four;
}
