import { AppError } from '../shared/errors.js';

/** Bounds on a JSON body's structure: parsing, validating and naming its faults takes time with each of them. */
export const JSON_LIMITS = { depth: 64, keys: 20_000 } as const;

const QUOTE = 0x22;
const COLON = 0x3a;
const BACKSLASH = 0x5c;
const SQUARE = { open: 0x5b, close: 0x5d } as const;
const CURLY = { open: 0x7b, close: 0x7d } as const;

/**
 * Looks at the brackets and colons outside of strings, without parsing; what is no JSON passes.
 * @throws AppError `bad_request` when it nests too deeply or has too many keys
 */
export function checkShape(bytes: Uint8Array): void {
  let depth = 0;
  let keys = 0;
  for (let at = 0; at < bytes.length; at += 1) {
    const byte = bytes[at];
    if (byte === QUOTE) at = endOfString(bytes, at);
    else if (byte === COLON) keys += 1;
    else if (byte === SQUARE.open || byte === CURLY.open) depth += 1;
    else if (byte === SQUARE.close || byte === CURLY.close) depth -= 1;
    else continue;
    if (depth > JSON_LIMITS.depth) {
      throw new AppError('bad_request', `the body is nested deeper than ${JSON_LIMITS.depth} levels`);
    }
    if (keys > JSON_LIMITS.keys) {
      throw new AppError('bad_request', `the body has more than ${JSON_LIMITS.keys} keys`);
    }
  }
}

/** Where the string that opens at `start` closes, or the end of the bytes. */
function endOfString(bytes: Uint8Array, start: number): number {
  for (let quote = bytes.indexOf(QUOTE, start + 1); quote !== -1; quote = bytes.indexOf(QUOTE, quote + 1)) {
    let escapes = 0;
    while (bytes[quote - 1 - escapes] === BACKSLASH) escapes += 1;
    if (escapes % 2 === 0) return quote;
  }
  return bytes.length;
}
