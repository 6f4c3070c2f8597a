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
