import type { CanarySpec, EmbeddingSpec } from '../cache/manifest.js';

/**
 * A model in memory: what its manifest says of it, and the bytes that were verified. The bytes must not
 * change while a pool serves the model, which keeps them to start replacement workers without the disk.
 */
export interface ModelBytes {
  readonly spec: EmbeddingSpec;
  readonly canary: CanarySpec;
  /** The ONNX graph with its weights. */
  readonly model: Uint8Array;
  /** `tokenizer.json`. */
  readonly tokenizer: Uint8Array;
  /** `tokenizer_config.json`. */
  readonly tokenizerConfig: Uint8Array;
}
