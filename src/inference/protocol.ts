import type { CanarySpec, EmbeddingSpec } from '../cache/manifest.js';
import type { ErrorCode } from '../shared/errors.js';
import type { PlacedFile } from './model-bytes.js';

/**
 * What the daemon and an inference worker say to each other, over Node's IPC channel with `advanced`
 * serialization. A worker serves one model in its life: it says `warm`, gets `begin` or `load`, says `loaded` or
 * `refused`, and then answers every `embed`, in order. To `begin` it may say `unread`; then it waits for `load`.
 * Texts come and go in groups, since every message wakes a process that may have to take the core from a forward
 * pass.
 */
export type ToWorker =
  /** Read the files of the model yourself, from the first place where the pinned bytes lie. */
  | {
      readonly kind: 'begin';
      readonly spec: EmbeddingSpec;
      readonly canary: CanarySpec;
      readonly files: readonly PlacedFile[];
    }
  | {
      readonly kind: 'load';
      readonly spec: EmbeddingSpec;
      readonly canary: CanarySpec;
      /**
       * Sizes in bytes of the model, `tokenizer.json` and `tokenizer_config.json`, which follow one after the
       * other on the pipe {@link BYTES_FD}.
       */
      readonly sizes: readonly [model: number, tokenizer: number, tokenizerConfig: number];
    }
  | { readonly kind: 'embed'; readonly id: number; readonly texts: readonly string[] };

/** See {@link ToWorker}. */
export type FromWorker =
  /** The libraries are loaded. */
  | { readonly kind: 'warm' }
  /** The pinned bytes are not, or not yet, where `begin` said. */
  | { readonly kind: 'unread'; readonly message: string }
  /** The model is loaded and passed its canary; `batches`: texts of like length share forward passes. */
  | { readonly kind: 'loaded'; readonly times: LoadTimes; readonly batches: boolean }
  /** The model is at fault; another worker would say the same. */
  | { readonly kind: 'refused'; readonly code: ErrorCode; readonly message: string }
  /** One result for each text of the group, in order. */
  | { readonly kind: 'embedded'; readonly id: number; readonly results: readonly WorkerResult[] };

/** What came of one text. */
export type WorkerResult =
  | WorkerEmbedding
  /** The runtime threw on this text. The worker goes on. */
  | { readonly failure: string };

/** Where the time of loading went, in milliseconds. */
export interface LoadTimes {
  /** Bytes from the daemon, session and tokenizer. */
  readonly modelMs: number;
  /** The known texts that prove it. */
  readonly canaryMs: number;
}

/** What a worker knows of one embedding; times in milliseconds, that of inference its share of a batch. */
export interface WorkerEmbedding {
  readonly vector: Float32Array;
  readonly tokens: number;
  readonly truncatedTokens: number;
  readonly tokenizeMs: number;
  readonly inferenceMs: number;
}

/**
 * The worker's file descriptor for the model's bytes. A plain pipe moves 24 MB in a third of the time that IPC
 * messages take, and without a serialized copy in the daemon's heap.
 */
export const BYTES_FD = 4;
