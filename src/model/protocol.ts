import type { CanarySpec, EmbeddingSpec } from '../cache/manifest.js';
import type { ErrorCode } from '../errors.js';
import type { PlacedFile } from './model-bytes.js';

/**
 * What the daemon and an inference worker say to each other, over Node's IPC channel with `advanced`
 * serialization. A worker serves one model in its life: it says `warm`, gets `begin` or `load`, says `loaded` or
 * `refused`, and then answers every `embed`, in order, one at a time. To `begin` it may say `unread`; then it waits
 * for `load`.
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
  | { readonly kind: 'embed'; readonly id: number; readonly text: string };

/** See {@link ToWorker}. */
export type FromWorker =
  /** The libraries are loaded. */
  | { readonly kind: 'warm' }
  /** The pinned bytes are not, or not yet, where `begin` said. */
  | { readonly kind: 'unread'; readonly message: string }
  /** The model is loaded and passed its canary. */
  | { readonly kind: 'loaded'; readonly times: LoadTimes }
  /** The model is at fault; another worker would say the same. */
  | { readonly kind: 'refused'; readonly code: ErrorCode; readonly message: string }
  | ({ readonly kind: 'embedded'; readonly id: number } & WorkerEmbedding)
  /** The runtime threw on this text. The worker goes on. */
  | { readonly kind: 'failed'; readonly id: number; readonly message: string };

/** Where the time of loading went, in milliseconds. */
export interface LoadTimes {
  /** Bytes from the daemon, session and tokenizer. */
  readonly modelMs: number;
  /** The known texts that prove it. */
  readonly canaryMs: number;
}

/** What a worker knows of one embedding; times in milliseconds. */
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
