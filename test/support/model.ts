import { existsSync, readFileSync } from 'node:fs';
import type { CanarySpec, EmbeddingSpec } from '../../src/cache/manifest.js';
import type { ModelBytes } from '../../src/inference/protocol.js';

/** One text with what the reference makes of it. */
export interface GoldenCase {
  text: string;
  untruncated_tokens: number;
  input_ids: number[];
  fp32: number[];
  q8: number[];
}

const root = new URL('../..', import.meta.url);

/** The bytes of a file of the bundled model. */
export function modelFile(path: string): Buffer {
  return readFileSync(new URL(`model/${path}`, root));
}

const manifest: { embedding: EmbeddingSpec; canary: CanarySpec; recipe: { path: string } } = JSON.parse(
  modelFile('manifest.json').toString(),
);

/** The bundled q8 model, complete, as the pool takes it. */
export const bundledModel: ModelBytes = {
  spec: manifest.embedding,
  canary: manifest.canary,
  recipe: modelFile(manifest.recipe.path).toString(),
  model: modelFile(manifest.embedding.model),
  tokenizer: modelFile(manifest.embedding.tokenizer),
  tokenizerConfig: modelFile(manifest.embedding.tokenizer_config),
};

const golden: { cases: GoldenCase[] } = JSON.parse(
  readFileSync(new URL('test/golden/embeddings.json', root), 'utf8'),
);

/** Reference ids and vectors of 24 texts. */
export const goldenCases = golden.cases;

/** The compiled worker; `npm test` builds it. */
export const workerEntry = new URL('dist/inference-worker.js', root);
if (!existsSync(workerEntry)) throw new Error('dist/ is missing: run `npm run build` first');

/** The compiled process that trains heads. */
export const headWorker = new URL('dist/head-worker.js', root);

/** The fp32 weights, which are too large to bundle; `undefined` when this machine has none. */
export function fp32Model(): Buffer | undefined {
  const candidates = [
    process.env.AI_ROUTER_FP32_MODEL,
    new URL('../shared/model-fp32/onnx/model.onnx', root),
  ];
  const found = candidates.find((path) => path !== undefined && existsSync(path));
  return found === undefined ? undefined : readFileSync(found);
}

/** Cosine of two vectors. */
export function cosine(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let dot = 0;
  let squaresA = 0;
  let squaresB = 0;
  for (let index = 0; index < a.length; index += 1) {
    const x = a[index] ?? Number.NaN;
    const y = b[index] ?? Number.NaN;
    dot += x * y;
    squaresA += x * x;
    squaresB += y * y;
  }
  return dot / Math.sqrt(squaresA * squaresB);
}
