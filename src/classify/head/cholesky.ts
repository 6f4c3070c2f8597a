/**
 * Inverse of a symmetric positive definite matrix by Cholesky's decomposition, in float64.
 * @param matrix size × size, row after row; overwritten
 * @returns size × size
 */
export function invertPositiveDefinite(matrix: Float64Array, size: number): Float64Array {
  const lower = matrix;
  for (let j = 0; j < size; j += 1) {
    for (let i = j; i < size; i += 1) {
      let sum = lower[i * size + j] as number;
      for (let k = 0; k < j; k += 1) {
        sum -= (lower[i * size + k] as number) * (lower[j * size + k] as number);
      }
      lower[i * size + j] = i === j ? Math.sqrt(sum) : sum / (lower[j * size + j] as number);
    }
  }
  // Row c of `inverse` first becomes column c of L⁻¹, whose entries before c are 0, …
  const inverse = new Float64Array(size * size);
  for (let c = 0; c < size; c += 1) {
    const at = c * size;
    inverse[at + c] = 1 / (lower[at + c] as number);
    for (let i = c + 1; i < size; i += 1) {
      let sum = 0;
      for (let k = c; k < i; k += 1) sum -= (lower[i * size + k] as number) * (inverse[at + k] as number);
      inverse[at + i] = sum / (lower[i * size + i] as number);
    }
  }
  // … and then (L⁻¹)ᵀ L⁻¹ gives the inverse: entry (a, b) with a ≥ b sums over i ≥ a.
  for (let b = 0; b < size; b += 1) {
    for (let a = b; a < size; a += 1) {
      let sum = 0;
      for (let i = a; i < size; i += 1) {
        sum += (inverse[a * size + i] as number) * (inverse[b * size + i] as number);
      }
      lower[a * size + b] = sum;
    }
  }
  for (let a = 0; a < size; a += 1) {
    for (let b = 0; b <= a; b += 1) {
      const value = lower[a * size + b] as number;
      inverse[a * size + b] = value;
      inverse[b * size + a] = value;
    }
  }
  return inverse;
}
