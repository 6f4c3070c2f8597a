import type { Readable, Writable } from 'node:stream';
import type { CanarySpec, EmbeddingSpec } from '../cache/manifest.js';
import type { ErrorCode } from '../shared/errors.js';
import type { Legibility } from './embedder.js';

/** A model in memory: the facts of its manifest, and its verified bytes, which must not change while a pool has them. */
export interface ModelBytes {
  readonly spec: EmbeddingSpec;
  readonly canary: CanarySpec;
  /** Content of the recipe that derives the graph to serve from `model`, where the manifest names one. */
  readonly recipe?: string | undefined;
  /** The ONNX graph with its weights. */
  readonly model: Uint8Array;
  /** `tokenizer.json`. */
  readonly tokenizer: Uint8Array;
  /** `tokenizer_config.json`. */
  readonly tokenizerConfig: Uint8Array;
}

/**
 * Messages from the daemon to an inference worker. A worker serves one model in its life: it says `started`, gets
 * `load`, says `loaded` or `rejected`, and then answers every text of every `embed`, in any order.
 */
export type ToWorker =
  | {
      readonly kind: 'load';
      readonly spec: EmbeddingSpec;
      readonly canary: CanarySpec;
      readonly recipe: string | undefined;
      /** Sizes of the model, `tokenizer.json` and `tokenizer_config.json`, which follow in this order as bytes. */
      readonly sizes: readonly [model: number, tokenizer: number, tokenizerConfig: number];
    }
  | { readonly kind: 'embed'; readonly texts: readonly WorkerText[] };

/** Messages from an inference worker to the daemon. */
export type FromWorker =
  /** The libraries are loaded. */
  | { readonly kind: 'started' }
  /** The native runtime does not load on this system; no worker will ever serve here. The process ends. */
  | { readonly kind: 'unusable'; readonly message: string }
  /** The model is loaded and passed its canary. */
  | { readonly kind: 'loaded'; readonly times: LoadTimes; readonly batches: boolean }
  /** The model is at fault; another worker would say the same. */
  | { readonly kind: 'rejected'; readonly code: ErrorCode; readonly message: string }
  /** The vectors of those texts that did not fail follow as bytes (float32), in order. */
  | { readonly kind: 'embedded'; readonly passes: number; readonly results: readonly WorkerResult[] };

/** One text, with an id of the daemon's choice. */
export interface WorkerText {
  readonly id: number;
  readonly text: string;
}

/** The outcome of one text; times in milliseconds, that of inference as its share of a batch. */
export type WorkerResult =
  | {
      readonly id: number;
      readonly tokens: number;
      readonly truncatedTokens: number;
      readonly legibility: Legibility;
      readonly tokenizeMs: number;
      readonly inferenceMs: number;
    }
  /** The runtime threw on this text. The worker goes on. */
  | { readonly id: number; readonly failure: string };

/** Duration of the steps of loading, in milliseconds. */
export interface LoadTimes {
  /** Session and tokenizer. */
  readonly modelMs: number;
  /** The known texts that prove the model, and the check whether texts may share passes. */
  readonly canaryMs: number;
}

/** The worker's file descriptor of the socket that carries the frames, in both directions. */
export const CHANNEL_FD = 3;

/** Length of the JSON and of the bytes behind it, as 32-bit little-endian numbers. */
const HEADER_BYTES = 8;

/**
 * Writes a message as one frame: header, JSON, bytes. A round trip takes a third of the time of Node's own IPC with
 * structured clones, and a model goes through without a second copy.
 * @returns a promise that resolves when the frame has left this process, or cannot
 */
export function writeFrame(
  channel: Writable,
  message: ToWorker | FromWorker,
  bytes: readonly Uint8Array[] = [],
): Promise<void> {
  const json = JSON.stringify(message);
  const length = Buffer.byteLength(json);
  const head = Buffer.allocUnsafe(HEADER_BYTES + length);
  head.writeUInt32LE(length, 0);
  head.writeUInt32LE(
    bytes.reduce((sum, { byteLength }) => sum + byteLength, 0),
    4,
  );
  head.write(json, HEADER_BYTES);
  const parts = [head, ...bytes];
  const last = parts.pop();
  // One system call for all parts.
  channel.cork();
  for (const part of parts) channel.write(part);
  return new Promise((resolve) => {
    channel.write(last, () => resolve());
    channel.uncork();
  });
}

/**
 * Calls `receive` for each frame that arrives.
 * @param receive gets the message, and its bytes, which are valid until it returns
 */
export function readFrames<Message extends ToWorker | FromWorker>(
  channel: Readable,
  receive: (message: Message, bytes: Buffer) => void,
): void {
  let jsonLength: number | undefined;
  let part = Buffer.allocUnsafe(HEADER_BYTES);
  let filled = 0;
  channel.on('data', (chunk: Buffer) => {
    for (let offset = 0; offset < chunk.length; ) {
      const copied = chunk.copy(part, filled, offset);
      offset += copied;
      filled += copied;
      if (filled < part.length) return;
      filled = 0;
      if (jsonLength === undefined) {
        jsonLength = part.readUInt32LE(0);
        part = Buffer.allocUnsafe(jsonLength + part.readUInt32LE(4));
      } else {
        const body = part;
        const length = jsonLength;
        jsonLength = undefined;
        part = Buffer.allocUnsafe(HEADER_BYTES);
        receive(JSON.parse(body.toString('utf8', 0, length)), body.subarray(length));
      }
    }
  });
}
