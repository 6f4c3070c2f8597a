/** Bounds of a request, from the settings. The contract names them, and so does the error of a request beyond one. */
export interface RequestLimits {
  /** Longest text, in characters (code points). */
  readonly maxTextChars: number;
  /** Most texts in one request. */
  readonly maxBatch: number;
  /** Largest body, in bytes. */
  readonly maxBodyBytes: number;
}

/** How much a request may bring along as labels. */
export const LABEL_LIMITS = {
  labels: 100,
  /** Of one label. */
  labelUtterances: 100,
  /** Utterances of all labels together, those made from names included. */
  utterances: 1_000,
  nameChars: 128,
} as const;

/** Bounds of what else a request may ask for. */
export const OPTION_LIMITS = { topK: 1_000, routes: 2_000, nameChars: 200 } as const;

/** Largest answer that a request may ask for, in bytes, estimated from above before work begins. */
export const MAX_ANSWER_BYTES = 8 * 2 ** 20;

/** Texts in one request of the embedding APIs that every daemon takes: OpenAI's own limit. */
export const MAX_INPUTS = 2_048;

/** Largest answer of vectors: that of as many inputs as numbers. */
export const MAX_VECTOR_BYTES = 20 * 2 ** 20;

/** How large a route set may be. Characters are UTF-16 code units. */
export const ROUTE_LIMITS = {
  /** The whole text, in characters. */
  textChars: 32 * 2 ** 20,
  routes: 2_000,
  /** Of all routes together. */
  utterances: 100_000,
  utteranceChars: 4_096,
  nameChars: 128,
  descriptionChars: 4_096,
  /** One route's metadata as JSON. */
  metadataChars: 16_384,
} as const;
