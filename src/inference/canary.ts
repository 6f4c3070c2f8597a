import type { CanarySpec, EmbeddingSpec } from '../cache/manifest.js';
import { AppError } from '../shared/errors.js';

/**
 * Makes a freshly loaded model answer texts whose embeddings are known. A wrong file that happens to load, a
 * runtime that computes something else, a wrong pooling: all of them are refused here, before they serve.
 * @param embed the whole path from text to vector, as requests will take it
 * @throws AppError `canary_mismatch`, saying which text, the cosine, and what was expected; whatever `embed` throws
 */
export async function checkCanary(
  canary: CanarySpec,
  spec: Pick<EmbeddingSpec, 'dimension'>,
  embed: (text: string) => Promise<Float32Array>,
): Promise<void> {
  for (const { text, embedding } of canary.cases) {
    const vector = await embed(text);
    const complain = (what: string) => {
      throw new AppError('canary_mismatch', `the model's answer to ${JSON.stringify(text)} ${what}`);
    };
    if (vector.length !== spec.dimension) {
      complain(`has ${vector.length} values, expected ${spec.dimension}`);
    }
    if (!vector.every(Number.isFinite)) complain('holds values that are not finite numbers');
    const similarity = cosine(vector, decodeVector(embedding));
    // Written so that NaN, the cosine with a zero vector, fails too.
    if (!(similarity >= canary.min_cosine)) {
      complain(
        `has cosine ${similarity.toFixed(5)} to the known one, expected at least ${canary.min_cosine}`,
      );
    }
  }
}

/** A vector from its little-endian float32 values in base64. */
function decodeVector(base64: string): Float32Array {
  const bytes = Buffer.from(base64, 'base64');
  return Float32Array.from({ length: bytes.length / 4 }, (_, index) => bytes.readFloatLE(index * 4));
}

function cosine(a: Float32Array, b: Float32Array): number {
  let dot = 0;
  let squaresA = 0;
  let squaresB = 0;
  for (const [index, x] of a.entries()) {
    const y = b[index] ?? Number.NaN;
    dot += x * y;
    squaresA += x * x;
    squaresB += y * y;
  }
  return dot / Math.sqrt(squaresA * squaresB);
}
