import type { CanarySpec, EmbeddingSpec, PinnedFile } from '../cache/manifest.js';

/**
 * A model in memory: what its manifest says of it, and the bytes that were verified. The bytes must not
 * change while a pool serves the model, which keeps them to start replacement workers without the disk.
 */
export interface ModelBytes {
  /** The manifest's digest, by which a pool knows the model that it has begun with ({@link ModelPlaces}). */
  readonly digest?: string;
  readonly spec: EmbeddingSpec;
  readonly canary: CanarySpec;
  /** The ONNX graph with its weights. */
  readonly model: Uint8Array;
  /** `tokenizer.json`. */
  readonly tokenizer: Uint8Array;
  /** `tokenizer_config.json`. */
  readonly tokenizerConfig: Uint8Array;
}

/** Where a model's bytes may lie. Whoever reads them there compares what it has read with the pin. */
export interface ModelPlaces {
  /** The manifest's digest. */
  readonly digest: string;
  readonly spec: EmbeddingSpec;
  readonly canary: CanarySpec;
  /** The ONNX graph, `tokenizer.json` and `tokenizer_config.json`. */
  readonly files: readonly PlacedFile[];
}

/** A pinned file and the paths where it may lie, the likeliest first. */
export interface PlacedFile extends Pick<PinnedFile, 'size' | 'sha256'> {
  readonly paths: readonly string[];
}
