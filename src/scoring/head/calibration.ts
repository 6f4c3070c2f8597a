import { estimate, type Prior } from './newton.js';

/**
 * A score out of two kinds of evidence: logistic(head · e + similarity · cosine + bias). Increasing in both.
 * This is Platt scaling with two inputs.
 */
export interface Calibration {
  readonly head: number;
  /** Per unit of cosine. */
  readonly similarity: number;
  readonly bias: number;
}

/** Examples of evidence, each right or wrong. */
export interface Evidence {
  readonly head: number[];
  readonly similarity: number[];
  /** 1 right, 0 wrong. */
  readonly right: number[];
  readonly weight: number[];
}

/** No examples yet. */
export function createEvidence(): Evidence {
  return { head: [], similarity: [], right: [], weight: [] };
}

/** Adds an example. */
export function addEvidence(
  to: Evidence,
  head: number,
  similarity: number,
  right: boolean,
  weight: number,
): void {
  to.head.push(head);
  to.similarity.push(similarity);
  to.right.push(right ? 1 : 0);
  to.weight.push(weight);
}

/** What is believed of a calibration where a set is too small to tell. */
export type CalibrationPrior = readonly [head: Prior, similarity: Prior, bias: Prior];

/** Fits a calibration by its likelihood under a prior. */
export function calibrate(evidence: Evidence, prior: CalibrationPrior): Calibration {
  const [head = 0, similarity = 0, bias = 0] = estimate(prior, ([a = 0, b = 0, c = 0], into) => {
    const { gradient, hessian } = into;
    for (let i = 0; i < evidence.head.length; i += 1) {
      const x = evidence.head[i] as number;
      const y = evidence.similarity[i] as number;
      const weight = evidence.weight[i] as number;
      const margin = a * x + b * y + c;
      const right = evidence.right[i] as number;
      into.value += weight * (softplus(margin) - right * margin);
      const probability = logistic(margin);
      const slope = weight * (probability - right);
      const curve = weight * probability * (1 - probability);
      gradient[0] = (gradient[0] ?? 0) + slope * x;
      gradient[1] = (gradient[1] ?? 0) + slope * y;
      gradient[2] = (gradient[2] ?? 0) + slope;
      hessian[0] = (hessian[0] ?? 0) + curve * x * x;
      hessian[1] = (hessian[1] ?? 0) + curve * x * y;
      hessian[2] = (hessian[2] ?? 0) + curve * x;
      hessian[4] = (hessian[4] ?? 0) + curve * y * y;
      hessian[5] = (hessian[5] ?? 0) + curve * y;
      hessian[8] = (hessian[8] ?? 0) + curve;
    }
    hessian[3] = hessian[1] ?? 0;
    hessian[6] = hessian[2] ?? 0;
    hessian[7] = hessian[5] ?? 0;
  });
  return { head, similarity, bias };
}

/** The score of evidence. */
export function scoreOf({ head, similarity, bias }: Calibration, evidence: number, cosine: number): number {
  return logistic(head * evidence + similarity * cosine + bias);
}

/** 1 / (1 + e⁻ˣ). */
export function logistic(x: number): number {
  return 1 / (1 + Math.exp(-x));
}

/** log(1 + eˣ), without overflow. */
function softplus(x: number): number {
  return Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x)));
}
