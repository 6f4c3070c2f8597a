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
