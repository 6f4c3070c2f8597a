import { invertPositiveDefinite } from './cholesky.js';
import { minimize, type Objective } from './lbfgs.js';
import { BLOCK_ROWS, type TrainingRows } from './training-rows.js';

/** How one regression is trained. */
export interface RegressionOptions {
  /** 1 / regularization. */
  readonly cost: number;
  /** Weight of each row; 0 leaves it out. */
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
  #penalty = 1;
  #rowWeights: Float32Array = new Float32Array(0);

  /** @param labels route of each row */
  constructor(rows: TrainingRows, labels: Uint32Array, typicalCost: number) {
    this.#rows = rows;
    this.#labels = labels;
    this.size = rows.routes * rows.width;
    this.#probabilities = new Float64Array(rows.routes);
    this.#prepareConditioner(1 / typicalCost);
  }

  /**
   * Trains from where `parameters` (routes × width, the bias last in each row) is to the minimum, and leaves
   * the result in there and in the rows' `weights`.
   */
  train(parameters: Float64Array, { cost, rowWeights }: RegressionOptions): void {
    this.#penalty = 1 / cost;
    this.#rowWeights = rowWeights;
    minimize(this, parameters, LIMITS);
    this.#load(parameters);
  }

  evaluate(at: Float64Array, gradient: Float64Array): number {
    const { width, routes, trained, blocks, sums, residuals } = this.#rows;
    this.#load(at);
    let loss = 0;
    for (let route = 0; route < routes; route += 1) {
      for (let i = 0; i < width; i += 1) {
        const index = route * width + i;
        const penalty = i === width - 1 ? BIAS_PENALTY : this.#penalty;
        const value = at[index] as number;
        loss += 0.5 * penalty * value * value;
        gradient[index] = penalty * value;
      }
    }
    for (let block = 0; block < blocks; block += 1) {
      const first = block * BLOCK_ROWS;
      const count = Math.min(BLOCK_ROWS, trained - first);
      // Padding rows are zeros, but a residual left over from another block might not be finite for ever.
      if (count < BLOCK_ROWS) residuals.fill(0);
      for (let row = 0; row < count; row += 1) loss += this.#residualsOf(first + row, row);
      for (let route = 0; route < routes; route += 1) {
        this.#rows.gather(block, route);
        const start = route * width;
        for (let i = 0; i < width; i += 1) {
          gradient[start + i] = (gradient[start + i] as number) + (sums[i] as number);
        }
      }
    }
    return loss;
  }

  precondition(direction: Float64Array): void {
    const { width, routes, sums } = this.#rows;
    for (let route = 0; route < routes; route += 1) {
      const start = route * width;
      const part = direction.subarray(start, start + width);
      // The kernel takes float32: tiny gradients must not end as zeros.
      let largest = 0;
      for (let i = 0; i < width; i += 1) largest = Math.max(largest, Math.abs(part[i] as number));
      if (largest === 0) continue;
      for (let i = 0; i < width; i += 1) part[i] = (part[i] as number) / largest;
      this.#rows.condition(part);
      for (let i = 0; i < width; i += 1) part[i] = largest * (sums[i] as number);
    }
  }

  /** Loss of a row; its residuals go to column `column` of the block. */
  #residualsOf(row: number, column: number): number {
    const { routes, logits, residuals } = this.#rows;
    const weight = this.#rowWeights[row] as number;
    if (weight === 0) {
      for (let route = 0; route < routes; route += 1) residuals[route * BLOCK_ROWS + column] = 0;
      return 0;
    }
    this.#rows.predict(row);
    const probabilities = this.#probabilities;
    let highest = Number.NEGATIVE_INFINITY;
    for (let route = 0; route < routes; route += 1) highest = Math.max(highest, logits[route] as number);
    let total = 0;
    for (let route = 0; route < routes; route += 1) {
      const value = Math.exp((logits[route] as number) - highest);
      probabilities[route] = value;
      total += value;
    }
    const own = this.#labels[row] as number;
    for (let route = 0; route < routes; route += 1) {
      const value = (probabilities[route] as number) / total - (route === own ? 1 : 0);
      residuals[route * BLOCK_ROWS + column] = weight * value;
    }
    return weight * (Math.log(total) + highest - (logits[own] as number));
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
